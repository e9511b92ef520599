"""The operator's commands for users, accounts, transactions and the audit log.

They go through the services that the API uses, and are audited as `cli:` and the
name of whoever runs them on this machine.
"""

import contextlib
import sys
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from bson import ObjectId
from flask import current_app

from app.accounts import service as accounts_service
from app.accounts.schemas import AccountWithBalanceSchema
from app.admin import repository, service
from app.admin.schemas import AuditRecordSchema, RoleSchema, StatusSchema
from app.admin.terminal import IdType, OperatorGroup, checked, command_line_act, json_option, show, show_table
from app.auth import service as auth_service
from app.auth.schemas import RegisterSchema, UserSchema
from app.auth.service import Role
from app.errors import AccountNotFound, UserNotFound
from app.fields import NO_ID, read_id
from app.ledger.records import AccountStatus
from app.transactions import service as transactions_service
from app.transactions.schemas import ReverseSchema, TransactionSchema

LIST_LENGTH_DEFAULT = 50
TAIL_LENGTH_DEFAULT = 20
FOLLOW_POLL_S = 1.0
# A record's id is made before its block commits, on a machine whose clock is its own: younger ids may come to light
# first. Following looks back this far, so that none is missed.
FOLLOW_LOOKBACK = timedelta(seconds=60)
_AUDIT_COLUMNS = ("at", "actor", "action", "subject", "before", "after", "reason")

users = OperatorGroup("users", help="Who can log in, and in which role.")
accounts = OperatorGroup("accounts", help="Look at accounts; freeze, unfreeze and close them.")
transactions = OperatorGroup("transactions", help="Look at transactions and reverse them.")
audit = OperatorGroup("audit", help="Who did what to what, when and why.")
GROUPS = (users, accounts, transactions, audit)

_role = click.Choice([role.value for role in Role])
_reason = click.option("--reason", required=True, help="For the audit log.")


@users.command("create")
@click.argument("email")
@click.option("--name", required=True)
@click.option("--role", type=_role, default=Role.USER.value, show_default=True)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking.")
@json_option
def create_user(email: str, name: str, role: str, password_stdin: bool, as_json: bool) -> None:
    """Register a user. The password is asked for, and never an argument."""
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    user = auth_service.register(
        **checked(RegisterSchema(), {"email": email, "name": name, "password": password}),
        role=Role(role),
        bcrypt_rounds=current_app.config["BCRYPT_ROUNDS"],
        act=command_line_act(),
    )
    show(UserSchema().dump(user), as_json=as_json)


@users.command("promote")
@click.argument("user")
@click.option("--role", type=_role, default=Role.ADMIN.value, show_default=True)
@click.option("--reason", help="For the audit log.")
@json_option
def promote_user(user: str, role: str, reason: str | None, as_json: bool) -> None:
    """Give a user, named by id or e-mail address, another role."""
    wanted = checked(RoleSchema(), {"role": role, "reason": reason})
    user_id = read_id(user)
    if user_id == NO_ID:
        user_id = repository.find_user_id(user.strip().lower()) or NO_ID
    changed = service.change_role(user_id, Role(wanted["role"]), act=command_line_act(wanted.get("reason")))
    show(UserSchema().dump(changed), as_json=as_json)


@users.command("list")
@click.option("--search", help="How the name or the e-mail address begins, or an id.")
@click.option("--limit", type=click.IntRange(1), default=LIST_LENGTH_DEFAULT, show_default=True)
@json_option
def list_users(search: str | None, limit: int, as_json: bool) -> None:
    """List users, newest first, or those that a search finds."""
    if search:
        found = repository.search_users(service.search_for(search), after=None, limit=limit)
    else:
        found = repository.find_users(after=None, limit=limit)
    show_table(UserSchema(many=True).dump(found), ("id", "email", "name", "role", "createdAt"), as_json=as_json)


@accounts.command("show")
@click.argument("account", type=IdType())
@json_option
def show_account(account: ObjectId, as_json: bool) -> None:
    """Show an account with its balance, in minor units."""
    _show_account(account, as_json=as_json)


@accounts.command("freeze")
@click.argument("account", type=IdType())
@_reason
@json_option
def freeze_account(account: ObjectId, reason: str, as_json: bool) -> None:
    """Stop an account from moving money."""
    _change_status(account, AccountStatus.FROZEN, reason, as_json=as_json)


@accounts.command("unfreeze")
@click.argument("account", type=IdType())
@_reason
@json_option
def unfreeze_account(account: ObjectId, reason: str, as_json: bool) -> None:
    """Let a frozen account move money again."""
    _change_status(account, AccountStatus.ACTIVE, reason, as_json=as_json)


@accounts.command("close")
@click.argument("account", type=IdType())
@_reason
@json_option
def close_account(account: ObjectId, reason: str, as_json: bool) -> None:
    """Close an account for good, at balance zero and without open holds."""
    _change_status(account, AccountStatus.CLOSED, reason, as_json=as_json)


@transactions.command("show")
@click.argument("transaction", type=IdType())
@json_option
def show_transaction(transaction: ObjectId, as_json: bool) -> None:
    """Show a transaction."""
    found = transactions_service.get_transaction(transaction, viewer=_system_user_id())
    show(TransactionSchema().dump(found), as_json=as_json)


@transactions.command("reverse")
@click.argument("transaction", type=IdType())
@_reason
@click.option("--key", help="Idempotency key, for a script that tries again. By default a new one.")
@json_option
def reverse_transaction(transaction: ObjectId, reason: str, key: str | None, as_json: bool) -> None:
    """Move the money of a completed transaction back, once, in the name of the bank's system user."""
    wanted = checked(ReverseSchema(), {"idempotencyKey": key or f"cli:{uuid.uuid4()}", "reason": reason})
    act = command_line_act(wanted["reason"])
    command = transactions_service.reverse_command(transaction, wanted, user_id=_system_user_id(), act=act)
    outcome = transactions_service.post(command)
    show(TransactionSchema().dump(outcome.unwrap()), as_json=as_json)


@audit.command("tail")
@click.option("-n", "count", type=click.IntRange(0), default=TAIL_LENGTH_DEFAULT, show_default=True)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is being done, until interrupted.")
@click.option("--subject", help="Only what was done to this: an id or a name.")
@click.option("--actor", help="Only what this one did: an id or a name.")
@json_option
def tail_audit_log(count: int, follow: bool, subject: str | None, actor: str | None, as_json: bool) -> None:
    """Show the newest records of the audit log, the newest last."""
    given = {"subject": subject, "actor": actor}
    filters = service.audit_filters({name: value for name, value in given.items() if value is not None})
    since = datetime.now(UTC) - FOLLOW_LOOKBACK
    # In this order, so that what is recorded between the two is shown by one of them.
    seen = {record["_id"] for record in repository.find_audit_records_since(since, filters)} if follow else set()
    latest = repository.find_audit_records(filters, after=None, limit=count) if count else []
    show_table(AuditRecordSchema(many=True).dump(latest[::-1]), _AUDIT_COLUMNS, as_json=as_json)
    if follow:
        with contextlib.suppress(KeyboardInterrupt):
            _follow_audit_log(filters, since, seen | {record["_id"] for record in latest}, as_json=as_json)


def _follow_audit_log(filters: dict[str, Any], since: datetime, seen: set[ObjectId], *, as_json: bool) -> None:
    while True:
        found = repository.find_audit_records_since(since, filters)
        news = [record for record in found if record["_id"] not in seen]
        if news:
            show_table(AuditRecordSchema(many=True).dump(news), _AUDIT_COLUMNS, as_json=as_json, header=False)
        seen = {record["_id"] for record in found}
        since = datetime.now(UTC) - FOLLOW_LOOKBACK
        time.sleep(FOLLOW_POLL_S)


def _change_status(account_id: ObjectId, status: AccountStatus, reason: str, *, as_json: bool) -> None:
    wanted = checked(StatusSchema(), {"status": status.value, "reason": reason})
    accounts_service.change_status(account_id, status, act=command_line_act(wanted["reason"]))
    _show_account(account_id, as_json=as_json)


def _show_account(account_id: ObjectId, *, as_json: bool) -> None:
    found = repository.find_accounts({"_id": account_id}, after=None, limit=1)
    if not found:
        raise AccountNotFound
    show(AccountWithBalanceSchema().dump(accounts_service.with_balances(found)[0]), as_json=as_json)


def _system_user_id() -> ObjectId:
    """Return the user in whose name the command line moves money: the bank's own."""
    user = repository.find_first_user(Role.SYSTEM)
    if user is None:
        raise UserNotFound("There is no user with the role SYSTEM. Make one with `flask users create --role SYSTEM`.")
    user_id: ObjectId = user["_id"]
    return user_id
