"""Users and revoked tokens in the database."""

from collections.abc import Collection
from datetime import datetime

from bson import ObjectId
from pymongo.client_session import ClientSession

from app.mongo import Document, database


def insert_user(user: Document, session: ClientSession) -> None:
    """Raises DuplicateKeyError when the e-mail address is taken: the unique index decides, nobody asks first."""
    database().users.insert_one(user, session=session)


def find_user(user_id: ObjectId) -> Document | None:
    return database().users.find_one({"_id": {"$eq": user_id}})


def find_user_by_email(email: str) -> Document | None:
    return database().users.find_one({"email": {"$eq": email}})


def insert_revocation(revoked_id: str, expires_at: datetime) -> None:
    """Put a token's or a session's id on the blocklist until the last token it stands for has expired by itself."""
    database().revoked_tokens.update_one(
        {"_id": {"$eq": revoked_id}}, {"$set": {"expires_at": expires_at}}, upsert=True
    )


def is_any_revoked(ids: Collection[str]) -> bool:
    return database().revoked_tokens.find_one({"_id": {"$in": list(ids)}}, projection=["_id"]) is not None
