"""Upgrades that `flask db init` makes to a database of an earlier version. Each may run again at any time."""

from typing import Any, NamedTuple

from bson import ObjectId
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, OperationFailure

from app.addresses import normal_email

Documents = Database[dict[str, Any]]

_INDEX_NOT_FOUND = 27
# Indexes of earlier versions whose place others have taken.
_SUPERSEDED_INDEXES = (("transactions", "accounts_1"), ("transactions", "accounts_1_created_at_1__id_1"))
# The kinds of security mail of version 1.
_URGENT_KINDS = ("welcome", "password_changed", "password_reset")


class SharedAddress(NamedTuple):
    """Two users of version 1 whose addresses have one normal form: `holder` has it, `other` kept the old one."""

    holder: ObjectId
    other: ObjectId


def drop_superseded_indexes(database: Documents) -> None:
    for collection, index in _SUPERSEDED_INDEXES:
        try:
            database[collection].drop_index(index)
        except OperationFailure as error:
            if error.code != _INDEX_NOT_FOUND:
                raise


def normalise_emails(database: Documents) -> list[SharedAddress]:
    """Rewrite users' addresses into their normal form. Version 1 kept domains in Unicode.

    If another user has the normal form already, the address stays as it is; return all such pairs. An operator must
    decide whose the address is.
    """
    shared = []
    found = database["users"].find({"email": {"$regex": r"[^\x00-\x7f]"}}, projection=["email"]).sort("_id", 1)
    for user in found:
        email = normal_email(user["email"])
        if email is None or email == user["email"]:
            continue
        try:
            database["users"].update_one({"_id": user["_id"], "email": user["email"]}, {"$set": {"email": email}})
        except DuplicateKeyError:
            holder = database["users"].find_one({"email": email}, projection=["_id"])
            if holder is None:
                raise
            shared.append(SharedAddress(holder["_id"], user["_id"]))
            continue
        # Reset tokens are stored under the old address, where nothing would revoke them.
        database["password_resets"].delete_many({"user": user["_id"]})
    return shared


def mark_urgent_mail(database: Documents) -> None:
    """Mark security mail that has not been sent, so that it goes first. Version 1 did not mark it."""
    database["outbox"].update_many(
        {"state": {"$in": ["PENDING", "DEAD"]}, "kind": {"$in": list(_URGENT_KINDS)}, "urgent": {"$exists": False}},
        {"$set": {"urgent": True}, "$unset": {"moment": ""}},
    )


def keep_spared_sessions(database: Documents) -> None:
    """Write the session that outlived a user's last change of password to the user.

    Version 1 kept it only on the blocklist, and only until that entry expired.
    """
    changed = {"session_generation": {"$gt": 0}, "spared_session": {"$exists": False}}
    for user in database["users"].find(changed, projection=["session_generation"]):
        cut_off = database["revoked_tokens"].find_one({"_id": f"user:{user['_id']}"})
        database["users"].update_one(
            {**changed, "_id": user["_id"], "session_generation": user["session_generation"]},
            {"$set": {"spared_session": cut_off["spared"] if cut_off else None}},
        )
