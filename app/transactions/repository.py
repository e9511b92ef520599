"""Reads recorded transactions. Only the ledger writes them, with the members of `ledger.records.Transaction`.

`accounts` lists both accounts of a transaction, for the indexes by which a history is read.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from bson import ObjectId
from pymongo.client_session import ClientSession

from app.clock import at_or_after
from app.ledger.documents import members_of, to_transaction
from app.ledger.records import Transaction, TransactionKind, TransactionStatus
from app.mongo import Document, database, together
from app.mongo.lists import Position, behind, first_of_each, search
from app.transactions import pages

# For up to this many accounts, MongoDB merges the index ranges in order. For more, it would sort the results.
MERGED_ACCOUNTS_MAX = 100


def find_transaction(transaction_id: ObjectId, session: ClientSession | None = None) -> Transaction | None:
    # The collection also has documents for other uses of idempotency keys.
    query = {"_id": transaction_id, "kind": {"$in": [kind.value for kind in TransactionKind]}}
    document = database().transactions.find_one(query, session=session)
    return to_transaction(document) if document else None


def find_history(
    accounts: Sequence[ObjectId],
    filters: Mapping[str, Any],
    *,
    declines_of: ObjectId | None,
    after: Position | None,
    limit: int,
) -> tuple[Iterator[Document], Position | None]:
    """Return up to `limit` transactions of these accounts, newest first, and where to go on if the search stopped.

    They are as `documents.members_of` returns them. The search stops when a filter has rejected too many (see
    `lists.search`).
    `filters` may have direction, status, kind, from_time and to_time. The times are compared with created_at;
    to_time is exclusive. Declined transactions are listed only if the user `declines_of` initiated them; None: all are.
    """
    among, wanted = _among(filters, after), _wanted(filters, accounts)
    parts = list(_parts(filters.get("status"), declines_of))
    is_whole = len(parts) > 1 and not among and not wanted
    if is_whole and declines_of is not None and 0 < len(accounts) <= pages.ACCOUNTS_MAX:
        found = pages.read(first_page(accounts, user=declines_of, limit=limit))
        return map(members_of, found), None
    groups = [accounts[first : first + MERGED_ACCOUNTS_MAX] for first in range(0, len(accounts), MERGED_ACCOUNTS_MAX)]
    walks = [walk for group in groups for walk in _walks(group, parts, among, wanted, limit)]
    # The page stops where the first walk stopped. What other walks found beyond that place will be found again.
    stop = max((stopped for _, stopped in walks if stopped is not None), default=None)
    merged = heapq.merge(*(found for found, _ in walks), key=_position, reverse=True)
    # A transfer between accounts of two groups is found in both.
    unique = (next(same) for _, same in groupby(merged, key=_position))
    return (members_of(each) for each in unique if stop is None or _position(each) >= stop), stop


def first_page(accounts: Sequence[ObjectId], *, user: ObjectId, limit: int) -> pages.Page:
    """Return the page with the newest transactions of these accounts, which are the user's own."""
    return pages.Page(frozenset(accounts), user, limit, _queries(accounts, list(_parts(None, user)), {}))


def page_ahead(account: ObjectId, *, user: ObjectId, limit: int) -> together.Key:
    """Return the key of what `find_history` reads first for the first page of the user's own account."""
    return pages.PAGES, first_page([account], user=user, limit=limit)


def _parts(status: str | None, declines_of: ObjectId | None) -> Iterator[tuple[Document, str]]:
    """Yield the queries that together find what `find_history` lists, each with the name of the index to use.

    One query on one index would have to look at every declined transfer that a stranger tried.
    """
    declined = TransactionStatus.FAILED.value
    # Declined ones come first, because two indexes have them, and only the first part can be forced to use its index.
    if status in (None, declined):
        if declines_of is None:
            yield {"status": declined}, "declined"
        else:
            yield {"status": declined, "user": declines_of}, "own_declined"
    if status != declined:
        # MongoDB uses a partial index only for a query that implies its condition.
        yield {"status": {"$in": [each.value for each in TransactionStatus if each != declined]}}, "not_declined"


def _among(filters: Mapping[str, Any], after: Position | None) -> Document:
    """Return the conditions that the indexes answer."""
    conditions = behind("created_at", after)
    if "from_time" in filters:
        conditions.append({"created_at": {"$gte": at_or_after(filters["from_time"])}})
    if "to_time" in filters:
        conditions.append({"created_at": {"$lt": at_or_after(filters["to_time"])}})
    return {"$and": conditions} if conditions else {}


def _wanted(filters: Mapping[str, Any], mine: Sequence[ObjectId]) -> Document:
    """Return the conditions that no index answers, so that each transaction must be looked at."""
    wanted: Document = {name: filters[name] for name in ("status", "kind") if name in filters}
    if wanted.get("status") == TransactionStatus.FAILED:
        # The indexes of declined transactions contain no others.
        del wanted["status"]
    if "direction" in filters:
        side = "to_account" if filters["direction"] == "in" else "from_account"
        wanted[side] = {"$in": list(mine)}
    return wanted


def _queries(
    accounts: Sequence[ObjectId], parts: Sequence[tuple[Document, str]], among: Document
) -> list[tuple[Document, str]]:
    """Return the parts of the query for these accounts."""
    of_accounts = {"accounts": accounts[0] if len(accounts) == 1 else {"$in": list(accounts)}, **among}
    return [({**part, **of_accounts}, index) for part, index in parts]


def _position(document: Document) -> Position:
    return document["created_at"], document["_id"]


def _walks(
    accounts: Sequence[ObjectId], parts: Sequence[tuple[Document, str]], among: Document, wanted: Document, limit: int
) -> list[tuple[list[Document], Position | None]]:
    """Return the transactions of these accounts from one or several walks, each with where it stopped."""
    queries = _queries(accounts, parts, among)
    if not wanted:
        return [(first_of_each("transactions", queries, time="created_at", limit=limit), None)]
    transactions = database().transactions
    return [search(transactions, query, wanted, time="created_at", limit=limit, hint=index) for query, index in queries]
