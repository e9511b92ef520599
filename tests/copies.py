"""Shared by the tests of backups."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pymongo import MongoClient
from pymongo.database import Database

from app import mongo
from app.mongo import Document
from app.mongo.schema import VALIDATORS
from local.replica_set import ReplicaSet

# Clients may have seen positions that were given after the copy.
POSITIONS_LEFT_OUT = 10**12
COPIED = sorted(VALIDATORS.keys() - {"leases"})


class Silent:
    """A watch that records what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def says(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def follows(self, title: str, length: int) -> Iterator[Callable[[int], None]]:
        yield lambda _done: None


def content(database: Database[Document]) -> dict[str, list[Document]]:
    return {name: list(database[name].find().sort("_id", 1)) for name in COPIED}


def as_restored(content: dict[str, list[Document]]) -> dict[str, list[Document]]:
    """Return this content as a restore leaves it: unchanged, except for the positions of the feed that it skips."""
    positions = {each["_id"]: each["position"] for each in content["feed"]}
    positions["outbox"] = positions.get("outbox", 0) + POSITIONS_LEFT_OUT
    return {**content, "feed": [{"_id": name, "position": positions[name]} for name in sorted(positions)]}


@contextmanager
def used(replica_set: ReplicaSet, name: str) -> Iterator[Database[Document]]:
    """Let the application use this database with an administrator's rights."""
    mongo.close()
    client = MongoClient[Document](replica_set.admin_uri, tz_aware=True)
    mongo.use(client[name])
    try:
        yield client[name]
    finally:
        mongo.close()
