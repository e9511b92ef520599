"""Lists: their order, which is newest first by time and then by id, and how far a filter may search.

The id alone is not enough, because within one second its order depends on the process that made it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from bson import CodecOptions, DatetimeMS, ObjectId
from bson.codec_options import DatetimeConversion
from pymongo import DESCENDING
from pymongo.collection import Collection

from app.errors import InvalidCursor
from app.mongo.client import Document
from app.mongo.reads import aggregate

# A page looks at no more items than this, which takes about a tenth of a second, however many its filter rejects.
SEARCHED_MAX = 50_000
# A page first looks at this many items for each one that it may hold, because most filters reject few.
FIRST_LOOK = 3

# The place of an item in a list: its time, and its id among items of the same time.
Position = tuple[datetime | DatetimeMS, ObjectId]

# How documents are read that are only shown: their times stay as MongoDB has them.
AS_STORED: CodecOptions[Document] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)


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


def first_of_each(collection: str, parts: Sequence[tuple[Document, str]], *, time: str, limit: int) -> list[Document]:
    """Return the newest documents of several parts, up to `limit` of each, newest first, in one round trip.

    A part is a query and the name of the index that answers it. Only the first part can be forced to use its index, so
    the others must be queries that no other index answers. The documents are only shown, so their times stay as MongoDB
    has them: converting them would be a third of the decoding.
    """
    order = dict(newest_first(time))
    (first, hint), *others = parts
    stages: list[Document] = [{"$match": first}, {"$sort": order}, {"$limit": limit}]
    for other, _ in others:
        pipeline: list[Document] = [{"$match": other}, {"$sort": order}, {"$limit": limit}]
        stages.append({"$unionWith": {"coll": collection, "pipeline": pipeline}})
    found = aggregate(collection, stages, codec=AS_STORED, hint=hint)
    # Each part is in order, so this is a merge.
    found.sort(key=lambda document: (int(document[time]), document["_id"]), reverse=True)
    return found


def search(
    collection: Collection[Document],
    among: Document,
    wanted: Document,
    *,
    time: str,
    limit: int,
    hint: str | None = None,
) -> tuple[list[Document], Position | None]:
    """Return up to `limit` documents, newest first, and where to go on if the search stopped early.

    An index finds the documents `among`; those that match `wanted` are returned. Only SEARCHED_MAX are looked at.
    """
    order = newest_first(time)
    source = collection.find(among).sort(order)
    if hint is not None:
        source = source.hint(hint)
    if not wanted:
        return list(source.limit(limit)), None
    options: dict[str, Any] = {} if hint is None else {"hint": hint}
    found: list[Document] = []
    # The server reads all of these before it applies the filter.
    for looked_at in (min(FIRST_LOOK * limit, SEARCHED_MAX), SEARCHED_MAX):
        stages: list[Document] = [
            {"$match": among},
            {"$sort": dict(order)},
            {"$limit": looked_at},
            {"$match": wanted},
            {"$limit": limit},
        ]
        found = list(collection.aggregate(stages, **options))
        if len(found) == limit:
            return found, None
    last = next(source.skip(SEARCHED_MAX - 1).limit(1), None)
    if last is None:
        return found, None
    # Documents that were added between the two reads make the second one stop sooner, but never before those found.
    return found, min((document[time], document["_id"]) for document in (last, *found[-1:]))
