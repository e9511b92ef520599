"""Verifies a whole ledger: one pass over its journals, one over its transactions, in constant memory.

The passes run while the bank keeps working, so they read different documents at different
moments. Within one journal this is harmless, because an entry is never visible before the
entries that precede it. A mismatch between two places (an account and its journal, a
transaction and its entries, all balances and zero) may be a movement under way, so it is
only a suspicion. To settle it, both places are read again in one snapshot, where only a fault remains.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import itemgetter

import bson
from bson import ObjectId

from app.ledger.proof import trial_balance
from app.ledger.proof.checks import JournalCheck, Upgrade
from app.ledger.proof.faults import UNREADABLE, Fault, FaultKind, Report
from app.ledger.proof.fields import PLAIN, hidden_in, ids_named
from app.ledger.proof.movements import SETTLED_AT_ONCE, check_movements, record_fault, settle, transactions_of
from app.ledger.proof.reading import (
    Identities,
    collection,
    find_upgrade,
    find_written,
    read_all,
    read_raw,
    readable_identity,
)
from app.ledger.proof.reversals import check_marks
from app.ledger.proof.rows import CODEC
from app.ledger.proof.shapes import split
from app.ledger.records import EntryType
from app.mongo import Document, database, moment

_JOURNAL_ORDER = [("account", -1), ("sequence", 1)]
# Where the names of an entry's first two fields are, and the second one's value, if the first is an id.
_NAMES_ACCOUNT = itemgetter(slice(4, 9), slice(21, 42))
_ID, _ACCOUNT = b"\x07_id\0", b"\x07account\0"
_NO_ACCOUNT = ObjectId(bytes(12))


def estimated_size() -> int:
    """Return about how many entries and transactions `verify` will read."""
    return database().ledger_entries.estimated_document_count() + database().transactions.estimated_document_count()


def verify(advanced: Callable[[int], None] = lambda _read: None) -> Report:
    """Check the whole ledger; `advanced` is called with the number of documents read since its last call."""
    report = Report()
    with _no_collection():
        _check_journals(report, advanced)
        check_movements(report, Identities(), advanced)
        check_marks(report)
    return report


@contextmanager
def _no_collection() -> Iterator[None]:
    """Run a block without the garbage collector.

    The objects made for an entry do not refer to themselves, so the collector would find nothing and take a quarter of
    the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def verify_account(account_id: ObjectId) -> Report | None:
    """Check one account's journal and every transaction it took part in; None if there is no such account."""
    report, identities = Report(accounts=1), Identities()
    account = _find_account(report, account_id)
    if account is None:
        return None
    check = _begin(report, account, find_upgrade())
    for batch in map(split, read_raw("ledger_entries", {"account": account_id}, _JOURNAL_ORDER)):
        report.entries += len(batch)
        report.add_all(check.follow(batch))
        for first in range(0, len(batch), SETTLED_AT_ONCE):
            settle(report, identities, transactions_of(batch[first : first + SETTLED_AT_ONCE]))
    _settle_account(report, account_id, check)
    for records in read_all("transactions", {"accounts": account_id}, [("_id", 1)], {"_id": 1}):
        report.transactions += len(records)
        ids = [record["_id"] for record in records]
        for id_ in ids:
            if not isinstance(id_, ObjectId):
                report.add(record_fault(None, f"the id {id_!r}"))
        settle(report, identities, [id_ for id_ in ids if isinstance(id_, ObjectId)])
    return report


def _check_journals(report: Report, advanced: Callable[[int], None]) -> None:
    totals: dict[str, int] = {}
    accounts = _Accounts(report)
    check: JournalCheck | None = None
    for batch in map(split, read_raw("ledger_entries", {}, _JOURNAL_ORDER)):
        for account, journal in _by_journal(batch):
            if check is None or account != check.account:
                _finish(report, check, accounts, totals)
                check = accounts.open(account)
            report.add_all(check.follow(journal))
        report.entries += len(batch)
        advanced(len(batch))
    _finish(report, check, accounts, totals)
    accounts.skip_to(None)
    off_zero = trial_balance.off_zero(totals)
    if off_zero:
        # Balances that were read while money moved need not add up to zero. Those of one moment must.
        # What cannot be added up, because it is forged, was named above.
        with suppress(*UNREADABLE):
            off_zero = trial_balance.off_zero(trial_balance.balances())
        for currency, total in off_zero.items():
            report.add(Fault(kind=FaultKind.TRIAL_BALANCE, currency=currency, expected=0, found=total))


def _by_journal(batch: list[bytes]) -> Iterator[tuple[ObjectId, list[bytes]]]:
    """Yield the accounts of a batch, in order, each with its entries."""
    for (first, second), found in groupby(batch, _NAMES_ACCOUNT):
        if first == _ID and second.startswith(_ACCOUNT):
            yield ObjectId(second[len(_ACCOUNT) :]), list(found)
        else:
            # In a forged form.
            for raw in found:
                # MongoDB's order is by the first of two fields by this name.
                yield next(ids_named(raw, b"account"), _NO_ACCOUNT), [raw]


def _readable_account(report: Report, raw: bytes) -> Document | None:
    """Decode an account, and report what decoding hides; None for one that no journal can name."""
    account = bson.decode(raw, CODEC)
    id_ = account.get("_id")
    if not isinstance(id_, ObjectId):
        report.add(Fault(kind=FaultKind.FORMAT, expected="an account", found=f"the id {id_!r}"))
        return None
    if (hidden := hidden_in(raw, account, CODEC)) is not None:
        report.add_once(Fault(kind=FaultKind.FORMAT, account=id_, expected=f"an account with {PLAIN}", found=hidden))
    return account


def _find_account(report: Report, account_id: ObjectId) -> Document | None:
    found = find_written("accounts", {"_id": account_id}, None)
    return next((_readable_account(report, raw) for raw, _ in found), None)


def _begin(report: Report, account: Document, upgrade: Upgrade | None) -> JournalCheck:
    """Check the account itself, and return the check of its journal."""
    identity = readable_identity(account)
    check = JournalCheck(account["_id"], identity, upgrade)
    report.add_all(check.examine_account())
    if identity is None and account.keys() != {"_id"}:
        expected = "an owner, a kind and a currency"
        report.add(Fault(kind=FaultKind.FORMAT, account=account["_id"], expected=expected, found=None))
    return check


def _finish(report: Report, check: JournalCheck | None, accounts: "_Accounts", totals: dict[str, int]) -> None:
    """Make the last checks of a journal, after its last entry. `None` comes before the first journal."""
    if check is None:
        return
    report.accounts += 1
    currency = check.identity.currency if check.identity else ""
    totals[currency] = totals.get(currency, 0) + check.balance
    if check.status != accounts.status:
        _settle_account(report, check.account, check)


class _Accounts:
    """The accounts in the order of the journals, so that both can be read side by side."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._upgrade = find_upgrade()
        self._documents = self._read()
        self._next = next(self._documents, None)
        self.status: str | None = None

    def _read(self) -> Iterator[Document]:
        for batch in read_raw("accounts", {}, [("_id", -1)]):
            for raw in split(batch):
                account = _readable_account(self._report, raw)
                if account is not None:
                    yield account

    def open(self, account_id: ObjectId) -> JournalCheck:
        """Return the check of the journal that comes next."""
        self.skip_to(account_id)
        account = self._next
        if account is not None and account["_id"] == account_id:
            self._next = next(self._documents, None)
        else:
            # The account may have been opened after its neighbours were read.
            account = _find_account(self._report, account_id)
        if account is None:
            self._report.add(Fault(kind=FaultKind.JOURNAL, account=account_id, expected="an account"))
            account = {"_id": account_id}
        self.status = account.get("status")
        return _begin(self._report, account, self._upgrade)

    def skip_to(self, account_id: ObjectId | None) -> None:
        """Skip the accounts before this one, or all for None. Each should have had a journal, so check that."""
        while self._next is not None and (account_id is None or self._next["_id"] > account_id):
            _settle_account(self._report, self._next["_id"], None)
            self._next = next(self._documents, None)


def _settle_account(report: Report, account_id: ObjectId, check: JournalCheck | None) -> None:
    """Compare an account's status with its journal as of one moment."""
    with moment() as session:
        account = collection("accounts").find_one({"_id": account_id}, session=session)
        of_status = {"account": account_id, "type": EntryType.STATUS.value}
        entry = collection("ledger_entries").find_one(of_status, sort=[("sequence", -1)], session=session)
    if account is None:
        return
    if entry is None:
        # A journal without a STATUS entry was named already by the check of the journal.
        if check is None:
            report.add(Fault(kind=FaultKind.JOURNAL, account=account_id, sequence=0, expected="a journal"))
    elif entry.get("description") != account.get("status"):
        sequence, expected, found = entry.get("sequence"), entry.get("description"), account.get("status")
        report.add(
            Fault(
                kind=FaultKind.STATUS,
                account=account_id,
                sequence=sequence if isinstance(sequence, int) else None,
                expected=None if expected is None else str(expected),
                found=None if found is None else str(found),
            )
        )
