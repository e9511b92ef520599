"""The one way to MongoDB: a lazy client per process, `atomically` and `moment`.

MongoDB's own transactions are called *atomic blocks* here, because in a bank a
transaction is something else.
"""

import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import pymongo
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import BulkWriteError, ConnectionFailure, DuplicateKeyError, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from app.errors import LedgerBusy

Document = dict[str, Any]
Result = TypeVar("Result")

DATABASE_NAME_DEFAULT = "fincore"
HEARTBEAT_MS = 2_000
POOL_SIZE_MAX = 200
BACKOFF_BASE_S = 0.002
BACKOFF_MAX_S = 0.128
COMMIT_RETRY_PAUSE_S = 0.05
# An abort is sent even when the block's own time is over: an open transaction keeps what it wrote locked.
ABORT_TIMEOUT_S = 1.0

DUPLICATE_KEY_CODE = 11000


@dataclass(frozen=True, slots=True)
class _Connection:
    pid: int
    database: Database[Document]


_lock = threading.Lock()
_uri: str | None = None
_timeout_ms = 4_000
_connection: _Connection | None = None


def connect(*, uri: str, timeout_ms: int) -> None:
    """Say which replica set to use. No connection is opened before the first use, so workers may fork after this."""
    global _uri, _timeout_ms
    close()
    with _lock:
        _uri, _timeout_ms = uri, timeout_ms


def use(database: Database[Document]) -> None:
    """Use this database, such as one of mongomock's, instead of connecting to one."""
    global _connection
    with _lock:
        _connection = _Connection(os.getpid(), database)


def close() -> None:
    """Close this process's client, if it has one. The next use opens another."""
    global _connection
    with _lock:
        if _connection is not None and _connection.pid == os.getpid():
            _connection.database.client.close()
        _connection = None


def database() -> Database[Document]:
    """Return the bank's database on this process's own client, which survives neither forks nor `close`."""
    connection = _connection
    if connection is None or connection.pid != os.getpid():
        connection = _open()
    return connection.database


def new_client(uri: str, *, timeout_ms: int) -> MongoClient[Document]:
    """Return a client with the guarantees the laws need: majority, journaled, and never waiting for ever."""
    return MongoClient(
        uri,
        appname="fincore",
        tz_aware=True,
        w="majority",
        journal=True,
        readConcernLevel="majority",
        timeoutMS=timeout_ms,
        serverSelectionTimeoutMS=timeout_ms,
        connectTimeoutMS=timeout_ms,
        heartbeatFrequencyMS=HEARTBEAT_MS,
        maxPoolSize=POOL_SIZE_MAX,
    )


def moment() -> ClientSession:
    """Return a session all of whose reads are of one moment."""
    return database().client.start_session(snapshot=True)


def ping() -> None:
    """Ask the primary for a sign of life; raises PyMongoError without one."""
    database().command("ping")


def atomically(
    block: Callable[[ClientSession], Result],
    *,
    timeout_ms: int | None = None,
    is_lost_race: Callable[[PyMongoError], bool] = lambda _error: False,
) -> Result:
    """Run `block` as one atomic block and return what it returned, once that is durable on a majority.

    The block may run several times: when MongoDB reports a write conflict or a
    failover, and when `is_lost_race` says that an error means somebody else was
    faster. It must neither swallow PyMongoErrors nor touch anything but the
    database through its session.

    Raises LedgerBusy when conflicts last until the deadline, PyMongoError when the
    database fails, and whatever the block raises. After an exception other than the
    block's own it is not known whether the block took effect.
    """
    begun = time.monotonic()
    limit_s = (timeout_ms or _timeout_ms) / 1000
    contended = False
    with database().client.start_session() as session:
        for attempt in itertools.count():
            # Inside `pymongo.timeout` the client's own time-outs do not count, so they are given again.
            allowance_s = max(min(limit_s - (time.monotonic() - begun), _timeout_ms / 1000), 0.001)
            try:
                with pymongo.timeout(allowance_s):
                    session.start_transaction(
                        read_concern=ReadConcern("snapshot"),
                        write_concern=WriteConcern(w="majority", j=True),
                    )
                    result = block(session)
                    _commit(session)
                return result
            except PyMongoError as error:
                _abort(session)
                if contended and error.timeout and allowance_s < _timeout_ms / 1000:
                    # The runs before used up the time, and this one was cut short.
                    raise LedgerBusy from error
                if not (_is_transient(error) or is_lost_race(error)):
                    raise
                pause_s = random.uniform(0, min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2 ** min(attempt, 16)))
                # A failover is worth waiting for, but not as long as a queue that moves.
                away = isinstance(error, ConnectionFailure)
                contended = not away
                if time.monotonic() - begun + pause_s >= (min(limit_s, _timeout_ms / 1000) if away else limit_s):
                    if away:
                        raise
                    raise LedgerBusy from error
                time.sleep(pause_s)
            except BaseException:
                _abort(session)
                raise
    raise AssertionError("unreachable: the loop above only ends by returning or raising")


def duplicate_key(error: PyMongoError) -> frozenset[str] | None:
    """Return the fields of the unique index that `error` says was violated, or None if it says something else."""
    if isinstance(error, BulkWriteError):
        details: Mapping[str, Any] = next(iter((error.details or {}).get("writeErrors", ())), {})
    elif isinstance(error, DuplicateKeyError):
        details = error.details or {}
    else:
        return None
    if details.get("code") != DUPLICATE_KEY_CODE:
        return None
    return frozenset(details.get("keyPattern", {}))


def is_away(error: PyMongoError) -> bool:
    """Tell whether `error` means that the database can not be reached or does not answer, rather than a bug."""
    if isinstance(error, ConnectionFailure) or error.timeout:
        return True
    # A primary that steps down, shuts down or recovers answers with one of these.
    return isinstance(error, OperationFailure) and (
        error.has_error_label("RetryableWriteError") or _is_transient(error)
    )


def _is_transient(error: PyMongoError) -> bool:
    return error.has_error_label("TransientTransactionError")


def _commit(session: ClientSession) -> None:
    # Only the commit is tried again when its result is unknown: it may have happened, and the block must not run twice.
    while True:
        try:
            session.commit_transaction()
            return
        except PyMongoError as error:
            if error.timeout or not error.has_error_label("UnknownTransactionCommitResult"):
                raise
            time.sleep(COMMIT_RETRY_PAUSE_S)


def _abort(session: ClientSession) -> None:
    if session.in_transaction:
        with pymongo.timeout(ABORT_TIMEOUT_S):
            session.abort_transaction()


def _open() -> _Connection:
    global _connection
    with _lock:
        if _connection is None or _connection.pid != os.getpid():
            if _uri is None:
                raise RuntimeError("app.mongo.connect() was not called.")
            client = new_client(_uri, timeout_ms=_timeout_ms)
            _connection = _Connection(os.getpid(), client.get_default_database(DATABASE_NAME_DEFAULT))
        return _connection
