"""Makes long journals quickly: writes entries past the ledger, for tests of readers."""

from typing import Any

from bson import Int64, ObjectId
from pymongo.database import Database

from app.mongo import Document

INSERTED_AT_ONCE = 10_000


def lengthen(database: Database[Document], account: str, count: int, **changes: Any) -> None:
    """Append copies of an account's newest entry, with these changes and the sequences that follow it."""
    (newest,) = database.ledger_entries.find({"account": ObjectId(account)}).sort("sequence", -1).limit(1)
    first = newest["sequence"] + 1
    for begin in range(first, first + count, INSERTED_AT_ONCE):
        sequences = range(begin, min(begin + INSERTED_AT_ONCE, first + count))
        database.ledger_entries.insert_many(
            {**newest, **changes, "_id": ObjectId(), "sequence": Int64(sequence)} for sequence in sequences
        )
