"""Commands of an atomic block that are sent together: what arrives, what is refused, what a broken connection leaves.

`app.mongo.pipelined` uses inner functions of PyMongo. These tests are also the check that a new version still has them.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from pymongo import message, monitoring
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import BulkWriteError, DocumentTooLarge, OperationFailure, PyMongoError
from pymongo.server_selectors import writable_server_selector
from pymongo.synchronous import pool
from pymongo.synchronous.pool import Connection

from app import mongo
from app.mongo import Document, Insert, pipelined, reads
from app.mongo.measures import seconds_of_thread
from app.mongo.pipelined import DOCUMENTS_OF_A_COMMAND, SENT_TOGETHER_BYTES
from app.telemetry import metrics
from local.replica_set import ReplicaSet

COLLECTIONS = ("first", "second", "third")
TIMEOUT_MS = 20_000
# The driver's function that opens a connection.
CONNECT = "_configured_socket_interface"
TOO_LARGE = "x" * 17 * 1024**2
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


@pytest.fixture
def closed() -> Closed:
    return Closed()


@pytest.fixture
def scratch(
    app: Flask, replica_set: ReplicaSet, closed: Closed, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database[Document]]:
    """A database with empty collections and no rules, in place of the bank's."""
    listeners = mongo.client._listeners
    monkeypatch.setattr(mongo.client, "_listeners", lambda: [*listeners(), closed])
    client = mongo.new_client(replica_set.admin_uri, timeout_ms=TIMEOUT_MS, is_timed=True)
    database = client["scratch"]
    for name in COLLECTIONS:
        database.create_collection(name)
    # The bank's own client would be left open.
    mongo.close()
    mongo.use(database)
    yield database
    client.drop_database(database)
    mongo.close()


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What this process does with its connections, in order: send something, or wait for an answer."""
    done: list[str] = []
    for name, function in (("send", Connection.send_message), ("wait", Connection.receive_message)):

        def noted(self: Connection, *args: Any, name: str = name, function: Any = function) -> Any:
            done.append(name)
            return function(self, *args)

        monkeypatch.setattr(Connection, function.__name__, noted)
    return done


def one_of_each(**more: Any) -> list[Insert]:
    return [Insert(name, [{"_id": 1, **more}]) for name in COLLECTIONS]


def insert(inserts: Iterable[Insert]) -> None:
    mongo.atomically(lambda session: mongo.insert_all(inserts, session))


def counts(database: Database[Document]) -> list[int]:
    return [database[name].count_documents({}) for name in COLLECTIONS]


def test_small_commands_are_one_round_trip(scratch: Database[Document], traffic: list[str]) -> None:
    insert(one_of_each())

    commit = ["send", "wait"]
    assert traffic == ["send", "wait", "wait", "wait", *commit]
    assert counts(scratch) == [1, 1, 1]


def test_the_answers_come_in_the_order_of_the_commands(scratch: Database[Document]) -> None:
    def block(session: ClientSession) -> list[Document]:
        look = {"aggregate": "first", "pipeline": [], "cursor": {}}
        return pipelined.run([look, {"insert": "first", "documents": [{"_id": 1}]}, dict(look)], session)

    before, inserted, after = mongo.atomically(block)

    assert before["cursor"]["firstBatch"] == []
    assert inserted["n"] == 1
    assert after["cursor"]["firstBatch"] == [{"_id": 1}]


def test_nothing_is_sent_for_nothing(scratch: Database[Document], traffic: list[str]) -> None:
    insert([Insert("first", []), Insert("second", iter(()))])
    assert traffic == []


def test_of_much_the_first_is_sent_while_the_rest_is_made(scratch: Database[Document], traffic: list[str]) -> None:
    sent_before: list[int] = []

    def documents() -> Iterator[Document]:
        for number in range(3 * DOCUMENTS_OF_A_COMMAND):
            sent_before.append(traffic.count("send"))
            yield {"_id": number, "padding": "x" * (SENT_TOGETHER_BYTES // DOCUMENTS_OF_A_COMMAND)}

    insert([Insert("first", documents())])

    assert sorted(set(sent_before)) == [0, 1, 2]
    assert traffic[:6] == ["send"] * 3 + ["wait"] * 3
    assert counts(scratch) == [3 * DOCUMENTS_OF_A_COMMAND, 0, 0]


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("padding", ["", LARGE], ids=["small", "large"])
def test_the_first_failure_is_told_and_nothing_is_written(
    scratch: Database[Document], closed: Closed, place: int, padding: str
) -> None:
    scratch[COLLECTIONS[place]].insert_one({"_id": 1})
    before = counts(scratch)

    with pytest.raises(BulkWriteError) as raised:
        insert(one_of_each(padding=padding))

    assert mongo.duplicate_key(raised.value) == frozenset({"_id"})
    assert f"scratch.{COLLECTIONS[place]} " in str(raised.value)
    assert counts(scratch) == before
    assert closed.count == 0, "The connection can be used again, and reading on is cheaper than a new one."


def test_a_command_that_the_server_refuses_ends_the_block(scratch: Database[Document], closed: Closed) -> None:
    commands: list[Document] = [
        {"insert": "first", "documents": [{"_id": 1}]},
        {"aggregate": "first", "pipeline": [{"$unheardOf": 1}], "cursor": {}},
        {"insert": "second", "documents": [{"_id": 1}]},
    ]
    with pytest.raises(OperationFailure, match=r"\$unheardOf"):
        mongo.atomically(lambda session: pipelined.run(commands, session))
    assert counts(scratch) == [0, 0, 0]
    assert closed.count == 0


def test_after_a_conflict_the_block_runs_again(scratch: Database[Document]) -> None:
    tries = 0
    with scratch.client.start_session() as other:
        other.start_transaction()
        scratch.second.insert_one({"_id": 1}, session=other)

        def block(session: ClientSession) -> None:
            nonlocal tries
            tries += 1
            if tries == 2:
                other.abort_transaction()
            mongo.insert_all(one_of_each(), session)

        mongo.atomically(block)
    assert (tries, counts(scratch)) == (2, [1, 1, 1])


@pytest.mark.parametrize("share", [0, 0.2, 0.4, 0.6, 0.8, 1])
@pytest.mark.parametrize("padding", ["", LARGE], ids=["small", "large"])
def test_a_connection_that_breaks_while_it_is_written_to_leaves_nothing(
    scratch: Database[Document], monkeypatch: pytest.MonkeyPatch, share: float, padding: str
) -> None:
    send = Connection.send_message
    tries = 0

    def breaks(self: Connection, message: bytes, size: int) -> None:
        nonlocal tries
        if b"insert" in message:
            tries += 1
        is_broken = tries == (2 if padding else 1)
        send(self, message[: int(len(message) * share)] if is_broken else message, size)
        if is_broken:
            tries = 10
            self._raise_connection_failure(OSError("broken"))

    monkeypatch.setattr(Connection, "send_message", breaks)
    insert(one_of_each(padding=padding))

    assert tries > 10, "The block ran again."
    assert counts(scratch) == [1, 1, 1]


@pytest.mark.parametrize("read", range(3))
def test_a_connection_that_breaks_before_all_answers_came_leaves_nothing(
    scratch: Database[Document], monkeypatch: pytest.MonkeyPatch, read: int
) -> None:
    receive = Connection.receive_message
    left = read

    def breaks(self: Connection, request_id: int | None) -> Any:
        nonlocal left
        left -= 1
        if left == -1:
            self._raise_connection_failure(OSError("broken"))
        return receive(self, request_id)

    scratch.client.admin.command("ping")
    monkeypatch.setattr(Connection, "receive_message", breaks)
    insert(one_of_each())

    assert left < -3, "The block ran again."
    assert counts(scratch) == [1, 1, 1]


def test_whoever_comes_next_does_not_read_the_answers_of_who_was_interrupted(
    scratch: Database[Document], closed: Closed, traffic: list[str]
) -> None:
    def interrupted() -> Iterator[Insert]:
        yield Insert("first", [{"_id": 1, "padding": LARGE}])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        insert(interrupted())

    assert traffic[0] == "send", "It was interrupted after something was sent."
    assert closed.count == 1
    assert scratch.command("ping")["ok"] == 1
    assert counts(scratch) == [0, 0, 0]


def test_what_is_interrupted_while_it_reads_gives_up_its_connection(
    scratch: Database[Document], closed: Closed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def process(*_: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(type(scratch.client), "_process_response", process)
    with pytest.raises(KeyboardInterrupt):
        insert(one_of_each())

    assert closed.count == 1
    assert scratch.command("ping")["ok"] == 1
    assert counts(scratch) == [0, 0, 0]


@pytest.mark.parametrize("place", range(3))
def test_a_document_that_is_too_large_is_refused(scratch: Database[Document], closed: Closed, place: int) -> None:
    inserts = one_of_each()
    inserts[place] = Insert(COLLECTIONS[place], [{"_id": 1, "text": TOO_LARGE}])
    with pytest.raises(DocumentTooLarge, match="BSON document too large"):
        insert(inserts)
    assert counts(scratch) == [0, 0, 0]
    assert scratch.command("ping")["ok"] == 1


def test_a_time_out_is_one(scratch: Database[Document]) -> None:
    sleep = {"$function": {"body": "function() { sleep(5000); return true }", "args": [], "lang": "js"}}
    slow: Document = {"aggregate": "first", "pipeline": [{"$match": {"$expr": sleep}}], "cursor": {}}
    scratch.first.insert_one({"_id": 1})
    commands = [{"insert": "second", "documents": [{"_id": 1}]}, slow]
    with pytest.raises(PyMongoError) as raised:
        mongo.atomically(lambda session: pipelined.run(commands, session), timeout_ms=500)
    assert raised.value.timeout
    assert 0 < slow["maxTimeMS"] < 500, "The server ends it too."
    assert counts(scratch) == [1, 0, 0]


def test_each_command_is_timed_and_no_moment_counts_twice(scratch: Database[Document]) -> None:
    def inserts_timed() -> int:
        (inserts,) = metrics.MONGO_SECONDS.labels("insert").collect()
        return next(int(sample.value) for sample in inserts.samples if sample.name.endswith("_count"))

    before, spent_before, begun = inserts_timed(), seconds_of_thread(), time.monotonic()
    insert(one_of_each(padding=LARGE))
    spent_s, passed_s = seconds_of_thread() - spent_before, time.monotonic() - begun

    assert inserts_timed() - before == 3
    assert 0 < spent_s < passed_s


def refuse_the_next_connection(database: Database[Document], stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have others use all connections until the stack ends, and the next new connection refused."""
    client = database.client
    server = client._select_server(writable_server_selector, None, "test")
    while server.pool.conns:
        stack.enter_context(client._checkout(server, None))
    connect = getattr(pool, CONNECT)

    def refuse(*_: object) -> None:
        monkeypatch.setattr(pool, CONNECT, connect)
        raise ConnectionRefusedError

    monkeypatch.setattr(pool, CONNECT, refuse)


AFTERWARDS: dict[str, Callable[[Database[Document], ClientSession], Any]] = {
    "commit": lambda _database, _session: None,
    "read": lambda database, session: database.first.find_one({"_id": 1}, session=session),
    "write": lambda database, session: database.first.update_one({"_id": 1}, {"$set": {"more": 1}}, session=session),
    "commands": lambda database, session: database.command("distinct", "first", key="_id", session=session),
    "pipelined": lambda _database, session: mongo.insert_all([Insert("first", [{"_id": 2}])], session),
}


@pytest.mark.parametrize("afterwards", AFTERWARDS.values(), ids=AFTERWARDS)
def test_a_block_is_not_begun_again_in_its_middle(
    scratch: Database[Document],
    monkeypatch: pytest.MonkeyPatch,
    afterwards: Callable[[Database[Document], ClientSession], Any],
) -> None:
    """If a block's first command gets no connection, the driver begins it again with the next. Here it has begun.

    A new primary would take what comes after as a block of its own, without the inserts.
    """
    sent: list[Document] = []
    encode = message._op_msg

    def noted(flags: int, command: Document, *args: Any, **options: Any) -> Any:
        if "txnNumber" in command:
            sent.append({"number": command["txnNumber"], "begins": "startTransaction" in command})
        return encode(flags, command, *args, **options)

    monkeypatch.setattr(message, "_op_msg", noted)
    with ExitStack() as stack:
        tries = 0

        def block(session: ClientSession) -> None:
            nonlocal tries
            tries += 1
            mongo.insert_all(one_of_each(), session)
            if tries == 1:
                refuse_the_next_connection(scratch, stack, monkeypatch)
            afterwards(scratch, session)

        mongo.atomically(block)

    for number in {each["number"] for each in sent}:
        assert [each["begins"] for each in sent if each["number"] == number].count(True) == 1
        assert next(each for each in sent if each["number"] == number)["begins"]
    assert all(scratch[name].count_documents({"_id": 1}) == 1 for name in COLLECTIONS)


def test_answers_are_told_apart_even_if_two_messages_have_the_same_id(
    scratch: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = message._op_msg

    def encoded(*args: Any, **options: Any) -> Any:
        _, encoded_message, *sizes = encode(*args, **options)
        return 7, encoded_message[:4] + (7).to_bytes(4, "little") + encoded_message[8:], *sizes

    monkeypatch.setattr(message, "_op_msg", encoded)
    insert(one_of_each())
    assert counts(scratch) == [1, 1, 1]


def test_a_server_that_has_too_much_to_do_is_asked_again(scratch: Database[Document]) -> None:
    tries = 0

    def block(session: ClientSession) -> None:
        nonlocal tries
        tries += 1
        mongo.insert_all(one_of_each(), session)
        if tries == 1:
            labels = ["RetryableError", "SystemOverloadedError"]
            raise OperationFailure("overloaded", 462, {"errorLabels": labels, "ok": 0})

    mongo.atomically(block)
    assert (tries, counts(scratch)) == (2, [1, 1, 1])


def test_commands_carry_the_time_that_the_cluster_told(scratch: Database[Document]) -> None:
    look: Document = {"aggregate": "first", "pipeline": [], "cursor": {}}
    with scratch.client.start_session() as session, session.start_transaction():
        session.advance_cluster_time(scratch.command("ping")["$clusterTime"])
        told = session.cluster_time
        (answer,) = pipelined.run([look], session)
        assert look["$clusterTime"] == told
        assert session.cluster_time is not None
        assert session.cluster_time["clusterTime"] >= answer["$clusterTime"]["clusterTime"]


def test_answers_are_read_as_the_database_is_told_to(scratch: Database[Document]) -> None:
    scratch.first.insert_one({"_id": 1, "at": datetime(2026, 11, 27, tzinfo=UTC)})
    (found,) = mongo.atomically(lambda session: reads.aggregate_in(session, "first", []))
    assert found["at"].tzinfo is not None


def test_compressed_connections_are_used_as_they_are(
    scratch: Database[Document], replica_set: ReplicaSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    send = Connection.send_message

    def noted(self: Connection, sent_message: bytes, size: int) -> None:
        sent.append(sent_message)
        send(self, sent_message, size)

    compressing = mongo.new_client(f"{replica_set.admin_uri}&compressors=zlib", timeout_ms=TIMEOUT_MS)
    with compressing, monkeypatch.context() as patched:
        patched.setattr(pipelined, "database", lambda: compressing["scratch"])
        patched.setattr(Connection, "send_message", noted)
        with compressing.start_session() as session, session.start_transaction():
            mongo.insert_all(one_of_each(padding=LARGE), session)
    assert max(map(len, sent)) < SENT_TOGETHER_BYTES
    assert counts(scratch) == [1, 1, 1]


def test_nothing_is_pipelined_outside_a_block(scratch: Database[Document]) -> None:
    with scratch.client.start_session() as session, pytest.raises(AssertionError, match="atomic block"):
        mongo.insert_all(one_of_each(), session)
    assert counts(scratch) == [0, 0, 0]
