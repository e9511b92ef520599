"""The connection to MongoDB: one lazy client for each process, with durable reads and writes."""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient, monitoring
from pymongo.database import Database

from app.mongo.measures import CommandTimer
from app.mongo.pools import watch
from app.settings.policies import MongoPolicy
from app.telemetry import spans

Document = dict[str, Any]

DATABASE_NAME_DEFAULT = "fincore"
# The name of this program in the database's log and profile.
APP_NAME = "fincore"
HEARTBEAT_MS = 2_000
POOL_SIZE_MAX = 200
# For work that may take long, such as building an index. None would leave the client's own limit in force.
NO_LIMIT_S = 7 * 24 * 3_600


@dataclass(frozen=True, slots=True)
class _Connection:
    pid: int
    database: Database[Document]


_lock = threading.Lock()
_policy: MongoPolicy | None = None
_connection: _Connection | None = None


def connect(policy: MongoPolicy) -> None:
    """Set which replica set to use. No connection is opened before the first use, so workers may fork after this."""
    global _policy
    close()
    with _lock:
        _policy = policy


def timeout_s() -> float:
    """Return how long one operation may take."""
    return _chosen().timeout_ms / 1000


def use(database: Database[Document]) -> None:
    """Use this database, such as a mongomock one, instead of connecting."""
    global _connection
    with _lock:
        _connection = _Connection(os.getpid(), database)


def close() -> None:
    """Close this process's client, if it has one. The next use opens another one."""
    global _connection
    with _lock:
        if _connection is not None and _connection.pid == os.getpid():
            _connection.database.client.close()
        _connection = None


def database() -> Database[Document]:
    """Return the bank's database on this process's own client. Ask again after a fork or `close`."""
    connection = _connection
    if connection is None or connection.pid != os.getpid():
        connection = _open()
    return connection.database


def new_client(uri: str, *, timeout_ms: int, is_timed: bool = False) -> MongoClient[Document]:
    """Return a client that reads and writes with majority, journaled, and gives up after `timeout_ms`.

    If it `is_timed`, its commands and connections count in the metrics.
    """
    return MongoClient(
        uri,
        appname=APP_NAME,
        tz_aware=True,
        w="majority",
        journal=True,
        readConcernLevel="majority",
        timeoutMS=timeout_ms,
        serverSelectionTimeoutMS=timeout_ms,
        connectTimeoutMS=timeout_ms,
        heartbeatFrequencyMS=HEARTBEAT_MS,
        maxPoolSize=POOL_SIZE_MAX,
        event_listeners=[*_listeners()] if is_timed else [],
    )


def _listeners() -> Iterator[monitoring.CommandListener | monitoring.ConnectionPoolListener]:
    yield CommandTimer()
    yield watch
    if spans.is_on():
        yield spans.CommandSpans()


def _chosen() -> MongoPolicy:
    if _policy is None:
        raise RuntimeError("app.mongo.connect() was not called.")
    return _policy


def _open() -> _Connection:
    global _connection
    with _lock:
        if _connection is None or _connection.pid != os.getpid():
            policy = _chosen()
            client = new_client(policy.uri, timeout_ms=policy.timeout_ms, is_timed=True)
            _connection = _Connection(os.getpid(), client.get_default_database(DATABASE_NAME_DEFAULT))
        return _connection
