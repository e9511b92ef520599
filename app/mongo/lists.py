"""The order of lists: newest first by time, then by id.

The id alone is not enough, because within one second its order depends on the process that made it.
"""

from datetime import datetime

from bson import ObjectId
from pymongo import DESCENDING

from app.errors import InvalidCursor
from app.mongo.client import Document

# The place of an item in a list: its time, and its id among items of the same time.
Position = tuple[datetime, ObjectId]


def newest_first(time: str) -> list[tuple[str, int]]:
    """Return the sort order of a list whose items have their time in the field `time`."""
    return [(time, DESCENDING), ("_id", DESCENDING)]


def behind(time: str, position: Position | None) -> list[Document]:
    """Return the query conditions for the items after a position in this order, or for all items if it is None."""
    if position is None:
        return []
    match position:
        case [datetime() as at, ObjectId() as id_]:
            pass
        case _:
            # A cursor of version 1, which ordered lists by ids alone.
            raise InvalidCursor
    # The second condition implies the first, but only the first bounds the scan of the index.
    return [{time: {"$lte": at}}, {"$or": [{time: {"$lt": at}}, {"_id": {"$lt": id_}}]}]
