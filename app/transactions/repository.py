"""Recorded transactions, for reading. They are written by the ledger alone."""

from bson import ObjectId
from pymongo.client_session import ClientSession

from app.ledger.records import Transaction, TransactionKind
from app.ledger.repository import to_transaction
from app.mongo import database


def find_transaction(transaction_id: ObjectId, session: ClientSession | None = None) -> Transaction | None:
    # The collection also has what else idempotency keys were spent on.
    query = {"_id": transaction_id, "kind": {"$in": [kind.value for kind in TransactionKind]}}
    document = database().transactions.find_one(query, session=session)
    return to_transaction(document) if document else None
