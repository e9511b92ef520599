"""Compares every transaction with its entries, with the uses of keys that name it, and with its reversal.

Three lists are read side by side in the order of the transactions' ids: the records, the
entries, and the captures and voids. They are read at different moments, so a mismatch is
only a suspicion. To settle it, all of it is read again as of one moment.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Generic, TypeVar

from bson import ObjectId

from app.ledger.proof.checks import described
from app.ledger.proof.faults import Fault, FaultKind, Report
from app.ledger.proof.legs import transaction_faults
from app.ledger.proof.plain import is_plainly_right
from app.ledger.proof.reading import Identities, collection, read_each, read_entries, read_quickly, with_times
from app.ledger.proof.rows import Row
from app.ledger.records import KeyUseKind, TransactionKind, TransactionStatus, chosen_key, item_key
from app.mongo import Document, moment

SETTLED_AT_ONCE = 500
_ID_MIN = ObjectId(bytes(12))
_BY_TRANSACTION = [("transaction", 1)]
_KEY_USES = frozenset(KeyUseKind)
_CAPTURES_AND_VOIDS = {"kind": {"$in": [KeyUseKind.CAPTURE.value, KeyUseKind.VOID.value]}}

Named = TypeVar("Named", bound=Row | Document)


def check_movements(report: Report, identities: Identities, advanced: Callable[[int], None]) -> None:
    """Add the faults of all transactions to the report; `advanced` is called with the number of records read."""
    named = {"transaction": {"$gte": _ID_MIN}}
    entries = _Groups(read_entries(named, _BY_TRANSACTION))
    uses = _Groups(read_each("transactions", {**named, **_CAPTURES_AND_VOIDS}, _BY_TRANSACTION))
    suspects: list[ObjectId] = []
    for batch in read_quickly("transactions", {}, [("_id", 1)]):
        movements = [record for record in batch if _is_movement(record)]
        report.transactions += len(movements)
        groups = []
        for record in movements:
            id_ = record["_id"].binary
            if entries.lags(id_) or uses.lags(id_):
                suspects += sorted({*entries.skipped_before(id_), *uses.skipped_before(id_)})
            groups.append((record, entries.take(id_), uses.take(id_)))
        whose = {account.binary: found for account, found in identities.of(_accounts_of(movements, ())).items()}
        for record, of_this, used in groups:
            if used or not is_plainly_right(record, of_this, whose):
                suspects += _suspected(record, of_this, used, identities)
        suspects = _settle_many(report, identities, suspects)
        _check_reversals(report, movements)
        _check_batches(report, batch)
        _check_openings(report, identities, batch)
        advanced(len(batch))
    suspects += sorted({*entries.skipped_before(None), *uses.skipped_before(None)})
    for first in range(0, len(suspects), SETTLED_AT_ONCE):
        settle(report, identities, suspects[first : first + SETTLED_AT_ONCE])


def _suspected(
    record: Document, of_this: Sequence[Row | Document], uses: Sequence[Document], identities: Identities
) -> list[ObjectId]:
    """Return the transaction's id in a list if it does not agree with its traces, as far as they were read."""
    record = with_times(record)
    entries = [entry.document() if isinstance(entry, Row) else entry for entry in of_this]
    whose = identities.of(_accounts_of([record], entries))
    return [record["_id"]] if any(transaction_faults(record["_id"], record, entries, uses, whose)) else []


def transaction_of(entry: Row | Document) -> ObjectId | None:
    """Return the transaction that an entry names, if it names one."""
    if isinstance(entry, Row):
        return ObjectId(entry.transaction)
    named = entry.get("transaction")
    return named if isinstance(named, ObjectId) else None


def _settle_many(report: Report, identities: Identities, suspects: list[ObjectId]) -> list[ObjectId]:
    """Settle suspicions in full batches; return the rest."""
    while len(suspects) >= SETTLED_AT_ONCE:
        settle(report, identities, suspects[:SETTLED_AT_ONCE])
        suspects = suspects[SETTLED_AT_ONCE:]
    return suspects


def _transaction_bytes(naming: Row | Document) -> bytes:
    # Only ids are read here, because the queries ask for values from the lowest id on.
    id_: bytes = naming.transaction if isinstance(naming, Row) else naming["transaction"].binary
    return id_


class _Groups(Generic[Named]):
    """What names a transaction, grouped by it, in the order of the transactions' ids."""

    def __init__(self, found: Iterable[Named]) -> None:
        self._grouped = groupby(found, key=_transaction_bytes)
        self._next = next(self._grouped, None)

    def lags(self, id_: bytes) -> bool:
        """Tell whether a named transaction before this one was not taken."""
        return self._next is not None and self._next[0] < id_

    def skipped_before(self, id_: bytes | None) -> Iterator[ObjectId]:
        """Yield the named transactions before this one, or all for None, that were not taken."""
        while self._next is not None and (id_ is None or self._next[0] < id_):
            yield ObjectId(self._next[0])
            self._next = next(self._grouped, None)

    def take(self, id_: bytes) -> list[Named]:
        """Return what names this transaction."""
        if self._next is None or self._next[0] != id_:
            return []
        taken = list(self._next[1])
        self._next = next(self._grouped, None)
        return taken


def settle(report: Report, identities: Identities, ids: Sequence[ObjectId]) -> None:
    """Compare these transactions with their traces as of one moment, and add the faults to the report."""
    known = {fault.transaction for fault in report.faults}
    wanted = [id_ for id_ in dict.fromkeys(ids) if id_ not in known]
    if not wanted:
        return
    among: Document = {"$in": wanted}
    with moment() as session:
        records = list(collection("transactions").find({"_id": among}, session=session))
        entries = list(collection("ledger_entries").find({"transaction": among}, session=session))
        uses = list(collection("transactions").find({"transaction": among, **_CAPTURES_AND_VOIDS}, session=session))
    recorded = {record["_id"]: record for record in records if _is_movement(record)}
    whose = identities.of(_accounts_of(records, entries))
    for id_ in wanted:
        of_this = [entry for entry in entries if entry["transaction"] == id_]
        naming = [use for use in uses if use["transaction"] == id_]
        for fault in transaction_faults(id_, recorded.get(id_), of_this, naming, whose):
            report.add(fault)


def _is_movement(record: Document) -> bool:
    """Tell whether the record is a transaction, not a use of a key."""
    return record.get("kind") not in _KEY_USES


def _accounts_of(records: Sequence[Document], entries: Any) -> set[ObjectId]:
    named = {record.get(side) for record in records for side in ("from_account", "to_account")}
    named |= {entry.get("account") for entry in entries}
    return {account for account in named if isinstance(account, ObjectId)}


def _check_reversals(report: Report, movements: Sequence[Document]) -> None:
    """Compare each reversal with its original, whichever of the two is in `movements`."""
    linked = [record for record in movements if _other_end(record) is not None]
    if not linked:
        return
    ends = {"$in": [_other_end(record) for record in linked]}
    others = {record["_id"]: record for record in collection("transactions").find({"_id": ends})}
    for record in linked:
        if _reversal_fault(record, others.get(_other_end(record))) is None:
            continue
        with moment() as session:
            this = collection("transactions").find_one({"_id": record["_id"]}, session=session) or {}
            other = collection("transactions").find_one({"_id": _other_end(this)}, session=session)
        fault = _reversal_fault(this, other)
        if fault is not None:
            report.add(fault)


def _other_end(record: Document) -> Any:
    """Return the original's id for a reversal, the reversal's id for an original, and None for any other record."""
    if record.get("status") == TransactionStatus.REVERSED:
        return record.get("reversed_by", "none")
    if record.get("kind") == TransactionKind.REVERSAL and record.get("status") == TransactionStatus.COMPLETED:
        return record.get("reverses", "none")
    return None


def _reversal_fault(this: Document, found: Document | None) -> Fault | None:
    other = found or {}
    if _other_end(this) is None:
        return None
    is_reversed = this.get("status") == TransactionStatus.REVERSED
    original, reversal = (this, other) if is_reversed else (other, this)
    agree = (
        original.get("status") == TransactionStatus.REVERSED
        and reversal.get("kind") == TransactionKind.REVERSAL
        and reversal.get("status") == TransactionStatus.COMPLETED
        and (original.get("reversed_by"), reversal.get("reverses")) == (reversal.get("_id"), original.get("_id"))
        and (original.get("from_account"), original.get("to_account"), original.get("amount"))
        == (reversal.get("to_account"), reversal.get("from_account"), reversal.get("amount"))
    )
    if agree:
        return None
    expected = "the opposite REVERSAL that names it" if is_reversed else "the REVERSED transaction that names it"
    described = f"{other.get('kind')} {other.get('status')} {other.get('_id')}" if other else None
    return Fault(kind=FaultKind.REVERSAL, transaction=this["_id"], expected=expected, found=described)


def _check_batches(report: Report, records: Sequence[Document]) -> None:
    """Compare batches with their items, whichever are in `records`. One block wrote both, so no snapshot is needed."""
    for record in records:
        if record.get("kind") == KeyUseKind.BATCH and isinstance(record.get("results"), list):
            _check_batch(report, record)
    items: dict[tuple[Any, str], list[ObjectId]] = {}
    for record in records:
        key = record.get("idempotency_key")
        if isinstance(key, str) and chosen_key(key) != key:
            items.setdefault((record.get("user"), chosen_key(key)), []).append(record["_id"])
    for (user, key), made in items.items():
        batch = collection("transactions").find_one(
            {"user": user, "idempotency_key": key, "kind": KeyUseKind.BATCH.value}, {"results": 1}
        )
        for item in made:
            if batch is None:
                report.add(Fault(kind=FaultKind.KEY_USE, transaction=item, expected="the BATCH that it is an item of"))
            elif item not in _results(batch):
                # If it is there at a wrong place, the check of the batch names that.
                expected = f"a place in the results of the batch {batch['_id']}"
                report.add(Fault(kind=FaultKind.KEY_USE, transaction=item, expected=expected))


def _results(batch: Document) -> list[Any]:
    results = batch.get("results")
    return results if isinstance(results, list) else []


def _check_batch(report: Report, batch: Document) -> None:
    made = [(index, result) for index, result in enumerate(batch["results"]) if isinstance(result, ObjectId)]
    fields = {"user": 1, "idempotency_key": 1}
    wanted = {"$in": [result for _, result in made]}
    found = {item["_id"]: item for item in collection("transactions").find({"_id": wanted}, fields)}
    for index, result in made:
        item = found.get(result, {})
        expected = item_key(str(batch.get("idempotency_key")), index)
        if (item.get("user"), item.get("idempotency_key")) != (batch.get("user"), expected):
            report.add(
                Fault(
                    kind=FaultKind.KEY_USE,
                    transaction=result,
                    expected=f"item {index} of the batch {batch['_id']}",
                    found="another transaction" if item else None,
                )
            )


def _check_openings(report: Report, identities: Identities, records: Sequence[Document]) -> None:
    """Compare the uses of keys that opened accounts with the accounts' owners. One block wrote both, as for batches."""
    openings = [record for record in records if record.get("kind") == KeyUseKind.ACCOUNT]
    named = {account for opening in openings if isinstance(account := opening.get("account"), ObjectId)}
    whose = identities.of(named) if named else {}
    for opening in openings:
        account = opening.get("account")
        if not isinstance(account, ObjectId):
            account = None
        identity = None if account is None else whose[account]
        if identity is None or identity.user is None or identity.user != opening.get("user"):
            report.add(
                Fault(
                    kind=FaultKind.KEY_USE,
                    account=account,
                    expected=f"an account of user {opening.get('user')}, as the key use {opening['_id']} says",
                    found=None if identity is None else described(identity),
                )
            )
