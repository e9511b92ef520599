"""Compares every transaction with its entries, with the uses of keys that name it, and with its reversal.

Three lists are read side by side in the order of the transactions' ids: the records, the
entries, and the captures and voids. They are read at different moments, so a mismatch is
only a suspicion. To settle it, all of these are read again in one snapshot.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import bson
from bson import CodecOptions, ObjectId

from app.ledger.proof.checks import described, entry_hidden_fault
from app.ledger.proof.completed import Completed, is_its_payers, read_completed
from app.ledger.proof.faults import Fault, FaultKind, Report
from app.ledger.proof.fields import PLAIN, hidden_in, ids_named
from app.ledger.proof.legs import transaction_faults
from app.ledger.proof.plain import COMPARED, is_plainly_right, named_by
from app.ledger.proof.reading import QUICK, Identities, collection, find_written, read_all, read_raw
from app.ledger.proof.reversals import check_reversals
from app.ledger.proof.rows import CODEC, VALUES, form_of
from app.ledger.proof.shapes import split
from app.ledger.proof.slips import Slip, slip_of
from app.ledger.records import ITEM_KEY_SEPARATOR, KeyUseKind, chosen_key, item_key
from app.mongo import Document, moment

SETTLED_AT_ONCE = 500
_ID_MIN = ObjectId(bytes(12))
# Greater than any id.
_AFTER_ALL = b"\xff" * 13
_ITEM_MARK = ITEM_KEY_SEPARATOR.encode()
# Where the transaction is among the values of an entry.
_TRANSACTION = VALUES.index("transaction")
_BY_TRANSACTION = [("transaction", 1)]
_KEY_USES = frozenset(KeyUseKind)
_CAPTURES_AND_VOIDS = {"kind": {"$in": [KeyUseKind.CAPTURE.value, KeyUseKind.VOID.value]}}

Named = TypeVar("Named", bytes, Document)


def check_movements(report: Report, identities: Identities, advanced: Callable[[int], None]) -> None:
    """Add the faults of all transactions to the report; `advanced` is called with the number of records read."""
    named = {"transaction": {"$gte": _ID_MIN}}
    entries = _Traces(map(split, read_raw("ledger_entries", named, _BY_TRANSACTION, COMPARED)), named_by)
    uses = _Traces(read_all("transactions", {**named, **_CAPTURES_AND_VOIDS}, _BY_TRANSACTION), _named_by_use)
    suspects: list[ObjectId] = []
    for batch in read_raw("transactions", {}, [("_id", 1)]):
        records = _Records(report, split(batch))
        owners = identities.owners_of(records.accounts())
        for id_, record in records.movements:
            if (
                type(record) is Completed
                and is_its_payers(record, owners)
                and uses.next_id > id_
                and entries.take_exactly(id_, record.entries)
            ):
                continue
            if entries.next_id < id_ or uses.next_id < id_:
                suspects += _named_in([*entries.skip_to(id_), *uses.skip_to(id_)])
            of_this, used = entries.take(id_), uses.take(id_)
            slip = slip_of(bson.decode(record.raw, QUICK)) if isinstance(record, Completed) else record
            if slip is None or not is_plainly_right(slip, of_this, used, owners):
                suspects += [ObjectId(id_), *_named_in(of_this)]
        suspects = _settle_many(report, identities, suspects)
        check_reversals(report, records.others)
        _check_batches(report, records)
        _check_openings(report, identities, records.others)
        advanced(len(records.movements))
    suspects += _named_in([*entries.skip_to(_AFTER_ALL), *uses.skip_to(_AFTER_ALL)])
    for first in range(0, len(suspects), SETTLED_AT_ONCE):
        settle(report, identities, suspects[first : first + SETTLED_AT_ONCE])


class _Records:
    """A batch of records, sorted by what has to be compared.

    `movements` has the id of each record that moves money, and what was read of it: a Completed if its bytes have the
    shape of a completed movement, otherwise a Slip, or None if it is not in the bank's form.
    `others` has the decoded documents of all records without that shape, whether they move money or not.
    `items` has (id, user, idempotency key) of each record that claims to be an item of a batch of transfers.
    """

    def __init__(self, report: Report, batch: Iterable[bytes]) -> None:
        self.movements: list[tuple[bytes, Completed | Slip | None]] = []
        self.others: list[Document] = []
        self.items: list[tuple[ObjectId, Any, str]] = []
        for raw in batch:
            record = read_completed(raw)
            if record is None:
                self._add_other(report, raw)
                continue
            self.movements.append((record.id, record))
            if _ITEM_MARK in record.idempotency_key:
                self.items.append((ObjectId(record.id), ObjectId(record.user), record.idempotency_key.decode()))
        report.transactions += len(self.movements)

    def _add_other(self, report: Report, raw: bytes) -> None:
        record = _readable_record(report, raw)
        if record is None:
            return
        id_, user, key = record["_id"], record.get("user"), record.get("idempotency_key")
        self.others.append(record)
        if isinstance(key, str) and chosen_key(key) != key:
            if isinstance(user, ObjectId):
                self.items.append((id_, user, key))
            else:
                report.add(record_fault(id_, f"the user {user!r}"))
        if not _is_movement(record) and not isinstance(record.get("transaction", id_), ObjectId):
            report.add(record_fault(id_, f"the transaction {record['transaction']!r}"))
        if _is_movement(record):
            self.movements.append((id_.binary, slip_of(record)))

    def accounts(self) -> set[bytes]:
        """Return the accounts of all movements that are in the bank's form."""
        found = [record for _, record in self.movements if record is not None]
        return {record.payer for record in found} | {record.payee for record in found}


def transactions_of(entries: Iterable[bytes]) -> list[ObjectId]:
    """Return the transactions that entries name, as BSON."""
    return [id_ for entry in entries for id_ in _named_by_entry(entry)]


def _named_by_entry(raw: bytes) -> list[ObjectId]:
    form = form_of(raw)
    if form is None:
        return list(ids_named(raw, b"transaction"))
    return [ObjectId(form.unpack(raw)[_TRANSACTION])]


def _readable_record(report: Report, raw: bytes) -> Document | None:
    """Decode a record, and report what decoding hides; None for one that nothing can name."""
    record = bson.decode(raw, QUICK)
    id_ = record.get("_id")
    if not isinstance(id_, ObjectId):
        report.add(record_fault(None, f"the id {id_!r}"))
        return None
    report.add_once(_record_hidden_fault(raw, record, QUICK))
    return record


def _record_hidden_fault(raw: bytes, record: Document, codec: CodecOptions[Document]) -> Fault | None:
    hidden = hidden_in(raw, record, codec)
    id_ = record.get("_id")
    if hidden is None or not isinstance(id_, ObjectId):
        return None
    return Fault(kind=FaultKind.FORMAT, transaction=id_, expected=f"a record with {PLAIN}", found=hidden)


def record_fault(id_: ObjectId | None, found: str) -> Fault:
    """Return the fault of a record that cannot be read as one."""
    return Fault(kind=FaultKind.FORMAT, transaction=id_, expected="a transaction", found=found)


def _settle_many(report: Report, identities: Identities, suspects: list[ObjectId]) -> list[ObjectId]:
    """Settle suspicions in full batches; return the rest."""
    while len(suspects) >= SETTLED_AT_ONCE:
        settle(report, identities, suspects[:SETTLED_AT_ONCE])
        suspects = suspects[SETTLED_AT_ONCE:]
    return suspects


def _named_in(traces: Iterable[bytes | Document]) -> list[ObjectId]:
    """Return the transactions that these name. What is no id was named as a fault where the document was checked."""
    named: set[ObjectId] = set()
    for trace in traces:
        if isinstance(trace, bytes):
            named.update(ids_named(trace, b"transaction"))
        elif isinstance(id_ := trace.get("transaction"), ObjectId):
            named.add(id_)
    return sorted(named)


def _named_by_use(use: Document) -> bytes:
    id_ = use.get("transaction")
    # A list of ids is found among the ids too. No record has this id, so such a use is skipped.
    return id_.binary if isinstance(id_, ObjectId) else b""


class _Traces(Generic[Named]):
    """The documents that name a transaction, in the order of the transactions' ids.

    `next_id` is the transaction that the next document names, or `_AFTER_ALL`.
    """

    def __init__(self, batches: Iterator[list[Named]], named_by: Callable[[Named], bytes]) -> None:
        self._batches: Iterator[list[Named]] = batches
        self._named_by: Callable[[Named], bytes] = named_by
        self._found: list[Named] = []
        self._at = 0
        self.next_id = b""
        self._move_to(0)

    def skip_to(self, id_: bytes) -> Iterator[Named]:
        """Yield the documents that name transactions before this one."""
        while self.next_id < id_:
            yield from self.take(self.next_id)

    def take(self, id_: bytes) -> list[Named]:
        """Return what names this transaction, if it is next."""
        taken: list[Named] = []
        while self.next_id == id_:
            taken.append(self._found[self._at])
            self._move_to(self._at + 1)
        return taken

    def take_exactly(self, id_: bytes, wanted: list[Named]) -> bool:
        """Pass over what names this transaction, if that is what is wanted, in this order. If not, it is still next.

        The last of a batch are left to `take`.
        """
        end = self._at + len(wanted)
        if end >= len(self._found) or self._found[self._at : end] != wanted:
            return False
        following = self._named_by(self._found[end])
        if following == id_:
            return False
        self._at, self.next_id = end, following
        return True

    def _move_to(self, at: int) -> None:
        while at == len(self._found) and (batch := next(self._batches, None)) is not None:
            self._found, at = batch, 0
        self._at = at
        self.next_id = self._named_by(self._found[at]) if at < len(self._found) else _AFTER_ALL


def settle(report: Report, identities: Identities, ids: Sequence[ObjectId]) -> None:
    """Compare these transactions with their traces as of one moment, and add the faults to the report."""
    known = {fault.transaction for fault in report.faults}
    wanted = [id_ for id_ in dict.fromkeys(ids) if id_ not in known]
    if not wanted:
        return
    among: Document = {"$in": wanted}
    with moment() as session:
        records_written = find_written("transactions", {"_id": among}, session)
        entries_written = find_written("ledger_entries", {"transaction": among}, session)
        uses_written = find_written("transactions", {"transaction": among, **_CAPTURES_AND_VOIDS}, session)
    for raw, record in [*records_written, *uses_written]:
        report.add_once(_record_hidden_fault(raw, record, CODEC))
    for raw, entry in entries_written:
        report.add_once(entry_hidden_fault(raw, entry, entry.get("account")))
    records, entries, uses = (
        [document for _, document in written] for written in (records_written, entries_written, uses_written)
    )
    named = [_named_by_entry(raw) for raw, _ in entries_written]
    recorded = {record["_id"]: record for record in records if _is_movement(record)}
    whose = identities.of(_accounts_of(records, entries))
    for id_ in wanted:
        of_this = [entry for entry, ids in zip(entries, named, strict=True) if id_ in ids]
        naming = [use for use in uses if use.get("transaction") == id_]
        for fault in transaction_faults(id_, recorded.get(id_), of_this, naming, whose):
            report.add(fault)


def _is_movement(record: Document) -> bool:
    """Tell whether the record is a transaction, not a use of a key."""
    kind = record.get("kind")
    # Of a forged value, even the hash may be missing.
    return type(kind) is not str or kind not in _KEY_USES


def _accounts_of(records: Sequence[Document], entries: Any) -> set[ObjectId]:
    named = [record.get(side) for record in records for side in ("from_account", "to_account")]
    named += [entry.get("account") for entry in entries]
    return {account for account in named if isinstance(account, ObjectId)}


def _check_batches(report: Report, records: _Records) -> None:
    """Compare batches with their items, whichever are in `records`. One block wrote both, so no snapshot is needed."""
    items: dict[tuple[Any, str], list[ObjectId]] = {}
    keys: dict[ObjectId, tuple[Any, Any]] = {}
    for id_, user, key in records.items:
        items.setdefault((user, chosen_key(key)), []).append(id_)
        keys[id_] = user, key
    for record in records.others:
        if record.get("kind") == KeyUseKind.BATCH and isinstance(record.get("results"), list):
            _check_batch(report, record, keys)
    for (user, key), made in items.items():
        batch = collection("transactions").find_one(
            {"user": user, "idempotency_key": key, "kind": KeyUseKind.BATCH.value}, {"results": 1}
        )
        results = set() if batch is None else _ids_in(batch)
        for item in made:
            if batch is None:
                report.add(Fault(kind=FaultKind.KEY_USE, transaction=item, expected="the BATCH that it is an item of"))
            elif item not in results:
                # If it is at a wrong place, the check of the batch names that.
                expected = f"a place in the results of the batch {batch['_id']}"
                report.add(Fault(kind=FaultKind.KEY_USE, transaction=item, expected=expected))


def _ids_in(batch: Document) -> set[ObjectId]:
    results = batch.get("results")
    return {result for result in results if isinstance(result, ObjectId)} if isinstance(results, list) else set()


def _check_batch(report: Report, batch: Document, keys: Mapping[ObjectId, tuple[Any, Any]]) -> None:
    """Compare a batch with its items. `keys` are the user and key of those that were read already."""
    made = [(index, result) for index, result in enumerate(batch["results"]) if isinstance(result, ObjectId)]
    found = {result: keys[result] for _, result in made if result in keys}
    wanted = {"$in": [result for _, result in made if result not in found]}
    if wanted["$in"]:
        for item in collection("transactions").find({"_id": wanted}, {"user": 1, "idempotency_key": 1}):
            found[item["_id"]] = item.get("user"), item.get("idempotency_key")
    for index, result in made:
        expected = item_key(str(batch.get("idempotency_key")), index)
        if found.get(result) != (batch.get("user"), expected):
            report.add(
                Fault(
                    kind=FaultKind.KEY_USE,
                    transaction=result,
                    expected=f"item {index} of the batch {batch['_id']}",
                    found="another transaction" if result in found else None,
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
