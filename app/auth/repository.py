"""Users, the blocklist, reset tokens and wrong passwords in the database.

    users            {_id, email, name, name_key, password_hash, role, created_at, session_generation, spared_session,
                     vouched, language, letters: {kind: frequency}}
    revoked_tokens   {_id, expires_at, …}. The `_id` tells what ended: a session's id; a spent refresh token's id, with
                     `spent_at` and `asked_at`; or "user:" and a user's id, with `generation` and `spared`
    password_resets  {_id, token_hash, user, expires_at}
    login_failures   {_id, failures, recent, last_failure_at, expires_at}
    known_clients    {_id, expires_at}

Values from clients go into queries behind `$eq`, so that they can never be read as operators.
"""

import re
from collections.abc import Collection
from datetime import UTC, datetime

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.client_session import ClientSession

from app.mongo import Document, database, together
from app.mongo.together import by_id

USERS = by_id("users")
REVOCATIONS = by_id("revoked_tokens")

BEFORE_ALL_TIME = datetime(1970, 1, 1, tzinfo=UTC)


def insert_user(user: Document, session: ClientSession) -> None:
    """Insert a user; raises DuplicateKeyError if the e-mail address is taken. The unique index decides that."""
    database().users.insert_one(user, session=session)


def user_ahead(user_id: ObjectId) -> list[together.Key]:
    """Return the key of what `find_user` reads."""
    return [(USERS, user_id)]


def find_user(user_id: ObjectId) -> Document | None:
    return together.find(USERS, [user_id]).get(user_id)


def find_user_by_email(email: str) -> Document | None:
    return database().users.find_one({"email": {"$eq": email}})


def rename_user(user_id: ObjectId, name: str, name_key: str) -> Document | None:
    return database().users.find_one_and_update(
        {"_id": {"$eq": user_id}},
        {"$set": {"name": name, "name_key": name_key}},
        return_document=ReturnDocument.AFTER,
    )


def change_preferences(user_id: ObjectId, changes: Document) -> Document | None:
    return database().users.find_one_and_update(
        {"_id": {"$eq": user_id}}, {"$set": changes}, return_document=ReturnDocument.AFTER
    )


def find_users(ids: Collection[ObjectId]) -> list[Document]:
    return list(together.find(USERS, ids).values())


def find_choosers(ids: Collection[ObjectId]) -> list[Document]:
    """Return the choices of those of these users who ever chose when letters go."""
    if not ids:
        return []
    return list(database().users.find({"_id": {"$in": list(ids)}, "letters": {"$exists": True}}, ["letters"]))


def find_roles(ids: Collection[ObjectId], session: ClientSession) -> dict[ObjectId, str]:
    """Return the users' roles as an atomic block sees them. A shared read could be older than the block."""
    found = database().users.find({"_id": {"$in": list(ids)}}, {"role": 1}, session=session)
    return {user["_id"]: user["role"] for user in found}


def replace_password(
    user_id: ObjectId,
    password_hash: str,
    session: ClientSession,
    *,
    spared: str | None,
    replaced_hash: str | None = None,
) -> Document | None:
    """Set the user's password and start their next generation of sessions; return the changed user.

    Only the `spared` session stays valid. If `replaced_hash` is given and is no longer the user's hash, change nothing
    and return None.
    """
    still = {} if replaced_hash is None else {"password_hash": {"$eq": replaced_hash}}
    return _begin_generation({"_id": {"$eq": user_id}, **still}, {"password_hash": password_hash}, spared, session)


def begin_generation(user_id: ObjectId, session: ClientSession) -> Document | None:
    """Start the user's next generation of sessions, so that all present ones end; return the changed user."""
    return _begin_generation({"_id": {"$eq": user_id}}, {}, None, session)


def _begin_generation(
    query: Document, changes: Document, spared: str | None, session: ClientSession
) -> Document | None:
    return database().users.find_one_and_update(
        query,
        {"$set": {**changes, "spared_session": spared}, "$inc": {"session_generation": 1}},
        return_document=ReturnDocument.AFTER,
        session=session,
    )


def rehash_password(user_id: ObjectId, password_hash: str, *, replaced_hash: str) -> None:
    """Replace the hash by another one of the same password, unless the password has changed. No session ends."""
    database().users.update_one(
        {"_id": {"$eq": user_id}, "password_hash": {"$eq": replaced_hash}}, {"$set": {"password_hash": password_hash}}
    )


def insert_revocation(revoked_id: str, expires_at: datetime) -> None:
    """Put a session's id on the blocklist until `expires_at`, when its last token has expired."""
    database().revoked_tokens.update_one(
        {"_id": {"$eq": revoked_id}}, {"$max": {"expires_at": expires_at}}, upsert=True
    )


def spend_token(token_id: str, expires_at: datetime) -> Document:
    """Put a token's id on the blocklist unless it is there; return its row: {spent_at, asked_at, …}.

    `spent_at` is when the id was put there, `asked_at` the time of this call, both by the database's clock. Rows of
    version 1 lack `spent_at` and get BEFORE_ALL_TIME.
    """
    is_new = {"$eq": [{"$type": "$expires_at"}, "missing"]}
    spent = database().revoked_tokens.find_one_and_update(
        {"_id": {"$eq": token_id}},
        [
            {
                "$set": {
                    "spent_at": {"$cond": [is_new, "$$NOW", {"$ifNull": ["$spent_at", BEFORE_ALL_TIME]}]},
                    "asked_at": "$$NOW",
                    "expires_at": {"$cond": [is_new, expires_at, "$expires_at"]},
                }
            }
        ],
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    assert spent is not None, "An upsert finds what it has made."
    return spent


def put_cut_off(
    cut_off_id: str, *, generation: int, spared: str | None, expires_at: datetime, session: ClientSession
) -> None:
    """End a user's sessions of every earlier generation than this one, except the `spared` session."""
    database().revoked_tokens.replace_one(
        {"_id": {"$eq": cut_off_id}},
        {"generation": generation, "spared": spared, "expires_at": expires_at},
        upsert=True,
        session=session,
    )


def find_revocations(ids: Collection[str]) -> list[Document]:
    return list(together.find(REVOCATIONS, ids).values())


def is_reset_there(reset_id: str, now: datetime, session: ClientSession) -> bool:
    """Tell whether the row exists and has not expired."""
    row = database().password_resets.find_one({"_id": {"$eq": reset_id}, "expires_at": {"$gt": now}}, session=session)
    return row is not None


def put_reset(
    reset_id: str, *, token_hash: str, user_id: ObjectId | None, expires_at: datetime, session: ClientSession
) -> None:
    """Write the hash of a reset token, replacing the row if it exists."""
    database().password_resets.replace_one(
        {"_id": {"$eq": reset_id}},
        {"token_hash": token_hash, "user": user_id, "expires_at": expires_at},
        upsert=True,
        session=session,
    )


def find_reset(token_hash: str, now: datetime) -> Document | None:
    return database().password_resets.find_one(_usable(token_hash, now))


def take_reset(token_hash: str, now: datetime, session: ClientSession) -> Document | None:
    """Remove a reset token and return it, or None if there is none. If two callers race, only one gets it."""
    return database().password_resets.find_one_and_delete(_usable(token_hash, now), session=session)


def delete_resets(reset_id: str, session: ClientSession) -> None:
    """Remove all tokens of an address: the row with this id, and all rows whose ids start with it."""
    database().password_resets.delete_many({"_id": {"$regex": f"^{re.escape(reset_id)}"}}, session=session)


def _usable(token_hash: str, now: datetime) -> Document:
    # `expires_at` is compared, because MongoDB removes expired rows only once a minute. Rows without a user are decoys,
    # written for unknown addresses.
    return {"token_hash": {"$eq": token_hash}, "expires_at": {"$gt": now}, "user": {"$ne": None}}


def find_failures(ids: Collection[str], now: datetime) -> list[Document]:
    return list(database().login_failures.find({"_id": {"$in": list(ids)}, "expires_at": {"$gt": now}}))


def claim_attempt(row: Document, now: datetime) -> bool:
    """Restart the row's delay from now, unless another caller was faster; return whether this caller did it."""
    claimed = database().login_failures.update_one(
        {"_id": row["_id"], "last_failure_at": row.get("last_failure_at"), "failures": row["failures"]},
        {"$set": {"last_failure_at": now}},
    )
    return claimed.matched_count == 1


def count_failure(target_id: str, update: list[Document]) -> Document:
    """Apply the update to the target's row and return the changed row."""
    counted = database().login_failures.find_one_and_update(
        {"_id": {"$eq": target_id}}, update, upsert=True, return_document=ReturnDocument.AFTER
    )
    assert counted is not None, "An upsert finds what it has made."
    return counted


def delete_failures(target_id: str) -> None:
    database().login_failures.delete_one({"_id": {"$eq": target_id}})


def is_known(known_id: str, now: datetime) -> bool:
    return database().known_clients.find_one({"_id": {"$eq": known_id}, "expires_at": {"$gt": now}}) is not None


def remember_known(known_id: str, expires_at: datetime) -> None:
    database().known_clients.update_one({"_id": {"$eq": known_id}}, {"$max": {"expires_at": expires_at}}, upsert=True)
