"""Finds the readers with due documents, and these documents. Nothing is claimed here."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from bson import ObjectId

from app.mongo import Document, database
from app.outbox.messages import MessageState
from app.outbox.overview import SIZE
from app.outbox.repository import BY_READER, OUTLINE, due_by

# If no more documents than this are due, their readers are read from them. Otherwise every reader with a waiting
# document is looked at, which may be everybody who chose digests.
FEW = 1_000
_BY_TIME = "state_1_next_attempt_at_1"
# Before all ids.
_FIRST_ID = ObjectId(bytes(12))


def find_readers(now: datetime, *, after: ObjectId | None, size_max: int) -> list[ObjectId]:
    """Return readers with a due document, in the order of their ids: first those after `after`, then from the start."""
    due = list(database().outbox.find(due_by(now), projection=["user"]).hint(_BY_TIME).limit(FEW + 1))
    if len(due) <= FEW:
        found = {document["user"] for document in due if "user" in document}
        return sorted(found, key=lambda reader: (reader <= (after or _FIRST_ID), reader))[:size_max]
    readers = _readers(now, {"$gt": after or _FIRST_ID}, size_max)
    if after and len(readers) < size_max:
        readers += _readers(now, {"$lte": after}, size_max - len(readers))
    return readers


def find_waiting(
    readers: Collection[ObjectId], now: datetime, size_max: int, *, after: ObjectId | None
) -> dict[ObjectId, list[Document]]:
    """Return, for each reader, outlines of the due documents that are not urgent, the longest due first.

    Each outline has the document's `size`. Readers come in the order of `find_readers`. If there are more than
    `size_max` documents in all, the last readers are left out. A single reader with more gets the first ones.
    """
    first = after or _FIRST_ID
    found: list[Document] = []
    for part in ([each for each in readers if each > first], [each for each in readers if each <= first]):
        if part and len(found) <= size_max:
            found += _outlines(part, now, size_max + 1 - len(found))
    by_reader: dict[ObjectId, list[Document]] = {}
    for message in found[:size_max]:
        by_reader.setdefault(message["user"], []).append(message)
    if len(found) > size_max and len(by_reader) > 1:
        # The last reader may have more documents than were read.
        by_reader.popitem()
    return by_reader


def _outlines(readers: Collection[ObjectId], now: datetime, size_max: int) -> list[Document]:
    # Everything that `find_urgent` does not find, so that nothing is left out. Security mail of version 1 has no
    # `urgent`.
    waiting = {"user": {"$in": list(readers)}, **due_by(now), "urgent": {"$ne": True}}
    order = [("user", 1), ("next_attempt_at", 1)]
    outline = {**dict.fromkeys(OUTLINE, 1), "size": SIZE}
    return list(database().outbox.find(waiting, projection=outline).sort(order).hint(BY_READER).limit(size_max))


def oldest_of_each(users: dict[str, Any]) -> list[Document]:
    """Return the pipeline that finds when each reader's oldest document is due: one seek for each reader."""
    return [
        {"$match": {"state": MessageState.PENDING.value, "user": users}},
        {"$sort": {"state": 1, "user": 1, "next_attempt_at": 1}},
        {"$group": {"_id": "$user", "due_at": {"$first": "$next_attempt_at"}}},
    ]


def _readers(now: datetime, users: dict[str, Any], size_max: int) -> list[ObjectId]:
    pipeline = [
        *oldest_of_each(users),
        {"$match": {"due_at": {"$lte": now}}},
        {"$sort": {"_id": 1}},
        {"$limit": size_max},
    ]
    return [found["_id"] for found in database().outbox.aggregate(pipeline, hint=BY_READER)]
