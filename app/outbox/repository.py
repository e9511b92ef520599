"""The collections `outbox` and `letter_counts`: messages from their atomic block until they are SENT or DEAD.

A message: {kind, user, payload, state, attempts, next_attempt_at}, and as needed {urgent,
moment, lease, lost, was_due_at, deferred, sent_at, error}; `app/mongo/schema.py` explains them.

A deliverer claims messages by a lease: it writes its random id into them and moves
`next_attempt_at` to the lease's end. So messages of a deliverer that died become due again,
and a deliverer whose lease is over can no longer change them. The claim counts the attempt,
so that it counts even if the deliverer dies; `release` takes it back.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from bson import ObjectId
from pymongo import UpdateOne
from pymongo.client_session import ClientSession

from app.ledger.state import Decided
from app.mongo import Document, database
from app.outbox import messages
from app.outbox.messages import URGENT, OutboxMessage

ERROR_LENGTH_MAX = 300

# The fields that decide which messages share a letter, and which come first.
_OUTLINE = ["kind", "user", "moment", "attempts", "lost", "lease", "deferred"]

_BY_READER = "state_1_user_1_next_attempt_at_1"


class MessageState(StrEnum):
    PENDING = "PENDING"
    SENT = "SENT"
    DEAD = "DEAD"


def insert(told: Sequence[OutboxMessage], session: ClientSession) -> None:
    """Write the messages in the atomic block of what they report; they are due at once.

    Messages that are written together share a `moment`, so that a reader gets them in one letter.
    """
    if not told:
        return
    moment = {"moment": ObjectId()} if len(told) > 1 else {}
    database().outbox.insert_many(
        [
            {
                "_id": ObjectId(),
                "kind": message.kind.value,
                "user": message.user,
                "payload": message.payload,
                "state": MessageState.PENDING.value,
                "attempts": 0,
                "next_attempt_at": message.payload["at"],
                **({"urgent": True} if message.kind in URGENT else moment),
            }
            for message in told
        ],
        session=session,
    )


def tell(decided: Decided, session: ClientSession) -> None:
    """Write the messages about a block's decisions, inside the block. This is the ledger's witness for mail."""
    insert(messages.for_decisions(decided.decisions, decided.accounts), session)


def is_due(now: datetime) -> bool:
    return database().outbox.find_one(_due(now), projection=["_id"]) is not None


def find_urgent(now: datetime, size_max: int) -> list[Document]:
    """Return outlines of the urgent messages, the longest due first."""
    urgent = {**_due(now), "urgent": True}
    return list(database().outbox.find(urgent, projection=_OUTLINE).sort("next_attempt_at", 1).limit(size_max))


def find_readers(now: datetime, *, after: ObjectId | None, size_max: int) -> list[ObjectId]:
    """Return readers with a due message, in the order of their ids: first those after `after`, then from the start."""
    readers = _readers(now, {"$gt": after} if after else {}, size_max)
    if after and len(readers) < size_max:
        readers += _readers(now, {"$lte": after}, size_max - len(readers))
    return readers


def find_waiting(readers: Collection[ObjectId], now: datetime, size_max: int) -> dict[ObjectId, list[Document]]:
    """Return, for each reader, outlines of the due messages that are not urgent, the longest due first.

    If there are more than `size_max` in all, the last readers are left out. A single reader
    with more than `size_max` gets the first ones.
    """
    # All that `find_urgent` leaves, so that nothing is left out. Security mail of version 1 has no `urgent`.
    waiting = {"user": {"$in": list(readers)}, **_due(now), "urgent": {"$ne": True}}
    order = [("user", 1), ("next_attempt_at", 1)]
    found = list(database().outbox.find(waiting, projection=_OUTLINE).sort(order).hint(_BY_READER).limit(size_max + 1))
    by_reader: dict[ObjectId, list[Document]] = {}
    for message in found[:size_max]:
        by_reader.setdefault(message["user"], []).append(message)
    if len(found) > size_max and len(by_reader) > 1:
        # The last reader may have more messages than were read.
        by_reader.popitem()
    return by_reader


def claim(ids: Collection[ObjectId], lease: ObjectId, *, now: datetime, until: datetime) -> list[Document]:
    """Lease the messages that nobody else has claimed meanwhile, and return them in the order of their ids."""
    if not ids:
        return []
    # A message that another deliverer claimed is no longer due. A due message that still has a lease was lost by a
    # deliverer that died.
    lost = {"$cond": [{"$ifNull": ["$lease", False]}, 1, 0]}
    changes = {
        "lease": lease,
        "lost": {"$add": [{"$ifNull": ["$lost", 0]}, lost]},
        "was_due_at": {"$ifNull": ["$was_due_at", "$next_attempt_at"]},
        "next_attempt_at": until,
        "attempts": {"$add": ["$attempts", 1]},
    }
    database().outbox.update_many({"_id": {"$in": list(ids)}, **_due(now)}, [{"$set": changes}])
    return list(database().outbox.find({"_id": {"$in": list(ids)}, "lease": lease}).sort("_id", 1))


def release(ids: Collection[ObjectId], lease: ObjectId) -> None:
    """Give back claimed messages that were not tried. They are due as before, and the attempt does not count."""
    if not ids:
        return
    changes = {"next_attempt_at": "$was_due_at", "attempts": {"$subtract": ["$attempts", 1]}}
    database().outbox.update_many(
        {"_id": {"$in": list(ids)}, "lease": lease, "state": MessageState.PENDING.value},
        [{"$set": changes}, {"$unset": ["lease", "was_due_at"]}],
    )


def mark_sent(ids: Collection[ObjectId], lease: ObjectId, *, now: datetime) -> None:
    """Note that the server took the messages, and remove the secrets that they carried."""
    _settle(ids, lease, {"state": MessageState.SENT.value, "sent_at": now}, forget_secret=True)


def mark_failed(ids: Collection[ObjectId], lease: ObjectId, *, next_attempt_at: datetime, error: str) -> None:
    """Note that an attempt failed, and when the next one is due."""
    _settle(ids, lease, {"next_attempt_at": next_attempt_at, "error": error[:ERROR_LENGTH_MAX]})


def mark_dead(ids: Collection[ObjectId], lease: ObjectId, *, error: str) -> None:
    """Give the messages up, until an operator revives them, and remove the secrets that they carried."""
    changes = {"state": MessageState.DEAD.value, "error": error[:ERROR_LENGTH_MAX]}
    _settle(ids, lease, changes, forget_secret=True)


def defer(reader: ObjectId, *, now: datetime, until: datetime) -> None:
    """Put off a reader's due messages, except security mail, until a time; then they go in one letter."""
    # By kind, as letters are counted. Security mail of version 1 has no `urgent`, and must not wait.
    waiting = {"user": reader, **_due(now), "kind": {"$nin": sorted(URGENT)}}
    database().outbox.update_many(waiting, {"$set": {"next_attempt_at": until, "deferred": True}})


def reserve_letters(
    wanted: Mapping[ObjectId, int], *, day: str, letters_max: int, expires_at: datetime
) -> dict[ObjectId, int]:
    """Count the wanted letters to each reader on that day, and return how many of them are within `letters_max`.

    If several deliverers ask for the last ones at once, the limit still holds, but perhaps none of them gets any.
    """
    if not wanted:
        return {}
    keys = {f"{reader}/{day}": reader for reader in wanted}
    count = database().letter_counts
    count.bulk_write(
        [
            UpdateOne(
                {"_id": key}, {"$inc": {"count": wanted[reader]}, "$set": {"expires_at": expires_at}}, upsert=True
            )
            for key, reader in keys.items()
        ],
        ordered=False,
    )
    counts = {document["_id"]: document["count"] for document in count.find({"_id": {"$in": list(keys)}})}
    beyond = {reader: min(wanted[reader], max(0, counts[key] - letters_max)) for key, reader in keys.items()}
    return_letters(beyond, day=day)
    return {reader: wanted[reader] - beyond[reader] for reader in wanted}


def return_letters(unsent: Mapping[ObjectId, int], *, day: str) -> None:
    """Subtract letters that were not sent from their readers' counts."""
    changes = [
        UpdateOne({"_id": f"{reader}/{day}"}, {"$inc": {"count": -number}})
        for reader, number in unsent.items()
        if number
    ]
    if changes:
        database().letter_counts.bulk_write(changes, ordered=False)


def revive(selection: Document, *, now: datetime) -> int:
    """Make the selected messages due now, with no attempts counted; return how many there were.

    Messages that were sent or that are claimed stay as they are.
    """
    unsent = {"$in": [MessageState.PENDING.value, MessageState.DEAD.value]}
    revived = database().outbox.update_many(
        {"state": unsent, "lease": {"$exists": False}, **selection},
        {"$set": {"state": MessageState.PENDING.value, "attempts": 0, "next_attempt_at": now}},
    )
    return revived.modified_count


def find_message(message_id: ObjectId) -> Document | None:
    return database().outbox.find_one({"_id": message_id}, projection=["state"])


def count(state: MessageState) -> int:
    return database().outbox.count_documents({"state": state.value})


def count_sent_since(moment: datetime) -> int:
    return database().outbox.count_documents({"sent_at": {"$gte": moment}})


def find_oldest(state: MessageState, size_max: int) -> list[Document]:
    """Return the oldest messages in the state, without their payload."""
    return list(
        database().outbox.find({"state": state.value}, projection={"payload": 0}).sort("_id", 1).limit(size_max)
    )


def _due(now: datetime) -> dict[str, Any]:
    return {"state": MessageState.PENDING.value, "next_attempt_at": {"$lte": now}}


def oldest_of_each(users: dict[str, Any]) -> list[Document]:
    """Return the pipeline that finds when each reader's oldest message is due: one seek for each reader."""
    return [
        {"$match": {"state": MessageState.PENDING.value, **({"user": users} if users else {})}},
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
    return [found["_id"] for found in database().outbox.aggregate(pipeline, hint=_BY_READER)]


def _settle(ids: Collection[ObjectId], lease: ObjectId, changes: Document, *, forget_secret: bool = False) -> None:
    if not ids:
        return
    unset = {"lease": "", "lost": "", "was_due_at": "", **({"payload.token": ""} if forget_secret else {})}
    database().outbox.update_many(
        {"_id": {"$in": list(ids)}, "lease": lease, "state": MessageState.PENDING.value},
        {"$set": changes, "$unset": unset},
    )
