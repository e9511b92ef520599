"""The starting point of many tests: made once by calls of the API, and restored for later tests."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar

from pymongo.database import Database
from pymongo.errors import BulkWriteError
from pymongo.write_concern import WriteConcern

from app import clock
from app.mongo import Document
from app.mongo.schema import VALIDATORS
from tests.clients import Client
from tests.people import Bank

Made = TypeVar("Made")
# Well below the lifetime of an access token, and of everything else that expires.
FRESH_S = 120.0
TAKEN = 11000
# Deleting nothing takes nearly as long as deleting something, and most tests touch few collections.
WHAT_HOLDS_ANYTHING: list[Document] = [
    {"$match": {"_id": "no user"}},
    *(
        {"$unionWith": {"coll": name, "pipeline": [{"$limit": 1}, {"$project": {"_id": 0, "name": name}}]}}
        for name in sorted(VALIDATORS.keys() - {"schema", "users"})
    ),
]


@dataclass(frozen=True)
class Kept:
    """The result of such calls through this client, with the contents of the database afterwards."""

    made: Any
    client: Client
    made_at: float
    made_on: date
    documents: dict[str, list[Document]]


_kept: dict[Callable[[Bank], Any], Kept] = {}


def again(database: Database[Document], bank: Bank, make: Callable[[Bank], Made]) -> Made:
    """Return the result of `make` in a bank in which nothing else has happened, for this test alone."""
    kept, today = _kept.get(make), clock.now().date()
    # What was made today stands in a statement of today, so it is not kept beyond midnight.
    if kept is None or time.monotonic() - kept.made_at > FRESH_S or kept.made_on != today:
        made_at, made = time.monotonic(), make(bank)
        # Users last: writing them waits until everything can be read.
        names = [*sorted(VALIDATORS.keys() - {"schema", "users"}), "users"]
        found = {name: list(database[name].find()) for name in names}
        kept = _kept[make] = Kept(
            made, bank.client, made_at, today, {name: documents for name, documents in found.items() if documents}
        )
    else:
        hasty = database.with_options(write_concern=WriteConcern(w=1))
        for name, documents in kept.documents.items():
            _insert(database if name == "users" else hasty, name, documents)
    made_again: Made = copy.deepcopy(kept.made, {id(kept.client): bank.client})
    return made_again


def _insert(database: Database[Document], name: str, documents: list[Document]) -> None:
    try:
        database[name].insert_many(documents, ordered=False)
    except BulkWriteError as error:
        # The system user and its session are there already.
        if any(fault["code"] != TAKEN for fault in error.details["writeErrors"]):
            raise


def empty(admin_database: Database[Document]) -> None:
    # One wait for the disk is enough, at the end: until it is over, readers see what was there before.
    hasty = admin_database.with_options(write_concern=WriteConcern(w=1))
    for found in admin_database.users.aggregate(WHAT_HOLDS_ANYTHING):
        hasty[found["name"]].delete_many({})
    admin_database.users.delete_many({})
