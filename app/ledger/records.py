"""The ledger's vocabulary: accounts, entries, transactions, commands and outcomes.

Everything here is an immutable value. Amounts are minor units, times are UTC
with whole milliseconds, ids are ObjectIds.
"""

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from bson import ObjectId

from app.clock import milliseconds
from app.errors import PROBLEMS, DomainError

GENESIS_HASH = bytes(32)
# Keys that clients choose are printable, so no client's key can be one made for an item of a batch.
_ITEM_KEY_SEPARATOR = "\x1f"
# An atomic batch is refused with this status, whatever the item in its way would have got alone.
BATCH_REFUSED_STATUS = 422
NO_TRANSACTION = bytes(12)
# account, sequence, type, amount, balance, held, transaction, milliseconds since 1970, new status of a STATUS entry.
CANONICAL = struct.Struct(">12sQ8sqqq12sq8s")


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


@dataclass(frozen=True, slots=True)
class Account:
    """An account as its newest entry, the head of its journal, leaves it."""

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

    @property
    def available(self) -> int:
        return self.balance - self.held


@dataclass(frozen=True, slots=True)
class Entry:
    """One leg in an account's journal; `balance` and `held` are those after it."""

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

    def computed_hash(self) -> bytes:
        """Return SHA-256 over the previous entry's hash and this entry's canonical bytes.

        The bytes are `CANONICAL`, big-endian, text padded with NULs. A STATUS
        entry's description is the new status and is covered too.
        """
        status = self.description if self.type is EntryType.STATUS else None
        return hashlib.sha256(
            self.previous_hash
            + CANONICAL.pack(
                self.account.binary,
                self.sequence,
                self.type.encode(),
                self.amount,
                self.balance,
                self.held,
                self.transaction.binary if self.transaction else NO_TRANSACTION,
                milliseconds(self.created_at),
                (status or "").encode(),
            )
        ).digest()

    def sealed(self) -> Self:
        """Return this entry with its hash."""
        return replace(self, hash=self.computed_hash())


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a transaction is FAILED, or VOIDED by expiry, or why a batch was refused: then `index` names its item."""

    code: str
    detail: str
    index: int | None = None

    def as_error(self, transaction: ObjectId | None = None) -> DomainError:
        """Return the problem that the refused client was answered."""
        members: dict[str, Any] = {"transactionId": str(transaction)} if transaction else {}
        if self.index is None:
            return PROBLEMS[self.code](self.detail, **members)
        error = PROBLEMS[self.code](self.detail, index=self.index)
        error.status = BATCH_REFUSED_STATUS
        return error


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """The bank's record of a movement of money, made or refused."""

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
        """Whether this set money aside, whatever became of it since. A declined hold did not."""
        return self.kind is TransactionKind.HOLD and self.status is not TransactionStatus.FAILED

    def is_overdue(self, at: datetime) -> bool:
        """Tell whether this is an open hold whose time is over, so that it may only expire."""
        return self.status is TransactionStatus.PENDING and self.expires_at is not None and self.expires_at <= at

    def as_first_answered(self) -> "Transaction":
        """Return the transaction as it was when its own request was answered, which is what a repeat gets."""
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
        """Return the transaction as it was before it was reversed, if it was."""
        if self.status is TransactionStatus.REVERSED:
            return replace(self, status=TransactionStatus.COMPLETED, reversed_by=None)
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """What an idempotency key was spent on where that is no transaction of its own.

    A CAPTURE or a VOID names its hold in `transaction`. A BATCH has in `results`, for
    each item in order, the transaction it became or why it was refused. `failure`
    tells why the whole was declined, if it was. An ACCOUNT names the account that was
    opened in `account`.
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a command.

    Without `error` it took effect. With `error` it did not; `transaction` is then
    the FAILED record of a decline, or None for a refusal that left no trace.
    `account` is the account whose status changed, `results` are those of a batch's
    items, in order.
    """

    transaction: Transaction | None = None
    error: DomainError | None = None
    replayed: bool = False
    account: Account | None = None
    results: "tuple[Outcome, ...]" = ()

    def unwrap(self) -> Transaction:
        """Return the transaction, or raise the refusal (marked if it repeats an earlier one)."""
        self.raise_error()
        assert self.transaction is not None
        return self.transaction

    def raise_error(self) -> None:
        """Raise the refusal, if there is one."""
        if self.error is not None:
            self.error.replayed = self.replayed
            raise self.error


def treasury_id(currency: str) -> ObjectId:
    """Return the id of the bank's account in a currency. It follows from the currency, so there can be only one."""
    return ObjectId(hashlib.sha256(f"treasury:{currency}".encode()).digest()[:12])


def item_key(batch_key: str, index: int) -> str:
    """Return the idempotency key of an item of a batch."""
    return f"{batch_key}{_ITEM_KEY_SEPARATOR}{index}"


def chosen_key(idempotency_key: str) -> str:
    """Return the key that the client chose: the batch's, for an item of one."""
    return idempotency_key.partition(_ITEM_KEY_SEPARATOR)[0]
