"""First pages of histories, by one query for all requests of the same moment.

A query costs as much as many transactions. So requests that come while one is under way share the next one, and may
have it together with the check of their tokens (see `mongo.together`). Each page has everything that was committed
before the request came, and none is cached.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import islice

import structlog
from bson import ObjectId
from pymongo.errors import OperationFailure

from app.mongo import Document, together
from app.mongo.lists import AS_STORED, first_of_each, newest_first
from app.mongo.reads import aggregate

log = structlog.get_logger(__name__)

# At most this many pages share a query. With more, the first of them would wait too long for the last.
PAGES_MAX = 12
# Pages of more accounts are read alone: beyond 200 ranges of an index, MongoDB does not merge them in order.
ACCOUNTS_MAX = 16
CONVERSION_FAILURE = 241
_TIME = "created_at"
_ORDER = dict(newest_first(_TIME))
_MARK = "of_page"
_DECLINED = -1
# The mark makes a copy of each document anyway. So the copy has ids as they are shown, because the driver takes twelve
# times as long to make an ObjectId as a text, and it lacks what no page shows.
_AS_SHOWN: Document = {name: {"$toString": f"${name}"} for name in ("_id", "from_account", "to_account")}
_NOT_SHOWN = ["accounts", "fingerprint", "salt"]


@dataclass(frozen=True, slots=True)
class Page:
    """The newest `limit` transactions of some accounts. Of the declined ones it has only those that `user` initiated.

    `parts` are the queries for the declined ones and for the others, each with its index.
    """

    accounts: frozenset[ObjectId]
    user: ObjectId
    limit: int
    parts: Sequence[tuple[Document, str]] = field(compare=False)


def read(page: Page) -> list[Document]:
    """Return the page's documents as `lists.first_of_each` does, except that some ids may be texts.

    Several requests of the same user may get the same documents. So these may only be changed in a way that depends on
    nothing but the user, and that may be repeated.
    """
    found: list[Document] | None = together.find(PAGES, [page]).get(page)
    # Read in this thread, so that nobody else waits for it.
    return _alone(page) if found is None else found


def find(pages: Collection[Page]) -> dict[Page, list[Document]]:
    """Return the documents of each page, without the pages that must be read alone."""
    rest, found = iter(pages), dict[Page, list[Document]]()
    while some := list(islice(rest, PAGES_MAX)):
        try:
            found |= _find_together(some) if len(some) > 1 else {some[0]: _alone(some[0])}
        except OperationFailure as error:
            if error.code != CONVERSION_FAILURE:
                raise
            # Somebody wrote over a document, so that it has no id to write as text. Each page is read alone.
            log.warning("pages_not_read_together")
    return found


def _find_together(in_order: Sequence[Page]) -> dict[Page, list[Document]]:
    found: dict[int, list[Document]] = defaultdict(list)
    limit = sum(page.limit for page in in_order)
    for document in aggregate("transactions", _stages(in_order, limit), codec=AS_STORED, hint=in_order[0].parts[0][1]):
        found[document[_MARK]].append(document)
    declined = found[_DECLINED]
    # All declined transactions newer than this are known. Mostly there are few, and all of them are known.
    horizon = _position(declined[-1]) if len(declined) == limit else None
    made = {page: _complete(page, found[number], declined, horizon) for number, page in enumerate(in_order)}
    return {page: whole for page, whole in made.items() if whole is not None}


def _stages(pages: Sequence[Page], limit: int) -> list[Document]:
    """Return the aggregation that finds all pages: first their users' declined transactions, then the rest of each."""
    declined: list[Document] = [page.parts[0][0] for page in pages]
    # All of these in one walk, because it mostly finds nothing, and only the first walk can be forced to use its index.
    stages: list[Document] = [{"$match": {"$or": declined}}, {"$sort": _ORDER}, {"$limit": limit}, _marked(_DECLINED)]
    for number, page in enumerate(pages):
        rest: list[Document] = [{"$match": page.parts[1][0]}, {"$sort": _ORDER}, {"$limit": page.limit}]
        rest += [_marked(number, **_AS_SHOWN), {"$unset": _NOT_SHOWN}]
        stages.append({"$unionWith": {"coll": "transactions", "pipeline": rest}})
    return stages


def _marked(number: int, **more: Document) -> Document:
    return {"$set": {_MARK: {"$literal": number}, **more}}


def _complete(
    page: Page, rest: list[Document], declined: list[Document], horizon: tuple[int, str] | None
) -> list[Document] | None:
    """Return the page, merged from its own transactions and its declined ones.

    Return None if it may go beyond the horizon, down to which all declined ones are known.
    """
    own = [each for each in declined if each["user"] == page.user and not page.accounts.isdisjoint(each["accounts"])]
    # Mostly there are none, and then the rest is in order already.
    found = sorted([*own, *rest], key=_position, reverse=True)[: page.limit] if own else rest
    if horizon is not None and (len(found) < page.limit or _position(found[-1]) < horizon):
        return None
    return found


def _alone(page: Page) -> list[Document]:
    return first_of_each("transactions", page.parts, time=_TIME, limit=page.limit)


def _position(document: Document) -> tuple[int, str]:
    # Ids and their texts have the same order.
    return int(document[_TIME]), str(document["_id"])


PAGES = together.LargeKind(find)
