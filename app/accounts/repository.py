"""Accounts in the database: {_id, user, name, kind, currency, status, created_at}. Their money is in the ledger.

A treasury has no `user`.
"""

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.client_session import ClientSession

from app.mongo import Document, database
from app.mongo.shared import SharedRead, by_id

_accounts: SharedRead[ObjectId, Document] = SharedRead(by_id("accounts"))


def insert_account(account: Document, session: ClientSession) -> None:
    database().accounts.insert_one(account, session=session)


def exists(account_id: ObjectId, session: ClientSession) -> bool:
    return database().accounts.find_one({"_id": account_id}, projection=["_id"], session=session) is not None


def find_account(account_id: ObjectId) -> Document | None:
    return _accounts.read([account_id]).get(account_id)


def find_accounts_of(user_id: ObjectId) -> list[Document]:
    """Return the user's accounts, oldest first."""
    return list(database().accounts.find({"user": user_id}).sort([("created_at", 1), ("_id", 1)]))


def count_accounts_of(user_id: ObjectId, session: ClientSession, *, limit: int) -> int:
    """Return how many accounts the user has, or `limit` if there are more."""
    return database().accounts.count_documents({"user": user_id}, limit=limit, session=session)


def rename(account_id: ObjectId, user_id: ObjectId, name: str) -> Document | None:
    """Rename the user's account and return it, or None if the user has no such account."""
    return database().accounts.find_one_and_update(
        {"_id": account_id, "user": user_id}, {"$set": {"name": name}}, return_document=ReturnDocument.AFTER
    )
