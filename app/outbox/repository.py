"""The collection `outbox`: news and messages, from their atomic block until they are SENT or DEAD.

There are three kinds of documents:

- of a block: {kind: "block", at, news} and, once a part of it was sent, `told`: keys that say which part. It has no
  `user`, because its readers are worked out from the ledger.
- of one reader: {kind, user, at, news}, made by the deliverer for news that it could not send with its block.
- a message: {kind, user, payload}, written by anything but a posting, and by version 1.

`news` is a list of {event, subjects} or {event, subjects, at}, in order. A reader's document about one side of a
transaction has its `account`. All documents have {state, attempts, next_attempt_at}, and as needed {sent_at, error} and

- urgent: security mail, which goes first
- moment: the same in messages that were written together
- lease, was_due_at: who has claimed it, and when it was due before
- lost: how many deliverers died while they held it
- deferred: it waits for a digest, because its reader chose that or got too many letters
- digest_at: when the digest goes that its reader chose
- only: the identities of its messages, if its news stand for other messages to its reader too
- readers, sides, causal, unplaced, position: see `feed`

A deliverer claims documents by a lease: it writes its random id into them and moves
`next_attempt_at` to the lease's end. So documents of a deliverer that died become due again,
and a deliverer whose lease is over can no longer change them. The claim counts the attempt,
so that it counts even if the deliverer dies; `release` takes it back.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo import UpdateOne
from pymongo.client_session import ClientSession
from pymongo.collection import Collection as MongoCollection
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from app import mongo
from app.ledger.state import Decided
from app.mongo import Document, Insert, database
from app.outbox import feed, messages
from app.outbox.messages import OF_ACCOUNTS, URGENT, MessageState, News, OutboxMessage, SilentKind
from app.outbox.news import packed

ERROR_LENGTH_MAX = 300
BLOCK = "block"
# The kind of a reader's document with more than one piece of news.
DIGEST = "digest"

# The fields that decide which documents share a letter, and which come first.
OUTLINE = ["kind", "user", "moment", "attempts", "lost", "lease", "deferred", "digest_at", "next_attempt_at"]

_SILENT = frozenset(SilentKind)
# The fields that only the feed needs.
_OF_FEED = {"readers": 0, "sides": 0}
BY_READER = "state_1_user_1_next_attempt_at_1"


class LeaseLost(Exception):
    """Another deliverer has claimed a document meanwhile, because the lease was over. Nothing was written."""


def insert(told: Sequence[OutboxMessage], session: ClientSession) -> None:
    """Write the messages in the atomic block of what they report; they are due at once, if they have a mail.

    Messages that are written together share a `moment`, so that a reader gets them in one letter.
    """
    if not told:
        return
    moment = {"moment": ObjectId()} if len(told) > 1 else {}
    database().outbox.insert_many(
        [
            {
                "_id": ObjectId(),
                "kind": str(message.kind),
                "user": message.user,
                "payload": message.payload,
                **_unsent(message.payload["at"]),
                **({"urgent": True} if message.kind in URGENT else moment),
                **(_sent(message.payload["at"]) if message.kind in _SILENT else {}),
                **feed.to_be_placed([message.user], session),
            }
            for message in told
        ],
        session=session,
    )


def tell(decided: Decided, session: ClientSession) -> list[Insert]:
    """Return the news of a block, which is written in the block. This is the ledger's witness for the outbox."""
    news = messages.news_of(decided.decisions)
    if not news:
        return []
    readers, sides = messages.readers_of(decided)
    placed = feed.to_be_placed(readers, session)
    return [Insert("outbox", [{**block_document(news, at=decided.at), "sides": sides, **placed}])]


def block_document(news: Sequence[News], *, at: datetime) -> Document:
    urgent = {"urgent": True} if any(each.event in OF_ACCOUNTS for each in news) else {}
    return {"_id": ObjectId(), "kind": BLOCK, "at": at, "news": packed(news), **urgent, **_unsent(at)}


def reader_document(user: ObjectId, kind: str, news: Sequence[News], *, at: datetime) -> Document:
    """Return a separate document for one reader. The caller may change its state and when it is due."""
    urgent = {"urgent": True} if kind in URGENT else {}
    return {"_id": ObjectId(), "kind": kind, "user": user, "at": at, "news": packed(news), **urgent, **_unsent(at)}


def is_due(now: datetime) -> bool:
    return database().outbox.find_one(due_by(now), projection=["_id"]) is not None


def find_urgent(now: datetime, size_max: int) -> list[Document]:
    """Return outlines of readers' urgent documents, the longest due first."""
    urgent = {**due_by(now), "urgent": True, "user": {"$exists": True}}
    return list(database().outbox.find(urgent, projection=OUTLINE).sort("next_attempt_at", 1).limit(size_max))


def find_urgent_blocks(now: datetime, size_max: int) -> list[Document]:
    """Return outlines of the blocks' documents with news about security, as `find_blocks` does."""
    urgent = {**due_by(now), "urgent": True, "user": {"$exists": False}}
    found = database().outbox.find(urgent, projection=[*OUTLINE, "news"]).sort("next_attempt_at", 1)
    return list(found.limit(size_max))


def find_blocks(now: datetime, size_max: int) -> list[Document]:
    """Return outlines of the blocks' documents, the longest due first, each with its `news`."""
    # Only they have no user, so the readers' index has them together, in order. It would not be in order for `None`,
    # which also stands for undefined values.
    blocks = {"user": {"$exists": False}, **due_by(now)}
    found = database().outbox.find(blocks, projection=[*OUTLINE, "news"]).sort("next_attempt_at", 1)
    return list(found.hint(BY_READER).limit(size_max))


def claim(ids: Collection[ObjectId], lease: ObjectId, *, now: datetime, until: datetime) -> list[Document]:
    """Lease the documents that nobody else has claimed meanwhile, and return them in the order of their ids.

    The write waits for a majority, so what is claimed cannot be rolled back any more.
    """
    if not ids:
        return []
    _claim(ids, lease, now, until)
    return list(database().outbox.find({"_id": {"$in": list(ids)}, "lease": lease}, _OF_FEED).sort("_id", 1))


def claim_together(ids: Collection[ObjectId], lease: ObjectId, *, now: datetime, until: datetime) -> list[Document]:
    """Do the same as `claim`, but if others claim some of the documents at the same moment, claim all or none.

    So messages that belong together are not split between two deliverers. Raises LedgerBusy if they keep conflicting.
    """
    if not ids:
        return []
    mongo.atomically(lambda session: _claim(ids, lease, now, until, session))
    return list(database().outbox.find({"_id": {"$in": list(ids)}, "lease": lease}, _OF_FEED).sort("_id", 1))


def _claim(
    ids: Collection[ObjectId], lease: ObjectId, now: datetime, until: datetime, session: ClientSession | None = None
) -> None:
    # A document that another deliverer claimed is no longer due. A due document that still has a lease was lost by a
    # deliverer that died.
    lost = {"$cond": [{"$ifNull": ["$lease", False]}, 1, 0]}
    changes = {
        "lease": lease,
        "lost": {"$add": [{"$ifNull": ["$lost", 0]}, lost]},
        "was_due_at": {"$ifNull": ["$was_due_at", "$next_attempt_at"]},
        "next_attempt_at": until,
        "attempts": {"$add": ["$attempts", 1]},
    }
    database().outbox.update_many({"_id": {"$in": list(ids)}, **due_by(now)}, [{"$set": changes}], session=session)


def keep(ids: Collection[ObjectId], lease: ObjectId, *, until: datetime) -> None:
    """Keep claimed documents for the digest of this time. The attempt does not count."""
    changes = {
        "next_attempt_at": until,
        "digest_at": until,
        "deferred": True,
        "attempts": {"$subtract": ["$attempts", 1]},
    }
    database().outbox.update_many(_held(ids, lease), [{"$set": changes}, {"$unset": list(_UNLEASED)}])


def wake(reader: ObjectId, now: datetime) -> None:
    """Make due the documents that are kept for a reader's digests, so that their choice is applied again."""
    kept = {"user": reader, "state": MessageState.PENDING.value, "digest_at": {"$gt": now}, "lease": {"$exists": False}}
    database().outbox.update_many(kept, {"$set": {"next_attempt_at": now}})


def release(ids: Collection[ObjectId], lease: ObjectId) -> None:
    """Give back claimed documents that were not tried. They are due as before, and the attempt does not count.

    It waits until a majority has this and all earlier notes, even if there is nothing to give back.
    """
    changes = {"next_attempt_at": "$was_due_at", "attempts": {"$subtract": ["$attempts", 1]}}
    database().outbox.update_many(
        _held(ids, lease),
        [{"$set": changes}, {"$unset": ["lease", "was_due_at"]}],
    )


def mark_sent(ids: Collection[ObjectId], lease: ObjectId, *, now: datetime) -> None:
    """Note that the server took the messages, and remove the secrets that they carried.

    It does not wait for a majority: if the note is lost, the messages are sent again.
    """
    _settle(ids, lease, _sent(now), forget_secret=True, is_hasty=True)


def mark_failed(ids: Collection[ObjectId], lease: ObjectId, *, next_attempt_at: datetime, error: str) -> None:
    """Note that an attempt failed, and when the next one is due."""
    _settle(ids, lease, {"next_attempt_at": next_attempt_at, "error": error[:ERROR_LENGTH_MAX]})


def mark_dead(ids: Collection[ObjectId], lease: ObjectId, *, error: str) -> None:
    """Give the messages up, until an operator revives them, and remove the secrets that they carried."""
    changes = {"state": MessageState.DEAD.value, "error": error[:ERROR_LENGTH_MAX]}
    _settle(ids, lease, changes, forget_secret=True)


def note_told(told: Mapping[ObjectId, Collection[str]], lease: ObjectId) -> None:
    """Note which parts of these blocks were told, while others still wait. It does not wait for a majority."""
    if told:
        hasty(database().outbox).bulk_write(
            [_told_update(block, keys, lease) for block, keys in told.items()], ordered=False
        )


def set_apart(
    apart: Sequence[Document],
    *,
    told: Mapping[ObjectId, Collection[str]],
    sent: Collection[ObjectId],
    lease: ObjectId,
    now: datetime,
) -> None:
    """Insert separate documents for messages that were not sent with the others, and note those that were.

    All of this is written or, if LeaseLost is raised, none of it.
    """
    updates = [_told_update(block, keys, lease) for block, keys in told.items()]
    unset = {**_UNLEASED, **_SECRET}
    updates += [UpdateOne(_held([each], lease), {"$set": _sent(now), "$unset": unset}) for each in sent]

    def block(session: ClientSession) -> None:
        if database().outbox.bulk_write(updates, session=session).matched_count < len(updates):
            raise LeaseLost
        database().outbox.insert_many(apart, session=session)

    mongo.atomically(block)


def defer(reader: ObjectId, *, now: datetime, until: datetime) -> None:
    """Put off a reader's due documents, except security mail, until a time; then they go in one letter."""
    # By kind, as letters are counted. Security mail of version 1 has no `urgent`, and must not wait.
    waiting = {"user": reader, **due_by(now), "kind": {"$nin": sorted(URGENT)}}
    database().outbox.update_many(waiting, {"$set": {"next_attempt_at": until, "deferred": True}})


def revive(selection: Document, *, now: datetime, session: ClientSession | None = None) -> int:
    """Make the selected documents due now, with no attempts counted; return how many there were.

    Sent and claimed documents stay as they are.
    """
    unsent = {"$in": [MessageState.PENDING.value, MessageState.DEAD.value]}
    revived = database().outbox.update_many(
        {"state": unsent, "lease": {"$exists": False}, **selection},
        {"$set": {"state": MessageState.PENDING.value, "attempts": 0, "next_attempt_at": now}},
        session=session,
    )
    return revived.modified_count


def find_message(message_id: ObjectId, session: ClientSession | None = None) -> Document | None:
    return database().outbox.find_one({"_id": message_id}, projection=["state", "attempts"], session=session)


def count(state: MessageState, *, is_deferred: bool | None = None) -> int:
    return database().outbox.count_documents(_in_state(state, is_deferred))


def longest_due(now: datetime) -> datetime | None:
    """Return since when the oldest due message has been due, or None if none is due."""
    found = database().outbox.find_one(due_by(now), projection=["next_attempt_at"], sort=[("next_attempt_at", 1)])
    return found["next_attempt_at"] if found else None


def count_sent_since(moment: datetime) -> int:
    return database().outbox.count_documents({"sent_at": {"$gte": moment}})


def find_oldest(state: MessageState, size_max: int, *, is_deferred: bool | None = None) -> list[Document]:
    """Return the oldest documents in the state, without their contents."""
    without = {"payload": 0, "news": 0, "told": 0, **_OF_FEED}
    found = database().outbox.find(_in_state(state, is_deferred), projection=without)
    return list(found.sort("_id", 1).limit(size_max))


def hasty(collection: MongoCollection[Document]) -> MongoCollection[Document]:
    """Return the collection with writes that do not wait for a majority, and reads that see them."""
    return collection.with_options(write_concern=WriteConcern(w=1), read_concern=ReadConcern("local"))


def _in_state(state: MessageState, is_deferred: bool | None) -> Document:
    """Select documents in the state; if `is_deferred` is given, only those that were put off, or were not."""
    deferred = {} if is_deferred is None else {"deferred": True if is_deferred else {"$ne": True}}
    return {"state": state.value, **deferred}


def due_by(now: datetime) -> dict[str, Any]:
    """Return the filter for due documents."""
    return {"state": MessageState.PENDING.value, "next_attempt_at": {"$lte": now}}


def _held(ids: Collection[ObjectId], lease: ObjectId) -> dict[str, Any]:
    return {"_id": {"$in": list(ids)}, "lease": lease, "state": MessageState.PENDING.value}


def _unsent(due_at: datetime) -> Document:
    return {"state": MessageState.PENDING.value, "attempts": 0, "next_attempt_at": due_at}


def _sent(now: datetime) -> Document:
    return {"state": MessageState.SENT.value, "sent_at": now}


_SECRET = {"payload.token": ""}
_UNLEASED = {"lease": "", "lost": "", "was_due_at": "", "told": ""}


def _told_update(block: ObjectId, keys: Iterable[str], lease: ObjectId) -> UpdateOne:
    return UpdateOne(_held([block], lease), {"$push": {"told": {"$each": list(keys)}}})


def _settle(
    ids: Collection[ObjectId],
    lease: ObjectId,
    changes: Document,
    *,
    forget_secret: bool = False,
    is_hasty: bool = False,
) -> None:
    if ids:
        unset = {**_UNLEASED, **(_SECRET if forget_secret else {})}
        outbox = hasty(database().outbox) if is_hasty else database().outbox
        outbox.update_many(_held(ids, lease), {"$set": changes, "$unset": unset})
