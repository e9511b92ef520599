"""The commands that the ledger takes. `journal.decide` carries them out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from bson import ObjectId

from app.acts import Act
from app.ledger.records import AccountStatus, TransactionKind
from app.ledger.values import made_quickly


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed:
    """The fields of every command that has an idempotency key.

    `id` becomes the id of the record. `fingerprint` maps each field of the request to a
    digest of its value, so that a second use of the key can be compared with the first
    without keeping the request. `salt` is random (see `Transaction`).
    """

    id: ObjectId
    user: ObjectId
    idempotency_key: str
    fingerprint: Mapping[str, str] = field(hash=False)
    salt: bytes = field(repr=False, compare=False)


@made_quickly
@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Keyed):
    """Move `amount`: between customers, or as FUNDING out of a treasury."""

    kind: TransactionKind
    from_account: ObjectId
    to_account: ObjectId
    amount: int
    description: str | None = None
    metadata: Mapping[str, str] | None = field(default=None, hash=False)
    # Only for a FUNDING: who credits it on the bank's behalf.
    act: Act | None = None


@made_quickly
@dataclass(frozen=True, slots=True, kw_only=True)
class Hold(Transfer):
    """Set `amount` aside on the payer's account, for the payee to capture within `lifetime`."""

    kind: TransactionKind = TransactionKind.HOLD
    lifetime: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture(Keyed):
    """Pay `amount` out of a hold, or all of it, and release the rest. The payee does this, or the bank with `act`."""

    hold: ObjectId
    amount: int | None = None
    act: Act | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Void(Keyed):
    """Release a hold without paying. The payee does this, or the bank with `act`."""

    hold: ObjectId
    reason: str | None = None
    act: Act | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reversal(Keyed):
    """Move the money of a completed transaction back. `act` says who does it, and which roles allow it."""

    original: ObjectId
    act: Act


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Keyed):
    """Several transfers of one user, in order and under one key. Each may spend what an earlier one brought in.

    With `atomic`, all succeed or none does. Without it, each stands alone. `item_key` makes the keys of the items.
    """

    items: tuple[Transfer, ...]
    atomic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire:
    """Release an overdue hold. No client asks for this, so it has no key."""

    hold: ObjectId


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeStatus:
    """Freeze, unfreeze or close an account. Its `owner` may only close it; without `owner`, the bank acts."""

    account: ObjectId
    status: AccountStatus
    act: Act
    owner: ObjectId | None = None


Command = Transfer | Hold | Capture | Void | Reversal | Batch | Expire | ChangeStatus


def accounts_named_by(command: Command) -> tuple[ObjectId, ...]:
    """Return the accounts that the command itself names. A hold or an original names its own accounts."""
    match command:
        case Transfer():
            return command.from_account, command.to_account
        case Batch():
            return tuple(account for item in command.items for account in accounts_named_by(item))
        case ChangeStatus():
            return (command.account,)
        case _:
            return ()


def transaction_named_by(command: Command) -> ObjectId | None:
    """Return the earlier transaction that the command is about, if any."""
    match command:
        case Capture() | Void() | Expire():
            return command.hold
        case Reversal():
            return command.original
        case _:
            return None


def act_of(command: Command) -> Act | None:
    """Return the act that the command carries, or None."""
    match command:
        case Transfer() | Capture() | Void() | Reversal() | ChangeStatus():
            return command.act
        case _:
            return None


def size(command: Command) -> int:
    """Return how many transfers the command counts as in a block."""
    return len(command.items) if isinstance(command, Batch) else 1
