"""A database without rules, and inserts into it, for tests of what goes over connections."""

import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import pytest
from pymongo import monitoring
from pymongo.database import Database
from pymongo.server_selectors import writable_server_selector
from pymongo.synchronous import pool

from app import mongo
from app.mongo import Document, Insert
from app.mongo.pipelined import SENT_TOGETHER_BYTES

COLLECTIONS = ("first", "second", "third")
TIMEOUT_MS = 20_000
# The driver's function that opens a connection.
CONNECT = "_configured_socket_interface"
# A document so large that whatever it is in is sent at once.
LARGE = "x" * SENT_TOGETHER_BYTES


class Closed(monitoring.ConnectionPoolListener):
    """Counts the connections that were given up."""

    def __init__(self) -> None:
        self.count = 0

    def connection_closed(self, event: monitoring.ConnectionClosedEvent) -> None:
        self.count += 1

    def _ignore(self, event: Any) -> None:
        """Do nothing."""

    pool_created = pool_ready = pool_cleared = pool_closed = _ignore
    connection_created = connection_ready = connection_checked_in = connection_checked_out = _ignore
    connection_check_out_started = connection_check_out_failed = _ignore


def one_of_each(**more: Any) -> list[Insert]:
    return [Insert(name, [{"_id": 1, **more}]) for name in COLLECTIONS]


def insert(inserts: Iterable[Insert]) -> None:
    mongo.atomically(lambda session: mongo.insert_all(inserts, session))


def counts(database: Database[Document]) -> list[int]:
    return [database[name].count_documents({}) for name in COLLECTIONS]


def refuse_the_next_connection(
    database: Database[Document],
    stack: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Have others use all connections until the stack ends, and refuse the next one that this thread opens.

    `meanwhile` is called before the refusal.
    """
    client = database.client
    server = client._select_server(writable_server_selector, None, "test")
    while server.pool.conns:
        stack.enter_context(client._checkout(server, None))
    connect = getattr(pool, CONNECT)
    thread = threading.get_ident()

    def refuse(*args: Any) -> Any:
        if threading.get_ident() != thread:
            return connect(*args)
        monkeypatch.setattr(pool, CONNECT, connect)
        meanwhile()
        raise ConnectionRefusedError

    monkeypatch.setattr(pool, CONNECT, refuse)
