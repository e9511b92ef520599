"""Recorded transactions, for reading. They are written by the ledger alone."""

from bson import ObjectId

from app.ledger.records import Transaction
from app.ledger.repository import to_transaction
from app.mongo import database


def find_transaction(transaction_id: ObjectId) -> Transaction | None:
    # The collection also keeps what else idempotency keys were spent on, which names no accounts.
    document = database().transactions.find_one({"_id": transaction_id, "accounts": {"$exists": True}})
    return to_transaction(document) if document else None
