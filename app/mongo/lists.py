"""The order of lists: newest first by time, then by id, whichever process made the items.

An id alone says little of the order: within a second it follows the process that made it.
"""

from datetime import datetime

from bson import ObjectId
from pymongo import DESCENDING

from app.mongo.client import Document

# Where an item is in a list: its time, and its id among those of one time.
Position = tuple[datetime, ObjectId]


def newest_first(time: str) -> list[tuple[str, int]]:
    """Return the order of a list whose items have their time in the field `time`."""
    return [(time, DESCENDING), ("_id", DESCENDING)]


def behind(time: str, position: Position | None) -> list[Document]:
    """Return the conditions for what such a list has behind a position, or all of it for None."""
    if position is None:
        return []
    at, id_ = position
    # The first one is implied by the second. It is the one that bounds the walk in the index.
    return [{time: {"$lte": at}}, {"$or": [{time: {"$lt": at}}, {"_id": {"$lt": id_}}]}]
