"""Transactions against their entries, checked without any I/O."""

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from bson import ObjectId

from app.clock import milliseconds
from app.ledger.proof.faults import UNREADABLE, Fault, FaultKind
from app.ledger.records import EntryType, TransactionKind, TransactionStatus
from app.mongo import Document

# transaction, account, counterparty, type, amount, milliseconds since 1970, currency.
_LEG = struct.Struct(">12s12s12s8sqq3s")


class Leg(NamedTuple):
    """One side of a transaction: the entry that must be on an account. `at` is None where no record says when."""

    account: ObjectId
    counterparty: ObjectId
    type: str
    amount: int
    at: int | None

    def __str__(self) -> str:
        return f"{self.type} {self.amount}"


class Legs:
    """Tells whether the entries found are those that the transactions expect, in constant memory.

    Each leg is a number that only equal legs share: the keyed hash (SipHash, its key made
    anew by each Python process) of all that it says. Found ones are added, expected ones
    subtracted, in the bucket of their transaction's id. A bucket at zero agrees; what is
    in another one has to be compared leg by leg.
    """

    BUCKETS = 4_096

    def __init__(self, first: ObjectId, last: ObjectId) -> None:
        self._begin = _seconds(first.binary)
        self._width = (_seconds(last.binary) - self._begin) // self.BUCKETS + 1
        self._sums = [0] * self.BUCKETS

    def found(
        self, transaction: bytes, account: bytes, counterparty: bytes, type_: bytes, amount: int, at: int,
        currency: bytes, description: bytes | None,
    ) -> None:  # fmt: skip
        """Add an entry of a transaction."""
        if type_ == b"RELEASE":
            # Nothing else records when a hold was voided, and why.
            at, description = 0, None
        leg = _LEG.pack(transaction, account, counterparty, type_, amount, at, currency)
        self._sums[self._bucket(transaction)] += hash(leg if description is None else leg + description)

    def expected(self, transaction: Document) -> None:
        """Subtract what a transaction's record says its entries are."""
        id_, currency = transaction["_id"].binary, transaction["currency"].encode()
        description = (transaction.get("description") or "").encode()
        total = 0
        for account, counterparty, type_, amount, at in expected_legs(transaction):
            leg = _LEG.pack(id_, account.binary, counterparty.binary, type_.encode(), amount, at or 0, currency)
            total += hash(leg if type_ == "RELEASE" else leg + description)
        self._sums[self._bucket(id_)] -= total

    def suspects(self) -> Iterator[tuple[ObjectId | None, ObjectId | None]]:
        """Yield the ranges of transaction ids, from one to before the other, in which something does not agree."""
        for number, total in enumerate(self._sums):
            if total:
                first, last = number == 0, number == self.BUCKETS - 1
                yield None if first else self._edge(number), None if last else self._edge(number + 1)

    def _bucket(self, transaction: bytes) -> int:
        number = (_seconds(transaction) - self._begin) // self._width
        return max(0, min(number, self.BUCKETS - 1))

    def _edge(self, number: int) -> ObjectId:
        return ObjectId((self._begin + number * self._width).to_bytes(4, "big") + bytes(8))


def expected_legs(transaction: Document) -> Iterator[Leg]:
    """Yield the entries that a transaction must have by its record."""
    kind, status = transaction["kind"], transaction["status"]
    payer, payee = transaction["from_account"], transaction["to_account"]
    if status == TransactionStatus.FAILED:
        return
    if kind == TransactionKind.HOLD:
        held = transaction["held_amount"]
        yield Leg(payer, payee, "HOLD", held, milliseconds(transaction["created_at"]))
        if status != TransactionStatus.PENDING:
            yield Leg(payer, payee, "RELEASE", held, None)
    if status in (TransactionStatus.COMPLETED, TransactionStatus.REVERSED):
        at = milliseconds(transaction["completed_at"])
        yield Leg(payer, payee, "DEBIT", transaction["amount"], at)
        yield Leg(payee, payer, "CREDIT", transaction["amount"], at)


def transaction_faults(
    id_: ObjectId, transaction: Document | None, entries: Iterable[Document], currencies: Mapping[ObjectId, str]
) -> Iterator[Fault]:
    """Yield where a transaction's record, or its absence, and its entries do not agree.

    `entries` are all there are of it, `currencies` those of their accounts.
    """
    try:
        missing = list(expected_legs(transaction)) if transaction is not None else []
        if transaction is not None and not names_its_parties(transaction):
            yield Fault(kind=FaultKind.FORMAT, transaction=id_, expected="accounts: payer, payee", found="others")
        stray = [entry for entry in entries if not _take(missing, entry, transaction, currencies)]
    except UNREADABLE as error:
        yield Fault(
            kind=FaultKind.FORMAT, transaction=id_, expected="a transaction", found=f"{type(error).__name__}: {error}"
        )
        return
    for entry in stray:
        same_side = [leg for leg in missing if (leg.account, leg.type) == (entry["account"], entry["type"])]
        expected = same_side[0] if same_side else None
        if expected is not None:
            missing.remove(expected)
        yield Fault(
            kind=FaultKind.ENTRY,
            account=entry["account"],
            sequence=entry["sequence"],
            transaction=id_,
            expected=_described(expected, transaction),
            found=_described_entry(entry, currencies),
        )
    for leg in missing:
        expected_text = _described(leg, transaction)
        yield Fault(kind=FaultKind.ENTRY, account=leg.account, transaction=id_, expected=expected_text, found=None)


def _take(
    missing: list[Leg], entry: Document, transaction: Document | None, currencies: Mapping[ObjectId, str]
) -> bool:
    """Strike the leg that the entry is off the list; tell whether there was one."""
    if transaction is None:
        return False
    is_release = entry["type"] == EntryType.RELEASE
    at = None if is_release else milliseconds(entry["created_at"])
    leg = Leg(entry["account"], entry["counterparty"], entry["type"], entry["amount"], at)
    agrees = is_release or entry["description"] == transaction.get("description")
    if leg not in missing or not agrees or currencies.get(leg.account) != transaction["currency"]:
        return False
    missing.remove(leg)
    return True


def _described(leg: Leg | None, transaction: Document | None) -> str | None:
    if leg is None or transaction is None:
        return None
    parts = [str(leg), transaction["currency"], f"counterparty {leg.counterparty}"]
    parts += [] if leg.at is None else [f"at {leg.at} ms"]
    return ", ".join([*parts, f"description {transaction.get('description')!r}"])


def _described_entry(entry: Document, currencies: Mapping[ObjectId, str]) -> str:
    currency = str(currencies.get(entry["account"]))
    parts = [f"{entry['type']} {entry['amount']}", currency, f"counterparty {entry['counterparty']}"]
    parts += [] if entry["type"] == EntryType.RELEASE else [f"at {milliseconds(entry['created_at'])} ms"]
    return ", ".join([*parts, f"description {entry['description']!r}"])


def names_its_parties(transaction: Document) -> bool:
    """Tell whether a transaction is listed under its payer and its payee."""
    named: bool = transaction["accounts"] == [transaction["from_account"], transaction["to_account"]]
    return named


def reversal_mark(reversal: ObjectId, original: ObjectId, payer: ObjectId, payee: ObjectId, amount: int) -> int:
    """Return a number that only a reversal and the one it reverses share, seen from the reversal."""
    parts = (reversal.binary, original.binary, payer.binary, payee.binary, amount.to_bytes(8, "big", signed=True))
    return hash(b"".join(parts))


def _seconds(id_: bytes) -> int:
    return int.from_bytes(id_[:4], "big")
