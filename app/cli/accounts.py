"""The operator's commands for accounts: `flask --app wsgi accounts …`.

They use the same services as the API. The audit log records them under `cli:` and the operator's user name.
"""

import click
from bson import ObjectId

from app.account_numbers import AccountNumber
from app.accounts import service
from app.accounts.schemas import AccountWithBalanceSchema
from app.admin import repository
from app.admin.schemas import ChangeStatusSchema
from app.cli.terminal import (
    AccountType,
    OperatorGroup,
    account_id,
    checked,
    command_line_act,
    json_option,
    reason_option,
    show,
)
from app.errors import AccountNotFound
from app.ledger.records import AccountStatus

group = OperatorGroup("accounts", help="Look at accounts; freeze, unfreeze and close them.")


@group.command("show")
@click.argument("account", type=AccountType())
@json_option
def show_account(account: ObjectId | AccountNumber, as_json: bool) -> None:
    """Show an account with its balance, in minor units."""
    _show_account(account, as_json=as_json)


@group.command("freeze")
@click.argument("account", type=AccountType())
@reason_option
@json_option
def freeze_account(account: ObjectId | AccountNumber, reason: str, as_json: bool) -> None:
    """Stop an account from moving money."""
    _change_status(account, AccountStatus.FROZEN, reason, as_json=as_json)


@group.command("unfreeze")
@click.argument("account", type=AccountType())
@reason_option
@json_option
def unfreeze_account(account: ObjectId | AccountNumber, reason: str, as_json: bool) -> None:
    """Let a frozen account move money again."""
    _change_status(account, AccountStatus.ACTIVE, reason, as_json=as_json)


@group.command("close")
@click.argument("account", type=AccountType())
@reason_option
@json_option
def close_account(account: ObjectId | AccountNumber, reason: str, as_json: bool) -> None:
    """Close an account for ever. It needs a balance of zero and no open holds."""
    _change_status(account, AccountStatus.CLOSED, reason, as_json=as_json)


def _change_status(account: ObjectId | AccountNumber, status: AccountStatus, reason: str, *, as_json: bool) -> None:
    wanted = checked(ChangeStatusSchema(), {"status": status.value, "reason": reason})
    service.change_status(account_id(account), status, act=command_line_act(wanted["reason"]))
    _show_account(account, as_json=as_json)


def _show_account(account: ObjectId | AccountNumber, *, as_json: bool) -> None:
    found, _ = repository.find_accounts({"_id": account_id(account)}, after=None, limit=1)
    if not found:
        raise AccountNotFound
    show(AccountWithBalanceSchema().dump(service.with_balances(found)[0]), as_json=as_json)
