"""The outbox in the database: messages wait here from their atomic block until they are sent, or dead.

A deliverer claims messages by a lease: its own random id in the message, and
`next_attempt_at` moved to the lease's end. So a message of a deliverer that died
is simply due again, and whoever lost a lease changes nothing any more.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from bson import ObjectId
from pymongo.client_session import ClientSession

from app.ledger.state import Decided
from app.mongo import Document, database
from app.outbox import messages
from app.outbox.messages import OutboxMessage

ERROR_LENGTH_MAX = 300


class MessageState(StrEnum):
    PENDING = "PENDING"
    SENT = "SENT"
    DEAD = "DEAD"


def insert(told: Sequence[OutboxMessage], session: ClientSession) -> None:
    """Write the messages in the atomic block of what they tell of; they are due at once."""
    if told:
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
                }
                for message in told
            ],
            session=session,
        )


def tell(decided: Decided, session: ClientSession) -> None:
    """Write who is to be told what of a block, inside it: the ledger's witness for mail."""
    insert(messages.for_decisions(decided.decisions, decided.accounts), session)


def is_due(now: datetime) -> bool:
    return database().outbox.find_one(_due(now), projection=["_id"]) is not None


def claim(lease: ObjectId, *, now: datetime, until: datetime, size_max: int) -> list[Document]:
    """Lease the messages that have been due for longest and return those that nobody else claimed meanwhile."""
    due = database().outbox.find(_due(now), projection=["_id"]).sort("next_attempt_at", 1).limit(size_max)
    ids = [document["_id"] for document in due]
    if not ids:
        return []
    # A message that somebody else claimed since is not due any more.
    database().outbox.update_many(
        {"_id": {"$in": ids}, **_due(now)}, {"$set": {"lease": lease, "next_attempt_at": until}}
    )
    return list(database().outbox.find({"_id": {"$in": ids}, "lease": lease}).sort("_id", 1))


def release(ids: Collection[ObjectId], lease: ObjectId, *, now: datetime) -> None:
    """Give up claimed messages that were not tried."""
    database().outbox.update_many(
        {"_id": {"$in": list(ids)}, "lease": lease}, {"$set": {"next_attempt_at": now}, "$unset": {"lease": ""}}
    )


def mark_sent(message_id: ObjectId, lease: ObjectId, *, now: datetime) -> None:
    """Note that the server took the message. A secret that it carried is forgotten."""
    _settle(message_id, lease, {"state": MessageState.SENT.value, "sent_at": now}, forget_secret=True)


def mark_failed(message_id: ObjectId, lease: ObjectId, *, next_attempt_at: datetime, error: str) -> None:
    """Note a failed attempt, and when the next one is due."""
    _settle(message_id, lease, {"next_attempt_at": next_attempt_at, "error": error[:ERROR_LENGTH_MAX]})


def mark_dead(message_id: ObjectId, lease: ObjectId, *, error: str) -> None:
    """Note that the message is given up, unless an operator revives it. A secret that it carried is forgotten."""
    changes = {"state": MessageState.DEAD.value, "error": error[:ERROR_LENGTH_MAX]}
    _settle(message_id, lease, changes, forget_secret=True)


def revive(selection: Document, *, now: datetime) -> int:
    """Make those of the selected messages due that were not sent and that nobody has claimed, with all their attempts
    ahead; return how many."""
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
    """Return the oldest messages in the state, without what they carry."""
    return list(
        database().outbox.find({"state": state.value}, projection={"payload": 0}).sort("_id", 1).limit(size_max)
    )


def _due(now: datetime) -> dict[str, Any]:
    return {"state": MessageState.PENDING.value, "next_attempt_at": {"$lte": now}}


def _settle(message_id: ObjectId, lease: ObjectId, changes: Document, *, forget_secret: bool = False) -> None:
    unset = {"lease": "", **({"payload.token": ""} if forget_secret else {})}
    database().outbox.update_one(
        {"_id": message_id, "lease": lease, "state": MessageState.PENDING.value},
        {"$set": changes, "$unset": unset, "$inc": {"attempts": 1}},
    )
