"""Reads journals for entries, balances and statements.

The documents are the entries of `ledger_entries`; `ledger.documents.to_entry` reads their members. Every query
seeks in one index and reads on from there, so its cost does not depend on the rest of the journal. Results come in
the index's order, so nothing is sorted in memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo.client_session import ClientSession

from app.clock import MILLISECOND, at_or_after
from app.ledger.documents import to_entry
from app.ledger.records import GENESIS_HASH, EntryType
from app.mongo import Document, database, lists

JOURNAL_INDEX = [("account", 1), ("sequence", -1)]
TIME_INDEX = [("account", 1), ("created_at", -1), ("sequence", -1)]
READ_AT_ONCE = 1_000


def find_entries(
    account_id: ObjectId, filters: Mapping[str, Any], *, after: int | None, limit: int
) -> tuple[Iterator[Document], int | None]:
    """Return up to `limit` entries of the account with sequences below `after`, newest first.

    `filters` may have type, from_time and to_time. to_time is exclusive. With a type, no more than SEARCHED_MAX entries
    are looked at. If that was not enough, the second value is the sequence at which the search stopped.
    """
    span = find_span(account_id, filters.get("from_time"), filters.get("to_time"))
    first, last = span.first, span.last if after is None else min(span.last, after - 1)
    query: Document = {"account": account_id}
    if "type" in filters:
        query["type"] = filters["type"]
        first = max(first, last - lists.SEARCHED_MAX + 1)
    query["sequence"] = {"$gte": first, "$lte": last}
    found = database().ledger_entries.find(query).sort("sequence", -1).limit(limit).hint(JOURNAL_INDEX)
    return iter(found), first if first > span.first else None


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a journal: the entries after `before`, up to and including `end`. Empty if `end` is not later."""

    before: Document | None
    end: Document | None

    @property
    def first(self) -> int:
        return self.before["sequence"] + 1 if self.before else 0

    @property
    def last(self) -> int:
        return self.end["sequence"] if self.end else -1

    @property
    def size(self) -> int:
        return max(0, self.last - self.first + 1)

    @property
    def is_empty(self) -> bool:
        return self.last < self.first


def find_sides(transaction_id: ObjectId, session: ClientSession) -> list[Document]:
    """Return the entries of a transaction, ordered by account and sequence."""
    entries = database().ledger_entries.find({"transaction": transaction_id}, session=session)
    return sorted(entries, key=lambda entry: (entry["account"], entry["sequence"]))


def find_span(account_id: ObjectId, from_time: datetime | None, to_time: datetime | None) -> Span:
    """Return the entries of a journal that fall in a period, as a span. Each end of the period costs one seek.

    Entries are only added after the newest one, and never with an earlier time. But a block that
    started before the period's end may commit after this read, so a later call may find more.
    A statement must use one span throughout.
    """
    # The end is read first. Otherwise an entry from before the period that is committed between the two reads would
    # be counted as a part of the period.
    end = find_entry_before(account_id, to_time)
    before = find_entry_before(account_id, from_time) if from_time is not None else None
    return Span(before, end)


def cut_span(account_id: ObjectId, span: Span, last: int) -> Span:
    """Return the span as it was while the entry `last` was the account's newest. `last` is before the span's end."""
    end = database().ledger_entries.find_one({"account": account_id, "sequence": last}, hint=JOURNAL_INDEX)
    return Span(span.before if last >= span.first else end, end)


def find_sealed(account_id: ObjectId, sequences: range, hash_: bytes | None) -> Document | None:
    """Return the entry with this hash, if its sequence is one of these."""
    query = {"account": account_id, "sequence": {"$gte": sequences.start, "$lt": sequences.stop}, "hash": hash_}
    return database().ledger_entries.find_one(query, hint=JOURNAL_INDEX)


def find_entry_before(account_id: ObjectId, moment: datetime | None) -> Document | None:
    """Return the newest entry before `moment`, or the newest of all without a moment; None if there is none."""
    query: Document = {"account": account_id}
    if moment is not None:
        query["created_at"] = {"$lt": at_or_after(moment)}
    return database().ledger_entries.find_one(query, sort=[("created_at", -1), ("sequence", -1)], hint=TIME_INDEX)


def read_span(account_id: ObjectId, span: Span, pause: Callable[[], None]) -> Iterator[Document]:
    """Yield the entries of a span, oldest first, READ_AT_ONCE per read.

    No cursor stays open between the reads. Before each read, `pause` is called, so that other work can go first.
    """
    position = span.first
    while position <= span.last:
        pause()
        end = min(position + READ_AT_ONCE - 1, span.last)
        query = {"account": account_id, "sequence": {"$gte": position, "$lte": end}}
        yield from database().ledger_entries.find(query).sort("sequence", 1).hint(JOURNAL_INDEX)
        position = end + 1


def read_sealed_span(account_id: ObjectId, span: Span, pause: Callable[[], None]) -> Iterator[tuple[Document, bool]]:
    """Yield the entries of a span as `read_span` does, each with whether its hash is right and continues the chain."""
    previous = bytes(span.before["hash"]) if span.before else GENESIS_HASH
    for document in read_span(account_id, span, pause):
        entry = to_entry(document)
        yield document, entry.previous_hash == previous and entry.computed_hash() == entry.hash
        previous = entry.hash


def find_balances(account_id: ObjectId, moments: Sequence[datetime]) -> list[int]:
    """Return the balance at each of these moments, which must be in ascending order; 0 before the account opened.

    The search looks between two moments only if their newest entries differ. So an account without new entries costs
    two seeks, however many moments there are.
    """
    balances = [0] * len(moments)

    def entry_at(index: int) -> Document | None:
        # Includes all entries of the moment's millisecond.
        return find_entry_before(account_id, moments[index] + MILLISECOND)

    def fill(first: int, last: int, before: Document | None, after: Document | None) -> None:
        if last - first < 2:
            return
        if (before and before["sequence"]) == (after and after["sequence"]):
            balances[first + 1 : last] = [_balance(before)] * (last - first - 1)
            return
        middle = (first + last) // 2
        found = entry_at(middle)
        balances[middle] = _balance(found)
        fill(first, middle, before, found)
        fill(middle, last, found, after)

    begin, end = entry_at(0), entry_at(len(moments) - 1)
    balances[0], balances[-1] = _balance(begin), _balance(end)
    fill(0, len(moments) - 1, begin, end)
    return balances


def _balance(entry: Document | None) -> int:
    balance: int = entry["balance"] if entry else 0
    return balance


def sample_balances(account_id: ObjectId, span: Span, points: int) -> list[tuple[datetime, int]]:
    """Return up to `points` balances with their times, evenly spread over a span's entries and including its last."""
    if span.is_empty:
        return []
    step = max(1, -(-(span.last - span.first) // (points - 1)))
    sequences = [*range(span.first, span.last, step), span.last]
    query = {"account": account_id, "sequence": {"$in": sequences}}
    found = database().ledger_entries.find(query, {"created_at": 1, "balance": 1}).sort("sequence", 1)
    return [(entry["created_at"], entry["balance"]) for entry in found.hint(JOURNAL_INDEX)]


def sum_span(account_id: ObjectId, span: Span) -> dict[EntryType, int]:
    """Return the total of each type of entry in a span."""
    stages: list[Document] = [
        {"$match": {"account": account_id, "sequence": {"$gte": span.first, "$lte": span.last}}},
        # As decimals, because MongoDB turns a sum of int64 that overflows into a float.
        {"$group": {"_id": "$type", "total": {"$sum": {"$toDecimal": "$amount"}}}},
    ]
    found = database().ledger_entries.aggregate(stages, hint=dict(JOURNAL_INDEX))
    return {EntryType(group["_id"]): int(group["total"].to_decimal()) for group in found}
