"""The ledger's records: accounts, entries, transactions, uses of keys, and outcomes.

Everything here is an immutable value. Amounts are minor units, times are UTC in whole
milliseconds, ids are ObjectIds.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from bson import ObjectId

from app.clock import milliseconds
from app.errors import PROBLEMS, DomainError
from app.ledger.canonical import CANONICAL_1, NO_ID, entry_hash, json_hash
from app.ledger.values import made_quickly

GENESIS_HASH = bytes(32)
# Keys that clients choose are printable, so no client's key can equal the key of a batch's item.
ITEM_KEY_SEPARATOR = "\x1f"
# The HTTP status of a refused atomic batch, whatever status the failing item would have had alone.
BATCH_REFUSED_STATUS = 422


class KeyUseKind(StrEnum):
    CAPTURE = "CAPTURE"
    VOID = "VOID"
    BATCH = "BATCH"
    ACCOUNT = "ACCOUNT"


class AccountKind(StrEnum):
    CUSTOMER = "CUSTOMER"
    TREASURY = "TREASURY"


class AccountStatus(StrEnum):
    ACTIVE = "ACTIVE"
    FROZEN = "FROZEN"
    CLOSED = "CLOSED"


# The statuses that each status may change to. CLOSED is final.
TRANSITIONS = {
    AccountStatus.ACTIVE: {AccountStatus.FROZEN, AccountStatus.CLOSED},
    AccountStatus.FROZEN: {AccountStatus.ACTIVE, AccountStatus.CLOSED},
    AccountStatus.CLOSED: set[AccountStatus](),
}
STATUS_ACTIONS = {
    AccountStatus.ACTIVE: "account_unfrozen",
    AccountStatus.FROZEN: "account_frozen",
    AccountStatus.CLOSED: "account_closed",
}


class EntryType(StrEnum):
    DEBIT = "DEBIT"
    CREDIT = "CREDIT"
    HOLD = "HOLD"
    RELEASE = "RELEASE"
    STATUS = "STATUS"


class TransactionKind(StrEnum):
    TRANSFER = "TRANSFER"
    FUNDING = "FUNDING"
    REVERSAL = "REVERSAL"
    HOLD = "HOLD"


class TransactionStatus(StrEnum):
    PENDING = "PENDING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    REVERSED = "REVERSED"
    VOIDED = "VOIDED"


@made_quickly
@dataclass(frozen=True, slots=True)
class Account:
    """An account, with the balance and hash of its head, which is the newest entry of its journal."""

    id: ObjectId
    kind: AccountKind
    user: ObjectId | None
    currency: str
    status: AccountStatus
    sequence: int
    balance: int
    held: int
    hash: bytes
    at: datetime
    number: str | None = None

    @property
    def available(self) -> int:
        return self.balance - self.held


@dataclass(frozen=True, slots=True)
class Identity:
    """The owner, kind, currency and number of an account. They never change, and its STATUS entries seal them.

    `number` is None in entries that are older than account numbers.
    """

    user: ObjectId | None
    kind: AccountKind
    currency: str
    number: str | None = None

    def record_hash(self) -> bytes:
        """Return SHA-256 over all fields."""
        number = [] if self.number is None else [self.number]
        return json_hash(["account", _hex(self.user), self.kind.value, self.currency, *number])

    def is_of(self, document: "Identity") -> bool:
        """Tell whether the identity in an account's document, `document`, is the one that this seals."""
        return self == (document if self.number is not None else replace(document, number=None))


@made_quickly
@dataclass(frozen=True, slots=True)
class Entry:
    """One entry in an account's journal; `balance` and `held` are the values after it.

    Since version 2 of the hash, `record_hash` also seals the transaction as it was recorded,
    or in a STATUS entry the account's `identity`.
    """

    account: ObjectId
    sequence: int
    type: EntryType
    amount: int
    balance: int
    held: int
    transaction: ObjectId | None
    counterparty: ObjectId | None
    description: str | None
    created_at: datetime
    previous_hash: bytes
    hash: bytes = b""
    version: int = 1
    record_hash: bytes | None = None
    identity: Identity | None = None

    def computed_hash(self) -> bytes:
        """Return SHA-256 over the previous entry's hash and this entry's canonical bytes.

        The entry's version decides the bytes. They are big-endian, with short text padded with
        NULs. Raises ValueError for an unknown version.
        """
        match self.version:
            case 1:
                return hashlib.sha256(self.previous_hash + self._canonical_1()).digest()
            case 2:
                return entry_hash(
                    self.previous_hash, self.account, self.sequence, self.type, self.amount, self.balance, self.held,
                    self.transaction, self.counterparty, self.created_at, self.record_hash, self.description,
                )  # fmt: skip
            case _:
                raise ValueError(f"There is no version {self.version} of the hash.")

    def _canonical_1(self) -> bytes:
        status = self.description if self.type is EntryType.STATUS else None
        return CANONICAL_1.pack(
            self.account.binary,
            self.sequence,
            self.type.encode(),
            self.amount,
            self.balance,
            self.held,
            self.transaction.binary if self.transaction else NO_ID,
            milliseconds(self.created_at),
            (status or "").encode(),
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a transaction FAILED or expired, or a batch was refused. `index` is the item that failed the batch."""

    code: str
    detail: str
    index: int | None = None

    def as_error(self, transaction: ObjectId | None = None) -> DomainError:
        """Return the problem with which the client was refused."""
        members: dict[str, Any] = {"transactionId": str(transaction)} if transaction else {}
        if self.index is None:
            return PROBLEMS[self.code](self.detail, **members)
        error = PROBLEMS[self.code](self.detail, index=self.index)
        error.status = BATCH_REFUSED_STATUS
        return error


@made_quickly
@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """The bank's record of a movement of money, completed or not.

    `salt` is random bytes, or None in records of version 1. The record's hash covers it, and the bank never shows it.
    So nobody who sees the hash can check guesses about what the record hides from them.
    """

    id: ObjectId
    user: ObjectId
    idempotency_key: str
    fingerprint: Mapping[str, str]
    kind: TransactionKind
    from_account: ObjectId
    to_account: ObjectId
    amount: int
    currency: str
    status: TransactionStatus
    created_at: datetime
    salt: bytes | None = field(default=None, repr=False)
    held_amount: int | None = None
    failure: Failure | None = None
    description: str | None = None
    metadata: Mapping[str, str] | None = None
    completed_at: datetime | None = None
    reverses: ObjectId | None = None
    reversed_by: ObjectId | None = None
    expires_at: datetime | None = None

    @property
    def is_hold(self) -> bool:
        """Whether this transaction ever set money aside. A declined hold did not."""
        return self.kind is TransactionKind.HOLD and self.status is not TransactionStatus.FAILED

    def record_hash(self) -> bytes:
        """Return SHA-256 over all fields that never change. Raises TypeError if one of them has a wrong type."""
        # BSON's JavaScript code is a `str` too.
        if self.description is not None and type(self.description) is not str:
            raise TypeError(f"The description is {type(self.description).__name__}.")
        first = self.held_amount if self.held_amount is not None else self.amount
        salt = [] if self.salt is None else [self.salt.hex()]
        return json_hash(
            [
                "transaction", _hex(self.id), _hex(self.user), self.idempotency_key, dict(self.fingerprint),
                self.kind.value, _hex(self.from_account), _hex(self.to_account), first, self.currency,
                self.description, None if self.metadata is None else dict(self.metadata),
                milliseconds(self.created_at), _hex(self.reverses),
                None if self.expires_at is None else milliseconds(self.expires_at), *salt,
            ]
        )  # fmt: skip

    def is_overdue(self, at: datetime) -> bool:
        """Tell whether this is an open hold whose time is over. Nothing but expiry can happen to it."""
        return self.status is TransactionStatus.PENDING and self.expires_at is not None and self.expires_at <= at

    def as_first_answered(self) -> "Transaction":
        """Return the transaction as the first answer to its request showed it. A repeated request gets this again."""
        if self.is_hold:
            assert self.held_amount is not None
            return replace(
                self,
                status=TransactionStatus.PENDING,
                amount=self.held_amount,
                failure=None,
                completed_at=None,
                reversed_by=None,
            )
        return self.before_reversal()

    def before_reversal(self) -> "Transaction":
        """Return the transaction as it was before a reversal, if it was reversed."""
        if self.status is TransactionStatus.REVERSED:
            return replace(self, status=TransactionStatus.COMPLETED, reversed_by=None)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """What an idempotency key was spent on, if not on a transaction of its own.

    A CAPTURE or VOID names its hold in `transaction`. A BATCH has in `results`, for each
    item in order, the id of its transaction or the reason why it was refused. `failure` is
    the reason why the whole command was declined. An ACCOUNT names the new account in `account`.
    """

    id: ObjectId
    user: ObjectId
    idempotency_key: str
    fingerprint: Mapping[str, str]
    kind: KeyUseKind
    created_at: datetime
    transaction: ObjectId | None = None
    failure: Failure | None = None
    results: tuple[ObjectId | Failure, ...] = ()
    account: ObjectId | None = None


@made_quickly
@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a command.

    Without `error` the command took effect. With `error` it did not; `transaction` is then
    the FAILED record of a decline, or None if the refusal left no trace. `account` is the
    account whose status changed. `results` are the outcomes of a batch's items, in order.
    """

    transaction: Transaction | None = None
    error: DomainError | None = None
    replayed: bool = False
    account: Account | None = None
    results: "tuple[Outcome, ...]" = ()

    def unwrap(self) -> Transaction:
        """Return the transaction, or raise the refusal."""
        self.raise_error()
        assert self.transaction is not None
        return self.transaction

    def raise_error(self) -> None:
        """Raise the refusal, if there is one, marked as replayed if it repeats an earlier answer."""
        if self.error is not None:
            self.error.replayed = self.replayed
            raise self.error


def treasury_id(currency: str) -> ObjectId:
    """Return the id of the treasury in a currency. It is a hash of the currency, so there can be only one."""
    return ObjectId(hashlib.sha256(f"treasury:{currency}".encode()).digest()[:12])


def item_key(batch_key: str, index: int) -> str:
    """Return the idempotency key of an item of a batch."""
    return f"{batch_key}{ITEM_KEY_SEPARATOR}{index}"


def chosen_key(idempotency_key: str) -> str:
    """Return the key that the client chose. For an item of a batch it is the key of the batch."""
    return idempotency_key.partition(ITEM_KEY_SEPARATOR)[0]


def _hex(id_: ObjectId | None) -> str | None:
    return None if id_ is None else id_.binary.hex()
