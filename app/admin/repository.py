"""What administrators ask of users, accounts and the audit log, and the one thing they change themselves: roles.

Lists come newest first. Whatever a client sent goes into a query behind an operator of ours, so that it can never be
read as one of its own.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo import ASCENDING, ReturnDocument
from pymongo.client_session import ClientSession

from app.mongo import Document, database
from app.mongo.lists import Position, behind, newest_first

_BY_ID = [("_id", ASCENDING)]
_BY_NAME = [("name_key", ASCENDING), ("_id", ASCENDING)]
_BY_EMAIL = [("email", ASCENDING)]


def find_users(*, after: Position | None, limit: int) -> list[Document]:
    return list(database().users.find(_query({}, "created_at", after)).sort(newest_first("created_at")).limit(limit))


@dataclass(frozen=True, slots=True)
class Search:
    """What users are searched by: an id, how a name begins, or how an e-mail address does."""

    user_id: ObjectId | None
    name_key: str
    email: str


def search_users(search: Search, *, after: list[Any] | None, limit: int) -> list[Document]:
    """Return users by their id, then those whose name begins so, then those whose e-mail address does.

    `after` is the `search_position` of the last user of the page before. Each of the
    three is a range of an index, entered where the page before ended.
    """
    found: list[Document] = []
    for query, order in search_ranges(search, after):
        if len(found) < limit:
            found += database().users.find(query).sort(order).limit(limit - len(found))
    return found


def search_position(search: Search, user: Document) -> list[Any]:
    """Return where `search_users` puts the user among its results."""
    if user["_id"] == search.user_id:
        return ["id"]
    if user.get("name_key", "").startswith(search.name_key):
        return ["name", user["name_key"], user["_id"]]
    return ["email", user["email"]]


def search_ranges(search: Search, after: list[Any] | None) -> list[tuple[Document, list[tuple[str, int]]]]:
    """Return the queries that a search is made of, each with the order that its index has."""
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
            raise AssertionError(f"{after} is no position in a search.")


def _beginning(text: str) -> Document:
    # An anchored expression without anything special in it is a range of the index.
    return {"$regex": "^" + re.escape(text)}


def find_user(user_id: ObjectId, session: ClientSession) -> Document | None:
    return database().users.find_one({"_id": {"$eq": user_id}}, session=session)


def find_first_user(role: str) -> Document | None:
    """Return the oldest user who has the role."""
    return database().users.find_one({"role": {"$eq": role}}, sort=[("created_at", ASCENDING), ("_id", ASCENDING)])


def set_role(user_id: ObjectId, role: str, session: ClientSession) -> Document | None:
    return database().users.find_one_and_update(
        {"_id": {"$eq": user_id}},
        {"$set": {"role": role}},
        return_document=ReturnDocument.AFTER,
        session=session,
    )


def vouch_for_demotion(user_id: ObjectId, role: str, session: ClientSession) -> bool:
    """Have a user vouch that one has the role still when `user_id` loses it; returns False if there is no other.

    To vouch is to be written to. Whoever demotes the voucher at the same time writes
    the same document, and MongoDB lets only one of the two through.
    """
    voucher = database().users.find_one_and_update(
        {"role": {"$eq": role}, "_id": {"$ne": user_id}},
        {"$inc": {"vouched": 1}},
        sort=[("_id", ASCENDING)],
        session=session,
    )
    return voucher is not None


def find_accounts(filters: Document, *, after: Position | None, limit: int) -> list[Document]:
    """Return the accounts whose fields have these values, newest first; the bank's own have None for a user."""
    found = database().accounts.find(_query(filters, "created_at", after)).sort(newest_first("created_at")).limit(limit)
    return [{"user": None, **account} for account in found]


def find_audit_records(filters: Document, *, after: Position | None, limit: int) -> list[Document]:
    """Return the records whose fields have these values, newest first."""
    return list(database().audit_log.find(_query(filters, "at", after)).sort(newest_first("at")).limit(limit))


def find_audit_records_since(since: datetime, filters: Document) -> list[Document]:
    """Return the records since then whose fields have these values, oldest first."""
    query = {**_query(filters, "at", None), "at": {"$gte": since}}
    return list(database().audit_log.find(query).sort([("at", ASCENDING), ("_id", ASCENDING)]))


def _query(filters: Document, time: str, after: Position | None) -> Document:
    query: Document = {name: {"$eq": value} for name, value in filters.items()}
    return {**query, **({"$and": behind(time, after)} if after else {})}
