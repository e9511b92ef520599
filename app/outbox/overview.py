"""The outbox as an operator sees it: the state of each document, and never what its messages say."""

from typing import Any

from bson import ObjectId
from pymongo import DESCENDING

from app.mongo import Document, database
from app.mongo.lists import SEARCHED_MAX
from app.outbox.messages import MessageState

# Up to this many documents in a state are found by their state. If there are more, they are found among all documents,
# the newest first.
FEW = 10_000
_BY_STATE = "state_1_next_attempt_at_1"
# How many pieces of news a document stands for. A message stands for itself.
SIZE = {"$cond": ["$news", {"$sum": {"$map": {"input": "$news", "in": {"$size": "$$this.subjects"}}}}, 1]}
_SHOWN = {
    "created_at": {"$toDate": "$_id"},
    "kind": 1,
    "user": 1,
    "state": 1,
    "attempts": 1,
    "next_attempt_at": 1,
    "error": 1,
    "news": SIZE,
}


def find_message(message_id: ObjectId) -> Document | None:
    """Return a document as `find_messages` does."""
    return next(database().outbox.aggregate([{"$match": {"_id": message_id}}, {"$project": _SHOWN}]), None)


def find_messages(
    state: MessageState | None, *, after: ObjectId | None, limit: int
) -> tuple[list[Document], ObjectId | None]:
    """Return up to `limit` documents, the newest first, and where to go on if the search stopped.

    They are in the order of their ids, and so of the seconds in which they were made. Each has {_id, kind, user, state,
    attempts, next_attempt_at, error, news, created_at}, where `news` is how many pieces of news it stands for. Only
    SEARCHED_MAX documents are looked at, so a page costs the same however many messages the outbox keeps.
    """
    outbox = database().outbox
    earlier: Document = {} if after is None else {"_id": {"$lt": after}}
    newest_first: list[Document] = [{"$sort": {"_id": DESCENDING}}]
    shown: list[Document] = [{"$limit": limit}, {"$project": _SHOWN}]
    if state is None:
        return list(outbox.aggregate([{"$match": earlier}, *newest_first, *shown])), None
    wanted: Document = {"state": {"$eq": state.value}}
    if outbox.count_documents(wanted, limit=FEW + 1, hint=_BY_STATE) <= FEW:
        return list(outbox.aggregate([{"$match": {**wanted, **earlier}}, *newest_first, *shown], hint=_BY_STATE)), None
    among = [{"$match": earlier}, *newest_first, {"$limit": SEARCHED_MAX}, {"$match": wanted}]
    found = list(outbox.aggregate([*among, *shown]))
    if len(found) == limit:
        return found, None
    last: Any = next(outbox.find(earlier, ["_id"]).sort("_id", DESCENDING).skip(SEARCHED_MAX - 1).limit(1), None)
    # Documents that were added between the two reads make the second one stop sooner, but never before those found.
    return found, None if last is None else min(each["_id"] for each in (last, *found[-1:]))
