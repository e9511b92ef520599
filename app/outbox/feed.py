"""The feed: the order in which programs get the documents of the outbox, each exactly once.

A document becomes visible when its block commits, and blocks that overlap commit in any order. So a position that is
set before the commit, such as a time, may be behind a reader who has been there already. Therefore a document gets its
`position` afterwards: the first process that needs the feed numbers all visible documents without a position. It does
so in an atomic block that writes the counter, so nobody ever sees a position before all smaller ones.

Documents that get their positions together are in the order of `causal`, the cluster time that the block had seen. If
a block read what another one wrote, its time is later, whatever the clocks say. So the news of one account is in the
order of its journal.

- readers: who gets it. They are indexed together with the position, when there is one.
- sides: which of a block's news is whose; see `messages.readers_of`
- unplaced: it has no position yet
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from bson import Int64, ObjectId
from pymongo import ReturnDocument, UpdateOne
from pymongo.client_session import ClientSession

from app import mongo
from app.mongo import Document, clocks, database
from app.mongo.shared import SharedRead
from app.outbox import facts
from app.outbox.messages import OutboxMessage, own_news
from app.outbox.news import news_in

# How many documents get their positions in one atomic block. Each may have hundreds of readers.
PLACED_MAX = 100
# How many of these blocks one call makes. If there is more to do, the next call goes on.
ROUNDS_MAX = 20
PLACED_AT_ONCE_MAX = ROUNDS_MAX * PLACED_MAX
# How many documents of the feed are read at a time.
DOCUMENTS_AT_ONCE = 50
NEWS_AT_ONCE = 100
_COUNTER = "outbox"
_BY_READER = "readers_1_position_1"


@dataclass(frozen=True, slots=True)
class Told:
    """The messages of one piece of news to a reader. Its place in the feed is (position, number)."""

    position: int
    number: int
    document: ObjectId
    messages: Sequence[OutboxMessage]


def to_be_placed(readers: Sequence[ObjectId], session: ClientSession) -> Document:
    """Return the feed's fields for a new document for these readers, or none without readers."""
    if not readers:
        return {}
    return {"readers": list(readers), "causal": clocks.causal(session), "unplaced": True}


def place() -> int:
    """Give positions to the visible documents that have none, and return how many got one.

    All documents that were committed before have positions then, unless there are more than PLACED_AT_ONCE_MAX.
    """
    placed = 0
    for _ in range(ROUNDS_MAX):
        # Mostly there is nothing to do, and asking costs less than a block.
        if database().outbox.find_one({"unplaced": True}, projection=["_id"]) is None:
            break
        number = mongo.atomically(_place, is_lost_race=lambda error: mongo.duplicate_key(error) is not None)
        placed += number
        if number < PLACED_MAX:
            break
    return placed


def place_together() -> None:
    """Do the same as `place`, once for all threads of this process that want it at the same moment."""
    _shared.read((None,))


def walk(reader: ObjectId, *, position: int, number: int) -> Iterator[Told]:
    """Yield the reader's messages, in order, from the place (position, number) on."""
    while True:
        found = list(
            database()
            .outbox.find({"readers": reader, "position": {"$gte": position}})
            .sort("position", 1)
            .hint(_BY_READER)
            .limit(DOCUMENTS_AT_ONCE)
        )
        for document in found:
            first = number if document["position"] == position else 0
            yield from _told_by(document, reader, first)
        if len(found) < DOCUMENTS_AT_ONCE:
            return
        position, number = found[-1]["position"] + 1, 0


def _told_by(document: Document, reader: ObjectId, first: int) -> Iterator[Told]:
    position, id_ = document["position"], document["_id"]
    if "payload" in document:
        if first == 0:
            yield Told(position, 0, id_, [OutboxMessage(document["kind"], reader, document["payload"])])
        return
    own = own_news(news_in(document), document["readers"].index(reader), document["sides"])
    left = (each for each in own if each[0] >= first)
    while part := list(islice(left, NEWS_AT_ONCE)):
        worked_out = facts.work_out_each([news for _, news in part], reader)
        for (number, _), told in zip(part, worked_out, strict=True):
            yield Told(position, number, id_, told)


def readers_with_news(after: Mapping[ObjectId, int]) -> set[ObjectId]:
    """Return those of the readers who have something after a position."""
    first, *others = (_after(reader, position) for reader, position in after.items())
    pipeline = [*first, *({"$unionWith": {"coll": "outbox", "pipeline": each}} for each in others)]
    return {found["reader"] for found in database().outbox.aggregate(pipeline)}


def end(session: ClientSession | None = None) -> int:
    """Return the newest position."""
    counter = database().feed.find_one({"_id": _COUNTER}, session=session)
    return counter["position"] if counter else 0


def end_of_next(number: int, *, after: int, until: int) -> int:
    """Return the position of the document this many documents after `after`, or `until` if there are fewer.

    It counts documents, because a restore leaves a huge gap in the positions.
    """
    behind = {"position": {"$gt": after, "$lte": until}}
    last = database().outbox.find_one(behind, projection=["position"], sort=[("position", 1)], skip=number - 1)
    return last["position"] if last else until


def readers_between(after: int, until: int) -> set[ObjectId]:
    """Return the readers of the documents after a position, up to another one."""
    found = database().outbox.find({"position": {"$gt": after, "$lte": until}}, projection=["readers"])
    return {reader for document in found for reader in document["readers"]}


def _after(reader: ObjectId, position: int) -> list[Document]:
    return [
        {"$match": {"readers": reader, "position": {"$gt": position}}},
        {"$limit": 1},
        {"$project": {"_id": 0, "reader": {"$literal": reader}}},
    ]


def _place(session: ClientSession) -> int:
    order = [("causal", 1), ("_id", 1)]
    unplaced = database().outbox.find({"unplaced": True}, projection=["_id"], session=session).sort(order)
    found = [document["_id"] for document in unplaced.limit(PLACED_MAX)]
    if not found:
        return 0
    counter = database().feed.find_one_and_update(
        {"_id": _COUNTER},
        {"$inc": {"position": Int64(len(found))}},
        upsert=True,
        return_document=ReturnDocument.AFTER,
        session=session,
    )
    assert counter is not None
    first = counter["position"] - len(found) + 1
    updates = [
        UpdateOne({"_id": id_}, {"$set": {"position": Int64(position)}, "$unset": {"unplaced": ""}})
        for position, id_ in enumerate(found, first)
    ]
    database().outbox.bulk_write(updates, session=session)
    return len(found)


def _place_for_all(_keys: Iterable[None]) -> Mapping[None, int]:
    return {None: place()}


_shared: SharedRead[None, int] = SharedRead(_place_for_all)
