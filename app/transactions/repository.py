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
from app.ledger.documents import to_transaction
from app.ledger.records import Transaction, TransactionKind, TransactionStatus
from app.mongo import Document, database
from app.mongo.lists import Position, behind, newest_first

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
) -> Iterator[Transaction]:
    """Yield up to `limit` transactions of these accounts, newest first.

    `filters` may have direction, status, kind, from_time and to_time. The times are compared with created_at;
    to_time is exclusive. Declined transactions are listed only if the user `declines_of` initiated them; None: all are.
    """
    query = _history_query(filters, accounts, after)
    groups = [accounts[first : first + MERGED_ACCOUNTS_MAX] for first in range(0, len(accounts), MERGED_ACCOUNTS_MAX)]
    walks = (
        _walk_history(group, {**part, **query}, limit, index=index)
        for part, index in _parts(filters.get("status"), declines_of)
        for group in groups
    )
    merged = heapq.merge(*walks, key=_position, reverse=True)
    # A transfer between accounts of two groups is found in both.
    unique = (next(same) for _, same in groupby(merged, key=_position))
    return map(to_transaction, unique)


def _parts(status: str | None, declines_of: ObjectId | None) -> Iterator[tuple[Document, str]]:
    """Yield the queries that together find what `find_history` lists, each with the name of the index to walk.

    One query on one index would have to look at every transfer that a stranger tried in vain.
    """
    declined = TransactionStatus.FAILED.value
    if status != declined:
        # MongoDB uses a partial index only for a query that implies its condition.
        yield {"status": {"$in": [each.value for each in TransactionStatus if each != declined]}}, "not_declined"
    if status in (None, declined):
        if declines_of is None:
            yield {"status": declined}, "declined"
        else:
            yield {"status": declined, "user": declines_of}, "own_declined"


def _history_query(filters: Mapping[str, Any], mine: Sequence[ObjectId], after: Position | None) -> Document:
    conditions: list[Document] = [{name: filters[name]} for name in ("status", "kind") if name in filters]
    if "direction" in filters:
        side = "to_account" if filters["direction"] == "in" else "from_account"
        conditions.append({side: {"$in": list(mine)}})
    conditions += behind("created_at", after)
    if "from_time" in filters:
        conditions.append({"created_at": {"$gte": at_or_after(filters["from_time"])}})
    if "to_time" in filters:
        conditions.append({"created_at": {"$lt": at_or_after(filters["to_time"])}})
    return {"$and": conditions} if conditions else {}


def _position(document: Document) -> Position:
    return document["created_at"], document["_id"]


def _walk_history(accounts: Sequence[ObjectId], query: Document, limit: int, *, index: str) -> Iterator[Document]:
    of_accounts = accounts[0] if len(accounts) == 1 else {"$in": list(accounts)}
    found = database().transactions.find({"accounts": of_accounts, **query})
    return iter(found.sort(newest_first("created_at")).limit(limit).hint(index))
