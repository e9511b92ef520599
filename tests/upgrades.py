"""Runs single migrations on a bank, as an upgrade runs them."""

from collections.abc import Callable

from pymongo.database import Database

from app.mongo import Document
from app.mongo.migrations.steps import Step

# A database beside the bank's, for tests of making and upgrading one.
EMPTY_DATABASE = "fincore_empty"


def run_again(migration: Callable[[Step], None], database: Database[Document]) -> list[str]:
    """Run a migration from its start, recorded or not; return what the operator has to decide."""
    notes: list[str] = []
    migration(Step(database, None, lambda _done: None, lambda _position: None, notes.append))
    return notes
