"""Saved payees in the database: {_id, user, account, number, name, created_at}.

`user` saved the payee and gave it its `name`. Who owns the account is not kept, because people may change their names.
"""

from bson import ObjectId
from pymongo import ASCENDING, ReturnDocument
from pymongo.client_session import ClientSession

from app.mongo import Document, database


def insert_payee(payee: Document, session: ClientSession) -> None:
    """Insert a payee; raises DuplicateKeyError if the user has saved this number. The unique index decides that."""
    database().payees.insert_one(payee, session=session)


def count_payees_of(user_id: ObjectId, session: ClientSession, *, limit: int) -> int:
    """Return how many payees the user has saved, or `limit` if there are more."""
    return database().payees.count_documents({"user": user_id}, limit=limit, session=session)


def find_payees_of(user_id: ObjectId) -> list[Document]:
    """Return the payees that the user has saved, oldest first."""
    found = database().payees.find({"user": user_id})
    return sorted(found, key=lambda payee: (payee["created_at"], payee["_id"]))


def find_payee_by_number(user_id: ObjectId, number: str) -> Document | None:
    return database().payees.find_one({"user": user_id, "number": {"$eq": number}}, sort=[("_id", ASCENDING)])


def rename(payee_id: ObjectId, user_id: ObjectId, name: str) -> Document | None:
    """Rename the user's payee and return it, or None if the user has no such payee."""
    return database().payees.find_one_and_update(
        {"_id": payee_id, "user": user_id}, {"$set": {"name": name}}, return_document=ReturnDocument.AFTER
    )


def delete(payee_id: ObjectId, user_id: ObjectId) -> bool:
    """Delete the user's payee; return False if the user has no such payee."""
    return database().payees.delete_one({"_id": payee_id, "user": user_id}).deleted_count == 1
