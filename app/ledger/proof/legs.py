"""Compares a transaction with its entries and with the uses of keys that name it. No I/O."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from bson import ObjectId

from app.clock import milliseconds
from app.ledger.documents import to_entry, to_transaction
from app.ledger.proof.checks import described
from app.ledger.proof.faults import UNREADABLE, Fault, FaultKind
from app.ledger.records import (
    Entry,
    EntryType,
    Identity,
    KeyUseKind,
    Transaction,
    TransactionKind,
    TransactionStatus,
    treasury_id,
)
from app.mongo import Document

Identities = Mapping[ObjectId, Identity | None]


class Leg(NamedTuple):
    """An entry that a transaction must have. `at` is in milliseconds, or None if the record does not say when."""

    account: ObjectId
    counterparty: ObjectId
    type: EntryType
    amount: int
    at: int | None

    def __str__(self) -> str:
        return f"{self.type} {self.amount}"


def expected_legs(transaction: Transaction) -> Iterator[Leg]:
    """Yield the entries that a transaction must have according to its record."""
    payer, payee, status = transaction.from_account, transaction.to_account, transaction.status
    if status is TransactionStatus.FAILED:
        return
    if transaction.kind is TransactionKind.HOLD:
        held = transaction.held_amount
        if held is None:
            raise ValueError("a hold that held nothing")
        yield Leg(payer, payee, EntryType.HOLD, held, milliseconds(transaction.created_at))
        if status is not TransactionStatus.PENDING:
            yield Leg(payer, payee, EntryType.RELEASE, held, None)
    if status in (TransactionStatus.COMPLETED, TransactionStatus.REVERSED):
        if transaction.completed_at is None:
            raise ValueError("completed at no time")
        at = milliseconds(transaction.completed_at)
        yield Leg(payer, payee, EntryType.DEBIT, transaction.amount, at)
        yield Leg(payee, payer, EntryType.CREDIT, transaction.amount, at)


def transaction_faults(
    id_: ObjectId,
    record: Document | None,
    entries: Iterable[Document],
    uses: Iterable[Document],
    identities: Identities,
) -> Iterator[Fault]:
    """Yield each mismatch between a transaction's record, or its absence, and its traces elsewhere.

    `entries` are all its entries, `uses` the captures and voids that name it, `identities`
    those of the accounts in the record and in the entries.
    """
    try:
        transaction = None if record is None else to_transaction(record)
        read = [to_entry(entry) for entry in entries]
        found = list(_faults(id_, transaction, read, identities))
        if record is not None and record["accounts"] != [record["from_account"], record["to_account"]]:
            found.append(
                Fault(kind=FaultKind.FORMAT, transaction=id_, expected="accounts: payer, payee", found="others")
            )
        found += _key_use_faults(id_, transaction, uses)
    except UNREADABLE as error:
        # An unreadable entry was named already by the check of its journal.
        found = [_format_fault(id_, error)]
    yield from found


def _faults(
    id_: ObjectId, transaction: Transaction | None, entries: list[Entry], identities: Identities
) -> Iterator[Fault]:
    missing = [] if transaction is None else list(expected_legs(transaction))
    stray = [entry for entry in entries if not _take(missing, entry, transaction, identities)]
    for entry in stray:
        same_side = [leg for leg in missing if (leg.account, leg.type) == (entry.account, entry.type)]
        expected = same_side[0] if same_side else None
        if expected is not None:
            missing.remove(expected)
        yield Fault(
            kind=FaultKind.ENTRY,
            account=entry.account,
            sequence=entry.sequence,
            transaction=id_,
            expected=_described(expected, transaction),
            found=_described_entry(entry, identities),
        )
    for leg in missing:
        expected_text = _described(leg, transaction)
        yield Fault(kind=FaultKind.ENTRY, account=leg.account, transaction=id_, expected=expected_text, found=None)
    if transaction is not None:
        yield from _record_faults(transaction, entries)
        yield from _payer_faults(transaction, identities.get(transaction.from_account))


def _record_faults(transaction: Transaction, entries: list[Entry]) -> Iterator[Fault]:
    """Yield a fault if the record is not what its entries sealed, or if a hold expired before its time."""
    digest = transaction.record_hash()
    for entry in entries:
        if entry.record_hash not in (None, digest):
            yield Fault(
                kind=FaultKind.RECORD,
                account=entry.account,
                sequence=entry.sequence,
                transaction=transaction.id,
                expected=entry.record_hash.hex() if entry.record_hash else None,
                found=digest.hex(),
            )
            # All entries seal the same record, so one fault says it all.
            break
    if transaction.kind is TransactionKind.HOLD and transaction.failure is not None and transaction.expires_at:
        for entry in entries:
            if entry.type is EntryType.RELEASE and entry.created_at < transaction.expires_at:
                yield Fault(
                    kind=FaultKind.RECORD,
                    account=entry.account,
                    sequence=entry.sequence,
                    transaction=transaction.id,
                    expected=f"{transaction.failure.code} at {milliseconds(transaction.expires_at)} ms or later",
                    found=f"at {milliseconds(entry.created_at)} ms",
                )


def _payer_faults(transaction: Transaction, payer: Identity | None) -> Iterator[Fault]:
    """Yield a fault if somebody spent from an account that is not theirs."""
    if transaction.kind is TransactionKind.REVERSAL:
        return
    if transaction.kind is TransactionKind.FUNDING:
        is_right = transaction.from_account == treasury_id(transaction.currency)
        expected = f"the treasury in {transaction.currency}"
    else:
        is_right = payer is not None and payer.user == transaction.user
        expected = f"an account of user {transaction.user}"
    if not is_right:
        yield Fault(
            kind=FaultKind.PAYER,
            account=transaction.from_account,
            transaction=transaction.id,
            expected=expected,
            found=None if payer is None else described(payer),
        )


def _key_use_faults(id_: ObjectId, transaction: Transaction | None, uses: Iterable[Document]) -> Iterator[Fault]:
    """Yield a fault if the captures and voids that took effect do not match the hold's status."""
    found = sorted(str(use["kind"]) for use in uses if use.get("failure") is None)
    expected: list[str] = []
    if transaction is not None and transaction.kind is TransactionKind.HOLD:
        match transaction.status:
            case TransactionStatus.COMPLETED | TransactionStatus.REVERSED:
                expected = [KeyUseKind.CAPTURE.value]
            case TransactionStatus.VOIDED if transaction.failure is None:
                expected = [KeyUseKind.VOID.value]
    if found != expected:
        yield Fault(
            kind=FaultKind.KEY_USE,
            transaction=id_,
            expected=", ".join(expected) or None,
            found=", ".join(found) or None,
        )


def _take(missing: list[Leg], entry: Entry, transaction: Transaction | None, identities: Identities) -> bool:
    """Remove the leg that matches the entry from `missing`; tell whether there was one."""
    if transaction is None:
        return False
    # The record of a hold says neither when nor why it was released, so those are not compared.
    is_release = entry.type is EntryType.RELEASE
    at = None if is_release else milliseconds(entry.created_at)
    if entry.counterparty is None:
        return False
    leg = Leg(entry.account, entry.counterparty, entry.type, entry.amount, at)
    agrees = is_release or entry.description == transaction.description
    identity = identities.get(entry.account)
    if leg not in missing or not agrees or identity is None or identity.currency != transaction.currency:
        return False
    missing.remove(leg)
    return True


def _described(leg: Leg | None, transaction: Transaction | None) -> str | None:
    if leg is None or transaction is None:
        return None
    parts = [str(leg), transaction.currency, f"counterparty {leg.counterparty}"]
    parts += [] if leg.at is None else [f"at {leg.at} ms"]
    return ", ".join([*parts, f"description {transaction.description!r}"])


def _described_entry(entry: Entry, identities: Identities) -> str:
    identity = identities.get(entry.account)
    parts = [f"{entry.type} {entry.amount}", str(identity and identity.currency), f"counterparty {entry.counterparty}"]
    parts += [] if entry.type is EntryType.RELEASE else [f"at {milliseconds(entry.created_at)} ms"]
    return ", ".join([*parts, f"description {entry.description!r}"])


def _format_fault(id_: ObjectId, error: Exception) -> Fault:
    found = f"{type(error).__name__}: {error}"
    return Fault(kind=FaultKind.FORMAT, transaction=id_, expected="a transaction", found=found)
