"""The operator's commands for transactions: `flask --app wsgi transactions …`.

They use the same services as the API. The audit log records them under `cli:` and the operator's user name.
"""

import uuid

import click
from bson import ObjectId

from app.admin import repository
from app.auth.roles import Role
from app.cli.terminal import IdType, OperatorGroup, checked, command_line_act, json_option, reason_option, show
from app.errors import UserNotFound
from app.transactions import service
from app.transactions.schemas import ReverseTransactionSchema, TransactionSchema

group = OperatorGroup("transactions", help="Look at transactions and reverse them.")


@group.command("show")
@click.argument("transaction", type=IdType())
@json_option
def show_transaction(transaction: ObjectId, as_json: bool) -> None:
    """Show a transaction, without its idempotency key, which only its initiator may see."""
    found = service.get_transaction(transaction, viewer=_system_user_id())
    show(TransactionSchema(exclude=["idempotency_key"]).dump(found), as_json=as_json)


@group.command("reverse")
@click.argument("transaction", type=IdType())
@reason_option
@click.option("--key", help="Idempotency key, for scripts that may try again. Default: a new key.")
@json_option
def reverse_transaction(transaction: ObjectId, reason: str, key: str | None, as_json: bool) -> None:
    """Move the money of a completed transaction back, once. The bank's system user is recorded as its initiator."""
    wanted = checked(ReverseTransactionSchema(), {"idempotencyKey": key or f"cli:{uuid.uuid4()}", "reason": reason})
    act = command_line_act(wanted["reason"])
    command = service.reverse_command(transaction, wanted, user_id=_system_user_id(), act=act)
    outcome = service.post(command)
    show(TransactionSchema().dump(outcome.unwrap()), as_json=as_json)


def _system_user_id() -> ObjectId:
    """Return the id of the bank's own user, who initiates the command line's movements of money."""
    user = repository.find_first_user(Role.SYSTEM)
    if user is None:
        raise UserNotFound("There is no user with the role SYSTEM. Make one with `flask users create --role SYSTEM`.")
    user_id: ObjectId = user["_id"]
    return user_id
