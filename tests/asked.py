"""Shows what the bank in this process sends to the database."""

from collections.abc import Iterator
from contextlib import contextmanager

from pymongo.database import Database

from app.mongo import Document
from app.telemetry import metrics
from tests.conftest import APP_NAME


def times_asked(command: str) -> int:
    """Return how many commands of this name this process has sent. Other servers send commands of their own."""
    (counted,) = metrics.MONGO_SECONDS.labels(command).collect()
    return next(int(sample.value) for sample in counted.samples if sample.name.endswith("_count"))


@contextmanager
def commands(database: Database[Document]) -> Iterator[list[Document]]:
    """Collect what this process's bank sends to the database while the block runs."""
    database.command("profile", 2)
    sent: list[Document] = []
    try:
        yield sent
    finally:
        database.command("profile", 0)
        # The background work of other servers is not part of a request. This process has none.
        mine = {"appName": APP_NAME, "ns": {"$ne": f"{database.name}.system.profile"}}
        sent += database["system.profile"].find(mine)
        database.drop_collection("system.profile")
