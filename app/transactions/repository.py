"""Recorded transactions, for reading. They are written by the ledger alone."""

import heapq
import struct
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from bson import ObjectId
from pymongo.client_session import ClientSession

from app.clock import at_or_after
from app.ledger.records import Transaction, TransactionKind, TransactionStatus
from app.ledger.repository import to_transaction
from app.mongo import Document, database

HISTORY_INDEX = [("accounts", 1), ("_id", 1)]
# MongoDB merges the index ranges of at most this many accounts in their order; of more, it would sort what it found.
MERGED_ACCOUNTS_MAX = 100
# A transaction's id is made before its posting and its time inside it. The two are apart by the wait for a turn, the
# time-out of a block, and what the clocks of two machines differ by; never by more than this.
ID_AGE_MAX = timedelta(hours=1)

_EPOCH_SECONDS_MAX = 2**32 - 1


def find_transaction(transaction_id: ObjectId, session: ClientSession | None = None) -> Transaction | None:
    # The collection also has what else idempotency keys were spent on.
    query = {"_id": transaction_id, "kind": {"$in": [kind.value for kind in TransactionKind]}}
    document = database().transactions.find_one(query, session=session)
    return to_transaction(document) if document else None


def find_history(
    accounts: Sequence[ObjectId],
    filters: Mapping[str, Any],
    *,
    declines_of: ObjectId | None,
    after: ObjectId | None,
    limit: int,
) -> Iterator[Transaction]:
    """Yield up to `limit` transactions of these accounts, newest first.

    `filters` may have direction, status, kind, from_time and to_time (of created_at, to_time
    excluded). Of the declined ones only those of the user `declines_of` are listed, or all for None.
    """
    query = _history_query(filters, accounts, after)
    if declines_of is not None:
        query["$or"] = [{"status": {"$ne": TransactionStatus.FAILED.value}}, {"user": declines_of}]
    groups = [accounts[first : first + MERGED_ACCOUNTS_MAX] for first in range(0, len(accounts), MERGED_ACCOUNTS_MAX)]
    walks = (_walk_history(group, query, limit) for group in groups)
    merged = heapq.merge(*walks, key=lambda document: document["_id"], reverse=True)
    # A transfer between two groups is found in both.
    unique = (next(same) for _, same in groupby(merged, key=lambda document: document["_id"]))
    return map(to_transaction, unique)


def _history_query(filters: Mapping[str, Any], mine: Sequence[ObjectId], after: ObjectId | None) -> Document:
    conditions: list[Document] = [{name: filters[name]} for name in ("status", "kind") if name in filters]
    if "direction" in filters:
        side = "to_account" if filters["direction"] == "in" else "from_account"
        conditions.append({side: {"$in": list(mine)}})
    if after is not None:
        conditions.append({"_id": {"$lt": after}})
    if "from_time" in filters:
        conditions.append({"_id": {"$gte": _first_id(filters["from_time"], -ID_AGE_MAX)}})
        conditions.append({"created_at": {"$gte": at_or_after(filters["from_time"])}})
    if "to_time" in filters:
        conditions.append({"_id": {"$lt": _first_id(filters["to_time"], ID_AGE_MAX)}})
        conditions.append({"created_at": {"$lt": at_or_after(filters["to_time"])}})
    return {"$and": conditions} if conditions else {}


def _walk_history(accounts: Sequence[ObjectId], query: Document, limit: int) -> Iterator[Document]:
    of_accounts = accounts[0] if len(accounts) == 1 else {"$in": list(accounts)}
    found = database().transactions.find({"accounts": of_accounts, **query})
    return iter(found.sort("_id", -1).limit(limit).hint(HISTORY_INDEX))


def _first_id(moment: datetime, shift: timedelta) -> ObjectId:
    """Return the first id of the second that `moment`, shifted, lies in; the nearest there is if ids know no such."""
    seconds = int(moment.timestamp()) + int(shift.total_seconds())
    return ObjectId(struct.pack(">I", max(0, min(seconds, _EPOCH_SECONDS_MAX))) + bytes(8))
