"""Atomic blocks, which write all or nothing, and moments, whose reads all see the same time.

MongoDB's transactions are called *atomic blocks* here, because in a bank a transaction is
something else.
"""

import itertools
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pymongo
from pymongo.client_session import ClientSession
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    DuplicateKeyError,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
)
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from app.errors import LedgerBusy
from app.mongo import client, pipelined
from app.telemetry import metrics, spans

Result = TypeVar("Result")

BACKOFF_BASE_S = 0.002
BACKOFF_MAX_S = 0.128
COMMIT_RETRY_PAUSE_S = 0.05
# An abort gets its own time, even if the block's is over, because an open block keeps its documents locked.
ABORT_TIMEOUT_S = 1.0

DUPLICATE_KEY_CODE = 11000
# What servers answer that cannot serve just now, by the drivers' specification "Retryable Reads". And NoSuchTransaction
# (251): so a new primary answers a commit of which it does not know what the old one did with it.
AWAY_CODES = frozenset({6, 7, 89, 91, 134, 189, 251, 262, 9001, 10107, 11600, 11602, 13435, 13436})


def moment() -> ClientSession:
    """Return a session whose reads all see the database as of one moment."""
    return client.database().client.start_session(snapshot=True)


def atomically(
    block: Callable[[ClientSession], Result],
    *,
    timeout_ms: int | None = None,
    is_lost_race: Callable[[PyMongoError], bool] = lambda _error: False,
    on_conflict: Callable[[], None] = lambda: None,
) -> Result:
    """Run `block` as one atomic block, and return its result once its writes are durable on a majority.

    The block may run several times: after a write conflict, after a failover, and after an
    error for which `is_lost_race` is true. So it must not catch errors of the database, and must touch
    nothing but the database, through its session. After a conflict or a lost race, `on_conflict` is called before the
    block runs again.

    Raises LedgerBusy when conflicts last until the deadline, PyMongoError when the database
    fails, and whatever the block raises. After LedgerBusy or PyMongoError the block may or may
    not have taken effect.
    """
    begun = time.monotonic()
    limit_s = client.timeout_s() if timeout_ms is None else timeout_ms / 1000
    contended = False
    with spans.span("block"), client.database().client.start_session() as session:
        for attempt in itertools.count():
            # `pymongo.timeout` replaces the client's own time-out, so it has to be applied here again.
            allowance_s = max(min(limit_s - (time.monotonic() - begun), client.timeout_s()), 0.001)
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
                if contended and error.timeout and allowance_s < client.timeout_s():
                    # Earlier runs used up the time, and this one was cut short.
                    raise LedgerBusy from error
                if not (_is_transient(error) or is_lost_race(error)):
                    raise
                pause_s = random.uniform(0, min(BACKOFF_MAX_S, BACKOFF_BASE_S * 2 ** min(attempt, 16)))
                # Wait for a failover too, but not as long as for conflicts, which end when others commit.
                away = isinstance(error, ConnectionFailure)
                contended = not away
                wait_limit_s = min(limit_s, client.timeout_s()) if away else limit_s
                if time.monotonic() - begun + pause_s >= wait_limit_s:
                    if away:
                        raise
                    raise LedgerBusy from error
                metrics.BLOCK_RERUNS.inc()
                time.sleep(pause_s)
                if not away:
                    on_conflict()
            except BaseException:
                _abort(session)
                raise
    raise AssertionError("unreachable: the loop above only ends by returning or raising")


def duplicate_key(error: PyMongoError) -> frozenset[str] | None:
    """Return the fields of the unique index that was violated, or None if `error` is another error."""
    if isinstance(error, BulkWriteError):
        details: Mapping[str, Any] = next(iter((error.details or {}).get("writeErrors", ())), {})
    elif isinstance(error, DuplicateKeyError):
        details = error.details or {}
    else:
        return None
    if details.get("code") != DUPLICATE_KEY_CODE:
        return None
    return frozenset(details.get("keyPattern", {}))


def is_away(error: Exception) -> bool:
    """Tell whether `error` means that the database cannot be reached or does not answer, rather than a bug."""
    if not isinstance(error, PyMongoError):
        return False
    if isinstance(error, ConnectionFailure) or error.timeout:
        return True
    # A primary that steps down, shuts down or recovers answers with one of these.
    return isinstance(error, OperationFailure) and (
        error.code in AWAY_CODES or error.has_error_label("RetryableWriteError") or _is_transient(error)
    )


def _is_transient(error: PyMongoError) -> bool:
    return error.has_error_label("TransientTransactionError")


def _commit(session: ClientSession) -> None:
    if pipelined.is_spoiled(session):
        raise InvalidOperation("Writes of this block failed, and it caught the error. It must not catch errors.")
    # If the result is unknown, only the commit is tried again: it may have succeeded, and the block must not run twice.
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
