"""Leases: at most one of all workers on all hosts does a thing at a time."""

import os
import uuid
from datetime import timedelta

from pymongo.errors import DuplicateKeyError

from app import clock
from app.mongo import database

_names: dict[int, str] = {}


def _own_name() -> str:
    """Return a name that no other process has: containers share host names and process ids."""
    return _names.setdefault(os.getpid(), uuid.uuid4().hex)


def acquire(name: str, duration: timedelta) -> bool:
    """Take or extend the lease for this process; return whether it has it. It ends by itself after `duration`."""
    holder = _own_name()
    now = clock.now()
    try:
        database().leases.update_one(
            {"_id": name, "$or": [{"holder": holder}, {"until": {"$lte": now}}]},
            {"$set": {"holder": holder, "until": now + duration}},
            upsert=True,
        )
    except DuplicateKeyError:
        # The document is there and did not match: somebody else has the lease.
        return False
    return True
