"""Finds for whom documents of the outbox are due, and which. Nobody claims anything here."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from bson import ObjectId

from app.mongo import Document, database
from app.outbox.messages import MessageState
from app.outbox.repository import BY_READER, OUTLINE, due_by

# Before all ids.
_FIRST_ID = ObjectId(bytes(12))


def find_readers(now: datetime, *, after: ObjectId | None, size_max: int) -> list[ObjectId]:
    """Return readers with a due document, in the order of their ids: first those after `after`, then from the start."""
    readers = _readers(now, {"$gt": after or _FIRST_ID}, size_max)
    if after and len(readers) < size_max:
        readers += _readers(now, {"$lte": after}, size_max - len(readers))
    return readers


def find_waiting(readers: Collection[ObjectId], now: datetime, size_max: int) -> dict[ObjectId, list[Document]]:
    """Return, for each reader, outlines of the due documents that are not urgent, the longest due first.

    If there are more than `size_max` in all, the last readers are left out. A single reader
    with more than `size_max` gets the first ones.
    """
    # All that `find_urgent` leaves, so that nothing is left out. Security mail of version 1 has no `urgent`.
    waiting = {"user": {"$in": list(readers)}, **due_by(now), "urgent": {"$ne": True}}
    order = [("user", 1), ("next_attempt_at", 1)]
    found = list(database().outbox.find(waiting, projection=OUTLINE).sort(order).hint(BY_READER).limit(size_max + 1))
    by_reader: dict[ObjectId, list[Document]] = {}
    for message in found[:size_max]:
        by_reader.setdefault(message["user"], []).append(message)
    if len(found) > size_max and len(by_reader) > 1:
        # The last reader may have more messages than were read.
        by_reader.popitem()
    return by_reader


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
