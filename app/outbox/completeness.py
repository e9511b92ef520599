"""Compares the ledger with the outbox: does some document report everything that happened?

Nothing deletes what was not sent, and what was sent is kept for 30 days, so a missing document
was deleted by somebody with an administrator's rights. Only the ledger is compared: for
registrations and passwords there is nothing to compare with.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from bson import ObjectId

from app.clock import milliseconds
from app.ledger.records import EntryType
from app.mongo import Document, database
from app.outbox.messages import Happening, MessageKind, News
from app.outbox.news import news_in
from app.outbox.repository import BLOCK

# The ids of both sides are made in the same block. This is longer than a block takes, and more than clocks may differ.
SLACK = timedelta(minutes=10)
# How much is compared at a time, so that memory stays bounded.
STEP = timedelta(hours=1)

_OPENED, _DECLINED = "OPENED", "DECLINED"
# The traces of an event in the ledger: entries of these types, or a record.
_TRACES: dict[str, tuple[str, ...]] = {
    Happening.MOVED: (EntryType.DEBIT,),
    Happening.DECLINED: (_DECLINED,),
    Happening.HOLD_PLACED: (EntryType.HOLD,),
    Happening.HOLD_CAPTURED: (EntryType.DEBIT, EntryType.RELEASE),
    Happening.HOLD_VOIDED: (EntryType.RELEASE,),
    Happening.HOLD_EXPIRED: (EntryType.RELEASE,),
    Happening.ACCOUNT_FROZEN: (EntryType.STATUS,),
    Happening.ACCOUNT_UNFROZEN: (EntryType.STATUS,),
    Happening.ACCOUNT_CLOSED: (EntryType.STATUS,),
    # Messages that name no event: those of version 1, and about opened accounts.
    MessageKind.MONEY_SENT: (EntryType.DEBIT,),
    MessageKind.MONEY_RECEIVED: (EntryType.DEBIT,),
    MessageKind.TRANSFER_DECLINED: (_DECLINED,),
    MessageKind.ACCOUNT_OPENED: (_OPENED,),
}


class Trace(NamedTuple):
    """The trace of an event in the ledger. `at` is the time of a change of status, in milliseconds."""

    type: str
    subject: ObjectId
    at: int | None = None


def untold(since: datetime, until: datetime) -> Iterator[Trace]:
    """Yield the events between these times that no document of the outbox reports."""
    while since < until:
        end = min(since + STEP, until)
        # The ledger is read first: what is in it now has its document by now.
        happened = set(_happened(since, end))
        yield from sorted(happened - set(_told(since - SLACK, end + SLACK)))
        since = end


def _happened(since: datetime, until: datetime) -> Iterator[Trace]:
    fields = ["type", "account", "transaction", "sequence", "created_at", "identity.user"]
    types = [EntryType.DEBIT, EntryType.HOLD, EntryType.RELEASE, EntryType.STATUS]
    query = {**_made(since, until), "type": {"$in": [type_.value for type_ in types]}}
    for entry in database().ledger_entries.find(query, projection=fields):
        if entry["type"] != EntryType.STATUS:
            yield Trace(entry["type"], entry["transaction"])
        elif entry["sequence"]:
            yield Trace(entry["type"], entry["account"], milliseconds(entry["created_at"]))
        elif entry.get("identity", {}).get("user"):
            yield Trace(_OPENED, entry["account"])
    declined = {**_made(since, until), "status": "FAILED"}
    for record in database().transactions.find(declined, projection=["_id"]):
        yield Trace(_DECLINED, record["_id"])


def _told(since: datetime, until: datetime) -> Iterator[Trace]:
    # A document that the deliverer made for one reader says nothing about the others.
    originals = {**_made(since, until), "$or": [{"kind": BLOCK}, {"payload": {"$exists": True}}]}
    for document in database().outbox.find(originals, projection=["kind", "news", "payload"]):
        if "payload" in document:
            yield from _of_message(document["kind"], document["payload"])
        else:
            yield from _of_news(news_in(document))


def _of_news(news: Iterable[News]) -> Iterator[Trace]:
    for each in news:
        at = None if each.at is None else milliseconds(each.at)
        for trace in _TRACES[each.event]:
            yield Trace(trace, each.subject, at)


def _of_message(kind: str, payload: Document) -> Iterator[Trace]:
    for trace in _TRACES.get(kind, ()):
        at = milliseconds(payload["at"]) if trace == EntryType.STATUS else None
        yield Trace(trace, payload.get("transaction") or payload["account"], at)


def _made(since: datetime, until: datetime) -> Document:
    return {"_id": {"$gte": ObjectId.from_datetime(since), "$lt": ObjectId.from_datetime(until)}}
