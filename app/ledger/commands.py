"""What can be asked of the ledger. `journal.decide` knows what each command comes to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from bson import ObjectId

from app.acts import Act
from app.ledger.records import AccountStatus, TransactionKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed:
    """What every command under an idempotency key carries.

    `id` becomes the id of what is recorded. `fingerprint` maps each field of the
    request to a digest of its value, so that a key's second use can be compared
    without keeping the request.
    """

    id: ObjectId
    user: ObjectId
    idempotency_key: str
    fingerprint: Mapping[str, str] = field(hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Keyed):
    """Move `amount`: between customers, or as FUNDING out of a treasury."""

    kind: TransactionKind
    from_account: ObjectId
    to_account: ObjectId
    amount: int
    description: str | None = None
    metadata: Mapping[str, str] | None = field(default=None, hash=False)
    # Of a FUNDING: who gives it, for the bank.
    act: Act | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold(Transfer):
    """Set `amount` aside on the payer's account, for the payee to capture within `lifetime`."""

    kind: TransactionKind = TransactionKind.HOLD
    lifetime: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture(Keyed):
    """Pay out of a hold: `amount`, or all of it; the rest is released. By the payee, or by `act` for the bank."""

    hold: ObjectId
    amount: int | None = None
    act: Act | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Void(Keyed):
    """Release a hold without paying. By the payee, or by `act` for the bank."""

    hold: ObjectId
    reason: str | None = None
    act: Act | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reversal(Keyed):
    """Move the money of a completed transaction back. `act` tells by whom, and by right of which roles."""

    original: ObjectId
    act: Act


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Keyed):
    """Several transfers of one user in order, under one key. Each may spend what an earlier one brought.

    `atomic`: all of them or none. Otherwise each on its own. Items have keys made by `item_key`.
    """

    items: tuple[Transfer, ...]
    atomic: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire:
    """Release a hold whose time is over. Nobody's request, so it has no key."""

    hold: ObjectId


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeStatus:
    """Freeze, unfreeze or close an account: as its `owner`, who may only close it, or as the bank."""

    account: ObjectId
    status: AccountStatus
    act: Act
    owner: ObjectId | None = None


Command = Transfer | Hold | Capture | Void | Reversal | Batch | Expire | ChangeStatus


def accounts_named_by(command: Command) -> tuple[ObjectId, ...]:
    """Return the accounts that the command itself names; those of its transaction are read with that."""
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
    """Return who does it for the bank, if that is who does it."""
    return command.act if isinstance(command, Transfer | Capture | Void | Reversal | ChangeStatus) else None


def size(command: Command) -> int:
    """Return how much of a block the command takes, counted in transfers."""
    return len(command.items) if isinstance(command, Batch) else 1
