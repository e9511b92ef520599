"""Leases, each of which only one process on all hosts holds at a time, and signs of life, which many may give.

A document: {_id: the name, holder, until}. The primary's clock decides when a lease or a sign ends.
"""

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

from pymongo import ReturnDocument
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, PyMongoError

from app.mongo.client import Document, database
from app.mongo.readiness import NotReady

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
# A kept lease is extended this often while it lasts.
_EXTENSIONS = 4
_WAIT_S = 0.5

_names: dict[int, str] = {}


class LeaseLost(NotReady):
    """Another process has the lease now, or this one could not extend it in time."""


def own_name() -> str:
    """Return the name of this process. A random part tells containers apart that share host name and process id."""
    pid = os.getpid()
    return _names.setdefault(pid, f"{socket.gethostname()} {pid} {uuid.uuid4().hex[:12]}")


def shown(holder: str) -> str:
    """Return a holder's name in the operators' words."""
    host, pid, _ = [*holder.split(" "), "", ""][:3]
    return f"process {pid} on {host}" if pid else holder


def acquire(name: str, duration: timedelta) -> bool:
    """Take or extend the lease for this process; return whether it holds it. It ends by itself after `duration`."""
    return _take(database(), name, duration) == own_name()


def holder_of(database: Database[Document], name: str) -> str | None:
    """Return the present holder of the lease, or None."""
    is_running = {"$expr": {"$gt": ["$until", "$$NOW"]}}
    found = database.leases.find_one({"_id": name, **is_running})
    return found["holder"] if found else None


@contextlib.contextmanager
def kept(
    database: Database[Document], name: str, duration: timedelta, waits: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """Wait for the lease, and keep it while the context lasts. Yield a check that raises LeaseLost once it is lost.

    `waits` is called with the holder's name when it is another process, once for each such process.
    """
    _wait_for(database, name, duration, waits)
    keeper = _Keeper(database, name, duration)
    keeper.start()
    try:
        yield keeper.check
    finally:
        keeper.stop()


def _wait_for(database: Database[Document], name: str, duration: timedelta, waits: Callable[[str], None]) -> None:
    told = None
    while (holder := _take(database, name, duration)) != own_name():
        if holder not in (told, None):
            waits(str(holder))
            told = holder
        time.sleep(_WAIT_S)


class _Keeper:
    """Extends a lease from a thread."""

    def __init__(self, database: Database[Document], name: str, duration: timedelta) -> None:
        self._database = database
        self._name = name
        self._duration = duration
        self._taken_at = time.monotonic()
        self._is_lost = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"lease {name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        # If the database is away, the lease ends by itself.
        with contextlib.suppress(PyMongoError):
            is_ours = {"_id": self._name, "holder": own_name()}
            self._database.leases.update_one(is_ours, [{"$set": {"until": "$$NOW"}}])

    def check(self) -> None:
        if self._is_lost or time.monotonic() - self._taken_at > self._duration.total_seconds():
            raise LeaseLost(f"The lease {self._name!r} is lost, so that another process may go on. Run this again.")

    def _run(self) -> None:
        while not self._stopping.wait(self._duration.total_seconds() / _EXTENSIONS):
            begun = time.monotonic()
            with contextlib.suppress(PyMongoError):
                if _take(self._database, self._name, self._duration) == own_name():
                    self._taken_at = begun
                else:
                    self._is_lost = True


def _take(database: Database[Document], name: str, duration: timedelta) -> str | None:
    """Take the lease if it is free, or extend one's own. Return who holds it, or None if that is not known."""
    own = own_name()
    is_ours: Document = {"$or": [{"$eq": ["$holder", own]}, {"$lte": [{"$ifNull": ["$until", _LONG_AGO]}, "$$NOW"]}]}
    until = {"$add": ["$$NOW", int(duration.total_seconds() * 1000)]}
    try:
        found = database.leases.find_one_and_update(
            {"_id": name},
            [
                {
                    "$set": {
                        "holder": {"$cond": [is_ours, own, "$holder"]},
                        "until": {"$cond": [is_ours, until, "$until"]},
                    }
                }
            ],
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
    except DuplicateKeyError:
        # Another process made the document at the same time.
        return None
    return found["holder"] if found else None


def give_sign(name: str, duration: timedelta) -> None:
    """Give a sign of life that counts for `duration`. Any number of processes of this kind may give one."""
    until = {"$add": ["$$NOW", int(duration.total_seconds() * 1000)]}
    database().leases.update_one({"_id": name}, [{"$set": {"holder": own_name(), "until": until}}], upsert=True)


def has_sign(name: str) -> bool:
    """Tell whether any process of this kind counts as alive."""
    return holder_of(database(), name) is not None
