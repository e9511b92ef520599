"""Ledger commands as the services make them: with a new id, by default a new key, and a fingerprint of the request."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from bson import ObjectId

from app import audit
from app.acts import Act
from app.ledger.commands import Batch, Capture, ChangeStatus, Command, Hold, Keyed, Reversal, Transfer, Void
from app.ledger.records import AccountStatus, TransactionKind, item_key, treasury_id
from app.outbox import repository as outbox

# The witnesses of each block, as in the application.
WITNESSES = (audit.record_acts, outbox.tell)
STAFF = ObjectId("c" * 24)
# Nobody guesses here, so the salt need not be random.
SALT = b"s" * 16


def keyed(user: ObjectId, key: str | None, **asked: Any) -> dict[str, Any]:
    command_id = ObjectId()
    fingerprint = {name: str(value) for name, value in asked.items() if value is not None}
    names = {"id": command_id, "user": user, "idempotency_key": key or str(command_id)}
    return {**names, "fingerprint": fingerprint, "salt": SALT}


def transfer(
    user: ObjectId, payer: ObjectId, payee: ObjectId, amount: int, *, key: str | None = None, **more: Any
) -> Transfer:
    return Transfer(
        **keyed(user, key, fromAccount=payer, toAccount=payee, amount=amount),
        **{"kind": TransactionKind.TRANSFER, **more},
        from_account=payer,
        to_account=payee,
        amount=amount,
    )


def funding(payee: ObjectId, amount: int, *, currency: str = "INR") -> Transfer:
    return transfer(STAFF, treasury_id(currency), payee, amount, kind=TransactionKind.FUNDING)


def hold(
    user: ObjectId, payer: ObjectId, payee: ObjectId, amount: int, *, key: str | None = None, minutes: int = 60
) -> Hold:
    return Hold(
        **keyed(user, key, fromAccount=payer, toAccount=payee, amount=amount, expiresIn=minutes),
        from_account=payer,
        to_account=payee,
        amount=amount,
        lifetime=timedelta(minutes=minutes),
    )


def capture(
    user: ObjectId, of: ObjectId, amount: int | None = None, *, key: str | None = None, is_system: bool = False
) -> Capture:
    return Capture(
        **keyed(user, key, hold=of, amount=amount), hold=of, amount=amount, act=Act(STAFF) if is_system else None
    )


def void(
    user: ObjectId, of: ObjectId, *, key: str | None = None, is_system: bool = False, reason: str | None = None
) -> Void:
    return Void(
        **keyed(user, key, hold=of, reason=reason), hold=of, reason=reason, act=Act(STAFF) if is_system else None
    )


def reversal(of: ObjectId, *, key: str | None = None, reason: str | None = "A mistake") -> Reversal:
    return Reversal(**keyed(STAFF, key, original=of, reason=reason), original=of, act=Act(STAFF, reason))


def batch(user: ObjectId, items: Sequence[Transfer], *, key: str | None = None, atomic: bool = True) -> Batch:
    """Return a batch of these transfers. Their own keys are dropped."""
    asked = keyed(user, key, transfers=[item.fingerprint for item in items], atomic=atomic)
    batch_key = asked["idempotency_key"]
    numbered = (
        replace(item, idempotency_key=item_key(batch_key, index), fingerprint={}) for index, item in enumerate(items)
    )
    return Batch(**asked, items=tuple(numbered), atomic=atomic)


def change_status(account: ObjectId, status: AccountStatus, *, owner: ObjectId | None = None) -> ChangeStatus:
    return ChangeStatus(account=account, status=status, act=Act(owner or STAFF, "Because"), owner=owner)


def repeated(command: Command, **changes: Any) -> Command:
    """Return a command as its client's retry makes it: under the same key, with an id of its own."""
    if isinstance(command, Batch):
        changes["items"] = tuple(replace(item, id=ObjectId()) for item in command.items)
    return replace(command, id=ObjectId(), **changes) if isinstance(command, Keyed) else command
