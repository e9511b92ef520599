"""Small reads of several kinds in one query, shared by all threads that read at the same moment.

    find(USERS, [user_id])                                 documents by their keys
    expect([(ACCOUNTS, id), (HEADS, id)]); find(…)         what this thread asks for next is read with it

Each round trip costs more than what it brings. So a request names beforehand what it is about to read, and all of that
comes with its first read, which is the check of its token. Nothing is kept: each document is handed out once, to
the request that it was read for, and it was read after that request came. See `shared` for how threads share.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from app.mongo.client import Document
from app.mongo.reads import aggregate
from app.mongo.shared import SharedRead


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """What can be found in a collection: the stages of an aggregation that finds documents for some keys.

    There is at most one document for each key, which has the key as its `_id`.
    """

    collection: str
    stages: Callable[[list[Any]], list[Document]]


def by_id(collection: str) -> Kind:
    """Return the kind of a collection's own documents."""
    return Kind(collection, lambda ids: [{"$match": {"_id": {"$in": ids}}}])


Key = tuple[Kind, Any]

# No document has a field of this name.
_KIND = "_kind"

_expected: ContextVar[tuple[Key, ...]] = ContextVar("expected", default=())
_brought: ContextVar[dict[Key, Document | None] | None] = ContextVar("brought", default=None)


def expect(keys: Iterable[Key]) -> None:
    """Let this thread's next `find` bring what is found for these keys too, for later calls of `find`."""
    _expected.set(tuple(keys))


def forget() -> None:
    """Drop what was expected or brought and not asked for. A thread does so before each request."""
    _expected.set(())
    _brought.set(None)


def find(kind: Kind, keys: Collection[Any]) -> dict[Any, Document]:
    """Return the documents that exist, by their keys, as they are committed when this is called, or were expected."""
    if not keys:
        return {}
    asked = [(kind, key) for key in keys]
    brought = _brought.get()
    if brought and all(key in brought for key in asked):
        found = {key: brought.pop(key) for key in asked}
        return {key[1]: document for key, document in found.items() if document is not None}
    expected = _expected.get()
    if expected:
        _expected.set(())
        read = _shared.read([*asked, *expected])
        _brought.set({key: read.get(key) for key in expected})
    else:
        read = _shared.read(asked)
    return {key[1]: read[key] for key in asked if key in read}


def _find_in_one_query(keys: Collection[Key]) -> dict[Key, Document]:
    """Return the documents for keys of any kinds."""
    by_kind: dict[Kind, list[Any]] = defaultdict(list)
    for kind, key in keys:
        by_kind[kind].append(key)
    # By their names, so that accounts are read before entries, and an account's first entry is never missed.
    kinds = sorted(by_kind, key=lambda kind: kind.collection)
    first, *others = (kind.stages(by_kind[kind]) for kind in kinds)
    pipeline = list(first)
    for number, stages in enumerate(others, 1):
        # Says of what kind a document is. To put the document into another one would cost more than all else here.
        marked = {"$set": {_KIND: {"$literal": number}}}
        pipeline.append({"$unionWith": {"coll": kinds[number].collection, "pipeline": [*stages, marked]}})
    found = aggregate(kinds[0].collection, pipeline)
    return {(kinds[each.pop(_KIND, 0)], each["_id"]): each for each in found}


_shared: SharedRead[Key, Document] = SharedRead(_find_in_one_query)
