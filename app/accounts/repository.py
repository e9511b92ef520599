"""Accounts in the database: {_id, number, user, name, kind, currency, status, created_at}.

Their money is in the ledger. A treasury has no `user`.
"""

from bson import ObjectId
from pymongo.client_session import ClientSession

from app.mongo import Document, database, together
from app.mongo.together import Kind, by_id

ACCOUNTS = by_id("accounts")


def _of_users(users: list[ObjectId]) -> list[Document]:
    return [{"$match": {"user": {"$in": users}}}, {"$group": {"_id": "$user", "accounts": {"$push": "$$ROOT"}}}]


ACCOUNTS_OF_USERS = Kind("accounts", _of_users)


def insert_account(account: Document, session: ClientSession) -> None:
    database().accounts.insert_one(account, session=session)


def exists(account_id: ObjectId, session: ClientSession) -> bool:
    return database().accounts.find_one({"_id": account_id}, projection=["_id"], session=session) is not None


def find_account(account_id: ObjectId) -> Document | None:
    return together.find(ACCOUNTS, [account_id]).get(account_id)


def find_accounts_of(user_id: ObjectId) -> list[Document]:
    """Return the user's accounts, oldest first."""
    found = together.find(ACCOUNTS_OF_USERS, [user_id]).get(user_id, {"accounts": []})
    return sorted(found["accounts"], key=lambda account: (account["created_at"], account["_id"]))


def count_accounts_of(user_id: ObjectId, session: ClientSession, *, limit: int) -> int:
    """Return how many accounts the user has, or `limit` if there are more."""
    return database().accounts.count_documents({"user": user_id}, limit=limit, session=session)


def rename(account_id: ObjectId, user_id: ObjectId, name: str, session: ClientSession | None = None) -> Document | None:
    """Rename the user's account and return it as it was before, or None if the user has no such account."""
    return database().accounts.find_one_and_update(
        {"_id": account_id, "user": user_id}, {"$set": {"name": name}}, session=session
    )
