"""Lists of users, accounts and audit records for administrators, and changes of roles.

The repositories of auth and accounts have the shapes of their documents. An audit record is {_id, at, actor, action,
subject, reason, before, after, request_id, address}.

Lists come newest first. Values from clients go into queries behind an operator of ours, so that they can never be
read as operators.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo import ASCENDING, DESCENDING, ReturnDocument
from pymongo.client_session import ClientSession

from app.clock import LEEWAY
from app.mongo import Document, database
from app.mongo.lists import Position, behind, newest_first, search

# Looking at this many takes about a tenth of a second.
POSTINGS_LOOKED_AT_MAX = 50_000

_BY_ID = [("_id", ASCENDING)]
_BY_NAME = [("name_key", ASCENDING), ("_id", ASCENDING)]
_BY_EMAIL = [("email", ASCENDING)]


def find_users(*, after: Position | None, limit: int) -> list[Document]:
    return list(database().users.find(_query({}, "created_at", after)).sort(newest_first("created_at")).limit(limit))


@dataclass(frozen=True, slots=True)
class Search:
    """The terms of a search for users: an id, the start of a name, and the start of an e-mail address."""

    user_id: ObjectId | None
    name_key: str
    email: str


def search_users(search: Search, *, after: list[Any] | None, limit: int) -> list[Document]:
    """Return the user with the id, then users whose name starts with the term, then those whose e-mail address does.

    `after` is the `search_position` of the previous page's last user. Each of the three
    is a range of an index, and each page seeks to where the previous one ended.
    """
    found: list[Document] = []
    for query, order in search_ranges(search, after):
        if len(found) < limit:
            found += database().users.find(query).sort(order).limit(limit - len(found))
    return found


def search_position(search: Search, user: Document) -> list[Any]:
    """Return the user's position in the results of `search_users`."""
    if user["_id"] == search.user_id:
        return ["id"]
    if user.get("name_key", "").startswith(search.name_key):
        return ["name", user["name_key"], user["_id"]]
    return ["email", user["email"]]


def search_ranges(search: Search, after: list[Any] | None) -> list[tuple[Document, list[tuple[str, int]]]]:
    """Return the queries of a search, each with its index's order."""
    user_id, name, email = search.user_id, _beginning(search.name_key), _beginning(search.email)
    others: Document = {"$ne": user_id}
    by_name = {"name_key": name, "_id": others}
    by_email = {"email": email, "name_key": {"$not": name}, "_id": others}
    match after:
        case None:
            return [({"_id": {"$eq": user_id}}, _BY_ID), (by_name, _BY_NAME), (by_email, _BY_EMAIL)]
        case ["id"]:
            return [(by_name, _BY_NAME), (by_email, _BY_EMAIL)]
        case ["name", key, last]:
            namesakes = {"name_key": {"$eq": key}, "_id": {**others, "$gt": last}}
            later = {**by_name, "name_key": {**name, "$gt": key}}
            return [(namesakes, _BY_NAME), (later, _BY_NAME), (by_email, _BY_EMAIL)]
        case [_, address]:
            return [({**by_email, "email": {**email, "$gt": address}}, _BY_EMAIL)]
        case _:
            raise AssertionError(f"{after} is not a position in a search.")


def _beginning(text: str) -> Document:
    # MongoDB answers an anchored expression without special characters from a range of the index.
    return {"$regex": "^" + re.escape(text)}


def find_user(user_id: ObjectId, session: ClientSession) -> Document | None:
    return database().users.find_one({"_id": {"$eq": user_id}}, session=session)


def find_first_user(role: str) -> Document | None:
    """Return the user who has the role and was created first."""
    return database().users.find_one({"role": {"$eq": role}}, sort=[("created_at", ASCENDING), ("_id", ASCENDING)])


def set_role(user_id: ObjectId, role: str, session: ClientSession) -> Document | None:
    return database().users.find_one_and_update(
        {"_id": {"$eq": user_id}},
        {"$set": {"role": role}},
        return_document=ReturnDocument.AFTER,
        session=session,
    )


def vouch_for_demotion(user_id: ObjectId, role: str, session: ClientSession) -> bool:
    """Let another user who has the role vouch for the demotion of `user_id`; return False if there is no other.

    To vouch means that a counter in the voucher's document is written. A demotion of the voucher at the same
    time writes the same document, and MongoDB lets only one of the two through.
    """
    voucher = database().users.find_one_and_update(
        {"role": {"$eq": role}, "_id": {"$ne": user_id}},
        {"$inc": {"vouched": 1}},
        sort=[("_id", ASCENDING)],
        session=session,
    )
    return voucher is not None


def find_accounts(filters: Document, *, after: Position | None, limit: int) -> tuple[list[Document], Position | None]:
    """Return the accounts with these values, newest first, and where to go on if the search stopped (`lists.search`).

    The bank's own accounts have None as `user`.
    """
    among, wanted = _divided(filters, ("user", "status", "currency", "kind"), "created_at", after)
    found, stop = search(database().accounts, among, wanted, time="created_at", limit=limit)
    return [{"user": None, **account} for account in found], stop


def find_audit_records(
    filters: Document, *, after: Position | None, limit: int
) -> tuple[list[Document], Position | None]:
    """Return the records with these values, newest first, and where to go on if the search stopped (`lists.search`)."""
    among, wanted = _divided(filters, ("subject", "actor"), "at", after)
    return search(database().audit_log, among, wanted, time="at", limit=limit)


def count_users() -> int:
    """Return how many users there are. The collection keeps this count, so it costs nothing."""
    return database().users.estimated_document_count()


def count_accounts() -> int:
    """Return how many accounts there are, including the bank's own. The collection keeps this count."""
    return database().accounts.estimated_document_count()


def find_postings(since: datetime) -> tuple[list[Document], datetime | None]:
    """Return the outcomes of postings since a time: [{_id: {minute, code}, count}]. `code` is the reason of a decline.

    It counts transactions, captures, voids, and atomic batches that were declined as a whole, but no refusals without a
    record. Only the newest POSTINGS_LOOKED_AT_MAX records are looked at. If there are more, the second value is the
    time of the oldest record that was looked at.
    """
    records = database().transactions
    recent: Document = {"_id": {"$gte": ObjectId.from_datetime(since - LEEWAY)}}
    is_declined = {"$or": [{"$eq": ["$status", "FAILED"]}, {"$and": [{"$not": ["$status"]}, "$failure"]}]}
    stages: list[Document] = [
        {"$match": recent},
        {"$sort": {"_id": DESCENDING}},
        {"$limit": POSTINGS_LOOKED_AT_MAX},
        {
            "$match": {
                "created_at": {"$gte": since},
                "$or": [{"kind": {"$nin": ["ACCOUNT", "BATCH"]}}, {"kind": "BATCH", "failure": {"$exists": True}}],
            }
        },
        {
            "$group": {
                "_id": {
                    "minute": {"$dateTrunc": {"date": "$created_at", "unit": "minute"}},
                    "code": {"$cond": [is_declined, "$failure.code", None]},
                },
                "count": {"$sum": 1},
            }
        },
    ]
    found = list(records.aggregate(stages))
    oldest = list(records.find(recent, ["created_at"]).sort("_id", DESCENDING).skip(POSTINGS_LOOKED_AT_MAX).limit(1))
    return found, oldest[0]["created_at"] if oldest else None


def _divided(filters: Document, indexed: Sequence[str], time: str, after: Position | None) -> tuple[Document, Document]:
    """Divide the filters: the first one with an index finds the documents, and the others select among them."""
    leading = next((name for name in indexed if name in filters), None)
    among = {name: value for name, value in filters.items() if name == leading or name not in indexed}
    wanted = {name: {"$eq": value} for name, value in filters.items() if name not in among}
    return _query(among, time, after), wanted


def find_audit_records_since(since: datetime, filters: Document) -> list[Document]:
    """Return the records since `since` with these values, oldest first."""
    query = {**_query(filters, "at", None), "at": {"$gte": since}}
    return list(database().audit_log.find(query).sort([("at", ASCENDING), ("_id", ASCENDING)]))


def _query(filters: Document, time: str, after: Position | None) -> Document:
    query: Document = {name: {"$eq": value} for name, value in filters.items()}
    return {**query, **({"$and": behind(time, after)} if after else {})}
