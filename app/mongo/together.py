"""Small reads of several kinds in one query, shared by all threads that read at the same moment.

    find(USERS, [user_id])                                 documents by their keys
    expect([(ACCOUNTS, id), (HEADS, id)]); find(…)         reads the expected documents too, for later calls

A round trip costs more than the read itself. So a request says beforehand what it is about to read, and gets all of it
with its first read, which checks its token. Nothing is cached: each document is handed out once, to the request for
which it was read, and it was read after that request came. `shared` says how threads share a query.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from app.mongo.client import Document
from app.mongo.reads import aggregate
from app.mongo.shared import SharedRead


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """A kind of document, given by the stages of an aggregation that finds such documents for some keys.

    There is at most one document for each key, which has the key as its `_id`.
    """

    collection: str
    stages: Callable[[list[Any]], list[Document]]


@dataclass(frozen=True, slots=True, eq=False)
class LargeKind:
    """Something that takes much longer to read than a document, such as pages of a list.

    `find` reads it for some keys, and returns it by those of them for which there is something. Requests that read
    large things share queries only with each other, so that nobody else waits for them.
    """

    find: Callable[[Collection[Any]], Mapping[Any, Any]]


def by_id(collection: str) -> Kind:
    """Return the kind of a collection's own documents."""
    return Kind(collection, lambda ids: [{"$match": {"_id": {"$in": ids}}}])


Key = tuple[Kind | LargeKind, Any]

# A request for something large has about four keys, and so about twelve of them go together.
LARGE_KEYS_MAX = 48
# No document has a field of this name.
_KIND = "_kind"

_expected: ContextVar[tuple[Key, ...]] = ContextVar("expected", default=())
_brought: ContextVar[dict[Key, Any] | None] = ContextVar("brought", default=None)


def expect(keys: Iterable[Key]) -> None:
    """Make this thread's next `find` also read the documents with these keys, for later calls of `find`."""
    _expected.set(tuple(keys))


def forget() -> None:
    """Forget what was expected, or read but not asked for. A thread calls this before each request."""
    _expected.set(())
    _brought.set(None)


def find(kind: Kind | LargeKind, keys: Collection[Any]) -> dict[Any, Any]:
    """Return the existing documents by their keys. They are as of this call, or of the one that expected them."""
    if not keys:
        return {}
    asked = [(kind, key) for key in keys]
    brought = _brought.get()
    if brought and all(map(brought.__contains__, asked)):
        return {key[1]: document for key in asked if (document := brought.pop(key)) is not None}
    expected = _expected.get()
    if expected:
        _expected.set(())
        read = _read([*asked, *expected])
        _brought.set({key: read.get(key) for key in expected})
    else:
        read = _read(asked)
    return {key[1]: read[key] for key in asked if key in read}


def _read(keys: list[Key]) -> dict[Key, Any]:
    shared = _shared_large if any(isinstance(kind, LargeKind) for kind, _ in keys) else _shared
    return shared.read(keys)


def _find_all(keys: Collection[Key]) -> dict[Key, Any]:
    """Return what there is for keys of any kinds: documents first, and then each large kind."""
    by_kind: dict[Kind, list[Any]] = defaultdict(list)
    large: dict[LargeKind, list[Any]] = defaultdict(list)
    for kind, key in keys:
        if isinstance(kind, Kind):
            by_kind[kind].append(key)
        else:
            large[kind].append(key)
    found: dict[Key, Any] = dict(_find_in_one_query(by_kind)) if by_kind else {}
    for each, of_kind in large.items():
        found |= {(each, key): value for key, value in each.find(of_kind).items()}
    return found


def _find_in_one_query(by_kind: Mapping[Kind, list[Any]]) -> dict[Key, Document]:
    """Return the documents for keys of any kinds."""
    # In the order of names, so that accounts are read before entries, and no account's first entry is missed.
    kinds = sorted(by_kind, key=lambda kind: kind.collection)
    first, *others = (kind.stages(by_kind[kind]) for kind in kinds)
    pipeline = list(first)
    for number, stages in enumerate(others, 1):
        # Says which kind a document is. To wrap the document in another one would cost more than everything else here.
        marked = {"$set": {_KIND: {"$literal": number}}}
        pipeline.append({"$unionWith": {"coll": kinds[number].collection, "pipeline": [*stages, marked]}})
    found = aggregate(kinds[0].collection, pipeline)
    return {(kinds[each.pop(_KIND, 0)], each["_id"]): each for each in found}


_shared: SharedRead[Key, Any] = SharedRead(_find_all)
_shared_large: SharedRead[Key, Any] = SharedRead(_find_all, keys_max=LARGE_KEYS_MAX)
