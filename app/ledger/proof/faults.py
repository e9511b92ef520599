"""The faults that a proof of the ledger can find, and the report of them."""

import struct
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from bson import ObjectId
from bson.errors import BSONError

# What reading a forged document may raise, because its fields can have any type.
UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, OverflowError, struct.error, BSONError)
# Faults beyond this number are counted but not named.
FAULTS_NAMED_MAX = 1_000


class FaultKind(StrEnum):
    FORMAT = "format"  # a document that cannot be read as what it should be
    SEQUENCE = "sequence"  # entries are missing
    PREVIOUS_HASH = "previous_hash"  # an entry does not follow from the one before
    HASH = "hash"  # an entry is not what was sealed
    BALANCE = "balance"
    HELD = "held"
    TIME = "time"  # a journal's times run backwards
    OVERDRAFT = "overdraft"  # a customer's available balance is below zero
    INACTIVE = "inactive"  # money moved on an account that was not ACTIVE
    IDENTITY = "identity"  # an account's owner, kind or currency is not what its journal says
    TRANSITION = "transition"  # a status that cannot follow from the one before, or CLOSED with money
    STATUS = "status"  # the account's status is not what its journal says
    JOURNAL = "journal"  # an account without journal, or a journal without account
    ENTRY = "entry"  # an entry and its transaction do not agree, or one of them is missing
    RECORD = "record"  # a transaction is not what its entries sealed
    PAYER = "payer"  # somebody spent from an account that is not theirs
    KEY_USE = "key_use"  # the use of a key and the hold or batch that it names do not agree
    REVERSAL = "reversal"  # a reversal and what it reverses do not agree
    ANCHOR = "anchor"  # something has changed since the anchor was written
    TRIAL_BALANCE = "trial_balance"  # the balances of a currency do not add up to zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault: where it is, what should be there, and what is."""

    kind: FaultKind
    account: ObjectId | None = None
    sequence: int | None = None
    transaction: ObjectId | None = None
    currency: str | None = None
    expected: int | str | None = None
    found: int | str | None = None

    def as_json(self) -> dict[str, Any]:
        return {name: str(value) if isinstance(value, ObjectId) else value for name, value in asdict(self).items()}

    def __str__(self) -> str:
        places = ("account", "sequence", "transaction", "currency")
        where = ", ".join(f"{name} {getattr(self, name)}" for name in places if getattr(self, name) is not None)
        place = f"{self.kind}: {where}" if where else str(self.kind)
        return f"{place}: expected {_shown(self.expected)}, found {_shown(self.found)}"


@dataclass(slots=True)
class Report:
    """How much was read, and which faults were found."""

    entries: int = 0
    accounts: int = 0
    transactions: int = 0
    faults: list[Fault] = field(default_factory=list)
    unnamed_faults: int = 0

    @property
    def is_sound(self) -> bool:
        return not self.faults

    def add(self, fault: Fault) -> None:
        if len(self.faults) < FAULTS_NAMED_MAX:
            self.faults.append(fault)
        else:
            self.unnamed_faults += 1

    def add_once(self, fault: Fault | None) -> None:
        """Add a fault that may have been named already, where the same document was read before."""
        if fault is not None and fault not in self.faults:
            self.add(fault)

    def add_all(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            self.add(fault)


def _shown(value: int | str | None) -> str:
    return "nothing" if value is None else str(value)
