"""Recorded transactions, for reading. They are written by the ledger alone."""

from bson import ObjectId

from app.ledger.records import Transaction, TransactionKind
from app.ledger.repository import to_transaction
from app.mongo import database


def find_transaction(transaction_id: ObjectId) -> Transaction | None:
    # The collection also has what else idempotency keys were spent on.
    query = {"_id": transaction_id, "kind": {"$in": [kind.value for kind in TransactionKind]}}
    document = database().transactions.find_one(query)
    return to_transaction(document) if document else None
