"""Leases: only one worker on all hosts holds a lease of a given name at a time. And signs of life, which many may give.

A document: {_id: the name, holder, until}.
"""

import os
import uuid
from datetime import timedelta

from pymongo.errors import DuplicateKeyError

from app import clock
from app.mongo import database

_names: dict[int, str] = {}


def _own_name() -> str:
    """Return a random name for this process. Host name and process id will not do: containers may share both."""
    return _names.setdefault(os.getpid(), uuid.uuid4().hex)


def acquire(name: str, duration: timedelta) -> bool:
    """Take or extend the lease for this process; return whether it holds it. It ends by itself after `duration`."""
    holder = _own_name()
    now = clock.now()
    try:
        database().leases.update_one(
            {"_id": name, "$or": [{"holder": holder}, {"until": {"$lte": now}}]},
            {"$set": {"holder": holder, "until": now + duration}},
            upsert=True,
        )
    except DuplicateKeyError:
        # The document exists but did not match, so another process holds the lease.
        return False
    return True


def give_sign(name: str, duration: timedelta) -> None:
    """Say that a process of this kind is alive, and counts as such for `duration`. Any number of them may say so."""
    changes = {"holder": _own_name(), "until": clock.now() + duration}
    database().leases.update_one({"_id": name}, {"$set": changes}, upsert=True)


def has_sign(name: str) -> bool:
    """Tell whether a process of this kind counts as alive."""
    return database().leases.find_one({"_id": name, "until": {"$gt": clock.now()}}) is not None
