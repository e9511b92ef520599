"""Users, the blocklist, reset tokens and wrong passwords in the database.

Whatever a client sent goes into a query behind `$eq`, so that it can never be read as an operator.
"""

from collections.abc import Collection
from datetime import datetime

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.client_session import ClientSession

from app.mongo import Document, database
from app.mongo.shared import SharedRead, by_id

# Every request with a token asks for these, so requests at the same time ask together.
_users: SharedRead[ObjectId, Document] = SharedRead(by_id("users"))
_revocations: SharedRead[str, Document] = SharedRead(by_id("revoked_tokens"))


def insert_user(user: Document, session: ClientSession) -> None:
    """Raises DuplicateKeyError when the e-mail address is taken: the unique index decides, nobody asks first."""
    database().users.insert_one(user, session=session)


def find_user(user_id: ObjectId) -> Document | None:
    return _users.read([user_id]).get(user_id)


def find_user_by_email(email: str) -> Document | None:
    return database().users.find_one({"email": {"$eq": email}})


def find_users(ids: Collection[ObjectId]) -> list[Document]:
    return list(_users.read(ids).values())


def find_roles(ids: Collection[ObjectId], session: ClientSession) -> dict[ObjectId, str]:
    """Return the users' roles as of an atomic block, which no shared reading may answer."""
    found = database().users.find({"_id": {"$in": list(ids)}}, {"role": 1}, session=session)
    return {user["_id"]: user["role"] for user in found}


def replace_password(
    user_id: ObjectId, password_hash: str, session: ClientSession, *, replaced_hash: str | None = None
) -> Document | None:
    """Set the user's password and begin their next generation of sessions; return the user as it is then.

    With `replaced_hash`, only if that is still the hash; else return None.
    """
    still = {} if replaced_hash is None else {"password_hash": {"$eq": replaced_hash}}
    return database().users.find_one_and_update(
        {"_id": {"$eq": user_id}, **still},
        {"$set": {"password_hash": password_hash}, "$inc": {"session_generation": 1}},
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


def insert_spent_token(token_id: str, expires_at: datetime) -> None:
    """Put a token's id on the blocklist; raises DuplicateKeyError if it is there: the index decides who was first."""
    database().revoked_tokens.insert_one({"_id": token_id, "expires_at": expires_at})


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


def put_reset(
    reset_id: str, *, token_hash: str, user_id: ObjectId | None, expires_at: datetime, session: ClientSession
) -> None:
    """Keep the hash of the one reset token of an address, in place of the one before."""
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


def delete_reset(reset_id: str, session: ClientSession) -> None:
    database().password_resets.delete_one({"_id": {"$eq": reset_id}}, session=session)


def _usable(token_hash: str, now: datetime) -> Document:
    # The TTL monitor comes by once a minute only. A decoy, written for an unknown address, has no user.
    return {"token_hash": {"$eq": token_hash}, "expires_at": {"$gt": now}, "user": {"$ne": None}}


def find_failures(ids: Collection[str], now: datetime) -> list[Document]:
    return list(database().login_failures.find({"_id": {"$in": list(ids)}, "expires_at": {"$gt": now}}))


def claim_attempt(row: Document, *, blocked_until: datetime) -> bool:
    """Push the row's delay on, unless somebody was faster; return whether this caller did it."""
    claimed = database().login_failures.update_one(
        {"_id": row["_id"], "blocked_until": row["blocked_until"], "failures": row["failures"]},
        {"$set": {"blocked_until": blocked_until}},
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
