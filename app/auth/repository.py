"""Users, the blocklist, reset tokens and wrong passwords in the database.

Whatever a client sent goes into a query behind `$eq`, so that it can never be read as an operator.
"""

import re
from collections.abc import Collection
from datetime import UTC, datetime

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.client_session import ClientSession

from app.mongo import Document, database
from app.mongo.shared import SharedRead, by_id

# Every request with a token asks for these, so requests at the same time ask together.
_users: SharedRead[ObjectId, Document] = SharedRead(by_id("users"))
_revocations: SharedRead[str, Document] = SharedRead(by_id("revoked_tokens"))

BEFORE_ALL_TIME = datetime(1970, 1, 1, tzinfo=UTC)


def insert_user(user: Document, session: ClientSession) -> None:
    """Raises DuplicateKeyError when the e-mail address is taken: the unique index decides, nobody asks first."""
    database().users.insert_one(user, session=session)


def find_user(user_id: ObjectId) -> Document | None:
    return _users.read([user_id]).get(user_id)


def find_user_by_email(email: str) -> Document | None:
    return database().users.find_one({"email": {"$eq": email}})


def rename_user(user_id: ObjectId, name: str, name_key: str) -> Document | None:
    return database().users.find_one_and_update(
        {"_id": {"$eq": user_id}},
        {"$set": {"name": name, "name_key": name_key}},
        return_document=ReturnDocument.AFTER,
    )


def find_users(ids: Collection[ObjectId]) -> list[Document]:
    return list(_users.read(ids).values())


def find_roles(ids: Collection[ObjectId], session: ClientSession) -> dict[ObjectId, str]:
    """Return the users' roles as of an atomic block, which no shared reading may answer."""
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
    """Set the user's password and begin their next generation of sessions, which the `spared` session outlives; return
    the user as it is then.

    With `replaced_hash`, only if that is still the hash; else return None.
    """
    still = {} if replaced_hash is None else {"password_hash": {"$eq": replaced_hash}}
    return _begin_generation({"_id": {"$eq": user_id}, **still}, {"password_hash": password_hash}, spared, session)


def begin_generation(user_id: ObjectId, session: ClientSession) -> Document | None:
    """Begin the user's next generation of sessions, which no session outlives; return the user as it is then."""
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
    """Keep the same password by another hash, unless it was changed meanwhile. No session ends by that."""
    database().users.update_one(
        {"_id": {"$eq": user_id}, "password_hash": {"$eq": replaced_hash}}, {"$set": {"password_hash": password_hash}}
    )


def insert_revocation(revoked_id: str, expires_at: datetime) -> None:
    """Put a session's id on the blocklist until the last token it stands for has expired by itself."""
    database().revoked_tokens.update_one(
        {"_id": {"$eq": revoked_id}}, {"$max": {"expires_at": expires_at}}, upsert=True
    )


def spend_token(token_id: str, expires_at: datetime) -> Document:
    """Put a token's id on the blocklist unless it is there; return {spent_at, asked_at, …}: when it was put there, and
    the time of this call. Both are the database's own times. What version 1 put there was spent before all time.
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
    """End a user's sessions of every generation before this one, but for the `spared` one."""
    database().revoked_tokens.replace_one(
        {"_id": {"$eq": cut_off_id}},
        {"generation": generation, "spared": spared, "expires_at": expires_at},
        upsert=True,
        session=session,
    )


def find_revocations(ids: Collection[str]) -> list[Document]:
    return list(_revocations.read(ids).values())


def is_reset_there(reset_id: str, now: datetime, session: ClientSession) -> bool:
    """Tell whether the row is there and has not expired."""
    row = database().password_resets.find_one({"_id": {"$eq": reset_id}, "expires_at": {"$gt": now}}, session=session)
    return row is not None


def put_reset(
    reset_id: str, *, token_hash: str, user_id: ObjectId | None, expires_at: datetime, session: ClientSession
) -> None:
    """Keep the hash of a reset token, in place of what the row had before."""
    database().password_resets.replace_one(
        {"_id": {"$eq": reset_id}},
        {"token_hash": token_hash, "user": user_id, "expires_at": expires_at},
        upsert=True,
        session=session,
    )


def find_reset(token_hash: str, now: datetime) -> Document | None:
    return database().password_resets.find_one(_usable(token_hash, now))


def take_reset(token_hash: str, now: datetime, session: ClientSession) -> Document | None:
    """Remove a reset token and return it, or None if there is none: of two that ask, one gets it."""
    return database().password_resets.find_one_and_delete(_usable(token_hash, now), session=session)


def delete_resets(reset_id: str, session: ClientSession) -> None:
    """Remove the row of this id and those whose ids start with it: all tokens of an address."""
    database().password_resets.delete_many({"_id": {"$regex": f"^{re.escape(reset_id)}"}}, session=session)


def _usable(token_hash: str, now: datetime) -> Document:
    # The TTL monitor comes by once a minute only. A decoy, written for an unknown address, has no user.
    return {"token_hash": {"$eq": token_hash}, "expires_at": {"$gt": now}, "user": {"$ne": None}}


def find_failures(ids: Collection[str], now: datetime) -> list[Document]:
    return list(database().login_failures.find({"_id": {"$in": list(ids)}, "expires_at": {"$gt": now}}))


def claim_attempt(row: Document, now: datetime) -> bool:
    """Let the row's delay run anew from now, unless somebody was faster; return whether this caller did it."""
    claimed = database().login_failures.update_one(
        {"_id": row["_id"], "last_failure_at": row.get("last_failure_at"), "failures": row["failures"]},
        {"$set": {"last_failure_at": now}},
    )
    return claimed.matched_count == 1


def count_failure(target_id: str, update: list[Document]) -> Document:
    """Apply the update and return what it made of the row."""
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
