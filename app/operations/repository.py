"""Counts what waits in the database, for those who watch over the bank."""

from datetime import datetime

from app.ledger.records import TransactionStatus
from app.mongo import database

# Counting walks an index. Beyond this many the exact number says no more.
COUNTED_MAX = 100_000


def count_holds(now: datetime) -> dict[str, int]:
    """Return how many pending holds are open and how many are overdue."""
    pending = {"status": TransactionStatus.PENDING.value}
    count = database().transactions.count_documents
    return {
        "open": count({**pending, "expires_at": {"$gt": now}}, limit=COUNTED_MAX),
        "overdue": count({**pending, "expires_at": {"$lte": now}}, limit=COUNTED_MAX),
    }
