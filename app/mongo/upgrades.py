"""Upgrades that `flask db init` makes to a database of an earlier version. Each may run again at any time."""

from typing import Any

from pymongo.database import Database
from pymongo.errors import OperationFailure

from app.addresses import normal_email

Documents = Database[dict[str, Any]]

_INDEX_NOT_FOUND = 27
# Indexes of earlier versions whose place others have taken.
_SUPERSEDED_INDEXES = (("transactions", "accounts_1"), ("transactions", "accounts_1_created_at_1__id_1"))


def drop_superseded_indexes(database: Documents) -> None:
    for collection, index in _SUPERSEDED_INDEXES:
        try:
            database[collection].drop_index(index)
        except OperationFailure as error:
            if error.code != _INDEX_NOT_FOUND:
                raise


def normalise_emails(database: Documents) -> None:
    """Rewrite users' addresses into their normal form. Version 1 kept domains in Unicode.

    Raises DuplicateKeyError if two users then have the same address. An operator must decide whose it is.
    """
    for user in database["users"].find({"email": {"$regex": r"[^\x00-\x7f]"}}, projection=["email"]):
        email = normal_email(user["email"])
        if email is not None and email != user["email"]:
            database["users"].update_one({"_id": user["_id"], "email": user["email"]}, {"$set": {"email": email}})
            # Reset tokens are stored under the old address, where nothing would revoke them.
            database["password_resets"].delete_many({"user": user["_id"]})


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
