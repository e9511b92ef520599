"""Proving a whole ledger right: one pass over its entries, one over its transactions, in constant memory.

The passes read what is committed while the bank goes on, at different moments. Within one
journal that makes no difference, because whoever sees an entry sees all before it. What
compares two places (an account with its journal, a transaction with its entries, all
balances with zero) is only a suspicion at first. Each suspicion is settled by reading both
places again as of one moment, in a snapshot: a fault stays, a movement under way does not.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, cast

import bson
import pymongo
from bson import CodecOptions, ObjectId
from bson.codec_options import DatetimeConversion
from pymongo.collection import Collection
from pymongo.cursor import RawBatchCursor

from app.ledger.proof.checks import JournalCheck
from app.ledger.proof.faults import UNREADABLE, Fault, FaultKind
from app.ledger.proof.legs import Legs, names_its_parties, reversal_mark, transaction_faults
from app.ledger.proof.rows import Row, read_rows
from app.ledger.records import EntryType, KeyUseKind, TransactionKind, TransactionStatus
from app.ledger.repository import head_pipeline
from app.mongo import Document, database, moment

READ_AT_ONCE = 4_000
# MongoDB counts a cursor's time over all of its reads, so a pass has to be given its own.
PASS_TIMEOUT_S = 24 * 3_600
# More are counted and not named.
FAULTS_NAMED_MAX = 1_000
CURRENCIES_CACHED_MAX = 100_000
ID_MIN, ID_MAX = ObjectId(bytes(12)), ObjectId(b"\xff" * 12)

# A time that no datetime can hold is a fault of one document and must not end the run.
_CODEC: CodecOptions[Document] = CodecOptions(tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO)
_JOURNAL_ORDER = [("account", -1), ("sequence", 1)]
_TRANSACTION_FIELDS = dict.fromkeys(
    (
        "kind", "from_account", "to_account", "accounts", "amount", "held_amount", "currency", "status", "created_at",
        "completed_at", "description", "reverses", "reversed_by",
    ),
    1,
)  # fmt: skip
_KEY_USES = frozenset(KeyUseKind)


@dataclass(slots=True)
class Report:
    """What was read, and what is wrong with it."""

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


def estimated_size() -> int:
    """Return about how many entries and transactions `verify` will read."""
    return database().ledger_entries.estimated_document_count() + database().transactions.estimated_document_count()


def verify(advanced: Callable[[int], None] = lambda _read: None) -> Report:
    """Check the whole ledger; `advanced` is told how many documents were read since it was last told."""
    _currency.cache_clear()
    report = Report()
    legs = Legs(*_id_range())
    _check_journals(report, legs, advanced)
    _check_transactions(report, legs, advanced)
    return report


def verify_account(account_id: ObjectId) -> Report | None:
    """Check one account's journal and every transaction it took part in; None if there is no such account."""
    _currency.cache_clear()
    account = _collection("accounts").find_one({"_id": account_id})
    if account is None:
        return None
    report = Report(accounts=1)
    check = JournalCheck(account_id, account["kind"], account["currency"])
    entries = _raw(_collection("ledger_entries"), {"account": account_id}, _JOURNAL_ORDER)
    for batch in entries:
        report.entries += len(batch)
        for fault in check.follow(batch):
            report.add(fault)
        _settle_transactions(report, {entry.get("transaction") for entry in batch} - {None})
    _settle_account(report, account_id, check)
    mentioning = _raw(_collection("transactions"), {"accounts": account_id}, [("_id", 1)], {"_id": 1})
    for batch in mentioning:
        report.transactions += len(batch)
        _settle_transactions(report, {transaction["_id"] for transaction in batch})
    return report


def _check_journals(report: Report, legs: Legs, advanced: Callable[[int], None]) -> None:
    totals: dict[str, int] = {}
    accounts = _Accounts(report)
    check: JournalCheck | None = None
    for batch in _batches(_collection("ledger_entries"), {}, _JOURNAL_ORDER, {"_id": 0}):
        entries = list(read_rows(batch, _CODEC))
        for account, journal in groupby(entries, key=_account_of):
            if check is None or check.account.binary != account:
                _finish(report, check, accounts, totals)
                check = accounts.open(ObjectId(account))
            for fault in check.follow(journal, legs):
                report.add(fault)
        report.entries += len(entries)
        advanced(len(entries))
    _finish(report, check, accounts, totals)
    accounts.skip_to(None)
    if any(totals.values()):
        _settle_trial_balance(report)


def _account_of(entry: Row | Document) -> bytes:
    if type(entry) is Row:
        return entry[0]
    account = cast(Document, entry)["account"]
    return account.binary if isinstance(account, ObjectId) else bytes(12)


def _finish(report: Report, check: JournalCheck | None, accounts: "_Accounts", totals: dict[str, int]) -> None:
    if check is None:
        return
    report.accounts += 1
    totals[check.currency] = totals.get(check.currency, 0) + check.balance
    if check.status != accounts.status:
        _settle_account(report, check.account, check)


class _Accounts:
    """The accounts in the order of the journals, so that both are walked side by side."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._documents = _documents(_raw(_collection("accounts"), {}, [("_id", -1)]))
        self._next = next(self._documents, None)
        self.status: str | None = None

    def open(self, account_id: ObjectId) -> JournalCheck:
        """Return the check of the journal that comes next."""
        self.skip_to(account_id)
        account = self._next
        if account is not None and account["_id"] == account_id:
            self._next = next(self._documents, None)
        else:
            # It may have been opened since its neighbours were read.
            account = _collection("accounts").find_one({"_id": account_id})
        if account is None:
            self._report.add(Fault(kind=FaultKind.JOURNAL, account=account_id, expected="an account"))
            account = {}
        self.status = account.get("status")
        return JournalCheck(account_id, account.get("kind", ""), account.get("currency", ""))

    def skip_to(self, account_id: ObjectId | None) -> None:
        """Pass over the accounts before this one, or all; that they have no journal is to be settled."""
        while self._next is not None and (account_id is None or self._next["_id"] > account_id):
            _settle_account(self._report, self._next["_id"], None)
            self._next = next(self._documents, None)


def _check_transactions(report: Report, legs: Legs, advanced: Callable[[int], None]) -> None:
    marks = 0
    for batch in _raw(_collection("transactions"), {}, [("_id", 1)], _TRANSACTION_FIELDS):
        for transaction in batch:
            if _movement(transaction) is None:
                continue
            report.transactions += 1
            marks += _reversal_mark(transaction)
            try:
                legs.expected(transaction)
                is_odd = not names_its_parties(transaction)
            except UNREADABLE:
                is_odd = True
            if is_odd:
                _settle_transactions(report, {transaction["_id"]})
        advanced(len(batch))
    for first, last in legs.suspects():
        _compare(report, first, last)
    if marks:
        _settle_reversals(report)


def _reversal_mark(transaction: Document) -> int:
    """Return what cancels out with the mark of the transaction at the other end of a reversal."""
    try:
        payer, payee, amount = transaction["from_account"], transaction["to_account"], transaction["amount"]
        if transaction["status"] == TransactionStatus.REVERSED:
            return reversal_mark(transaction["reversed_by"], transaction["_id"], payee, payer, amount)
        if transaction["kind"] == TransactionKind.REVERSAL and transaction["status"] == TransactionStatus.COMPLETED:
            return -reversal_mark(transaction["_id"], transaction["reverses"], payer, payee, amount)
    except UNREADABLE:
        return 1
    return 0


def _compare(report: Report, first: ObjectId | None, last: ObjectId | None) -> None:
    """Compare the transactions of a range of ids with their entries, one by one."""
    ids = {"$gte": first or ID_MIN, **({"$lt": last} if last else {"$lte": ID_MAX})}
    entries = _raw(_collection("ledger_entries"), {"transaction": ids}, [("transaction", 1)])
    grouped = groupby(_documents(entries), key=itemgetter("transaction"))
    group = next(grouped, None)
    recorded = _raw(_collection("transactions"), {"_id": ids}, [("_id", 1)], _TRANSACTION_FIELDS)
    for transaction in _documents(recorded):
        while group is not None and group[0] < transaction["_id"]:
            _settle_transactions(report, {group[0]})
            group = next(grouped, None)
        of_this = []
        if group is not None and group[0] == transaction["_id"]:
            of_this = list(group[1])
            group = next(grouped, None)
        currencies = {entry["account"]: _currency(entry["account"]) for entry in of_this}
        if any(transaction_faults(transaction["_id"], _movement(transaction), of_this, currencies)):
            _settle_transactions(report, {transaction["_id"]})
    while group is not None:
        _settle_transactions(report, {group[0]})
        group = next(grouped, None)


def _settle_transactions(report: Report, ids: set[Any]) -> None:
    """Compare transactions and entries as of one moment."""
    known = {fault.transaction for fault in report.faults}
    wanted = [id_ for id_ in ids if id_ not in known]
    if not wanted:
        return
    with moment() as session:
        recorded = {
            document["_id"]: document
            for document in _collection("transactions").find({"_id": {"$in": wanted}}, session=session)
        }
        entries = list(_collection("ledger_entries").find({"transaction": {"$in": wanted}}, session=session))
    for id_ in wanted:
        of_this = [entry for entry in entries if entry["transaction"] == id_]
        currencies = {entry["account"]: _currency(entry["account"]) for entry in of_this}
        for fault in transaction_faults(id_, _movement(recorded.get(id_)), of_this, currencies):
            report.add(fault)


def _movement(record: Document | None) -> Document | None:
    """Return the record if it is one of a movement of money, and not what else a key was spent on."""
    return None if record is None or record.get("kind") in _KEY_USES else record


def _settle_account(report: Report, account_id: ObjectId, check: JournalCheck | None) -> None:
    """Compare an account's status with its journal as of one moment."""
    with moment() as session:
        account = _collection("accounts").find_one({"_id": account_id}, session=session)
        of_status = {"account": account_id, "type": EntryType.STATUS.value}
        entry = _collection("ledger_entries").find_one(of_status, sort=[("sequence", -1)], session=session)
    if account is None:
        return
    if entry is None:
        # A journal that begins with something else was found out by its own check.
        if check is None:
            report.add(Fault(kind=FaultKind.JOURNAL, account=account_id, sequence=0, expected="a journal"))
    elif entry["description"] != account["status"]:
        report.add(
            Fault(
                kind=FaultKind.STATUS,
                account=account_id,
                sequence=entry["sequence"],
                expected=entry["description"],
                found=account["status"],
            )
        )


def _settle_trial_balance(report: Report) -> None:
    """Add up the balances of all accounts as of one moment."""
    totals: dict[str, int] = {}
    with pymongo.timeout(PASS_TIMEOUT_S), moment() as session:
        heads = _collection("ledger_entries").aggregate(head_pipeline(None), session=session)
        for head in heads:
            currency = _currency(head["_id"])
            totals[currency] = totals.get(currency, 0) + head["head"]["balance"]
    for currency, total in sorted(totals.items()):
        if total:
            report.add(Fault(kind=FaultKind.TRIAL_BALANCE, currency=currency, expected=0, found=total))


def _settle_reversals(report: Report) -> None:
    """Compare each reversal with what it reverses, and the other way round, as of one moment each."""
    linked = {"$or": [{"status": TransactionStatus.REVERSED.value}, {"kind": TransactionKind.REVERSAL.value}]}
    for batch in _raw(_collection("transactions"), linked, [("_id", 1)], {"_id": 1}):
        for found in batch:
            fault = _reversal_fault(found["_id"])
            if fault is not None:
                report.add(fault)


def _reversal_fault(id_: ObjectId) -> Fault | None:
    transactions = _collection("transactions")
    with moment() as session:
        this = transactions.find_one({"_id": id_}, session=session) or {}
        is_reversed = this.get("status") == TransactionStatus.REVERSED
        other_id = this.get("reversed_by") if is_reversed else this.get("reverses")
        other = transactions.find_one({"_id": other_id}, session=session) or {}
    if not is_reversed and this.get("status") != TransactionStatus.COMPLETED:
        return None
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
    described = f"{other.get('kind')} {other.get('status')} {other_id}" if other else None
    return Fault(kind=FaultKind.REVERSAL, transaction=id_, expected=expected, found=described)


def _id_range() -> tuple[ObjectId, ObjectId]:
    transactions = _collection("transactions")
    ends = (transactions.find_one({}, {"_id": 1}, sort=[("_id", direction)]) for direction in (1, -1))
    first, last = (end["_id"] if end else ID_MIN for end in ends)
    return first, last


@lru_cache(CURRENCIES_CACHED_MAX)
def _currency(account_id: ObjectId) -> str:
    account = _collection("accounts").find_one({"_id": account_id}, {"currency": 1})
    return account["currency"] if account else ""


def _collection(name: str) -> Collection[Document]:
    return database()[name].with_options(_CODEC)


def _documents(batches: Iterator[list[Document]]) -> Iterator[Document]:
    for batch in batches:
        yield from batch


def _raw(
    collection: Collection[Document], query: Document, order: list[tuple[str, int]], fields: Document | None = None
) -> Iterator[list[Document]]:
    """Yield what a query finds in batches."""
    for batch in _batches(collection, query, order, fields):
        yield bson.decode_all(batch, _CODEC)


def _batches(
    collection: Collection[Document], query: Document, order: list[tuple[str, int]], fields: Document | None = None
) -> Iterator[bytes]:
    """Yield what a query finds in batches of BSON; the next one is on its way while this one is looked at."""
    found = collection.find_raw_batches(query, fields, sort=order, batch_size=READ_AT_ONCE)
    with ThreadPoolExecutor(1) as reader:
        coming: Future[bytes | None] = reader.submit(_next_batch, found)
        while (batch := coming.result()) is not None:
            coming = reader.submit(_next_batch, found)
            yield batch


def _next_batch(found: RawBatchCursor[Any]) -> bytes | None:
    with pymongo.timeout(PASS_TIMEOUT_S):
        batch: bytes | None = next(found, None)
        return batch
