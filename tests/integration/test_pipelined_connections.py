"""Commands of a block that are sent together, on connections that break, are refused, interrupted or compressed."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from pymongo import message
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import PyMongoError
from pymongo.synchronous.pool import Connection

from app import mongo
from app.mongo import Document, Insert, pipelined
from app.mongo.pipelined import SENT_TOGETHER_BYTES
from local.replica_set import ReplicaSet
from tests.integration.scratch import (
    COLLECTIONS,
    LARGE,
    TIMEOUT_MS,
    Closed,
    counts,
    insert,
    one_of_each,
    refuse_the_next_connection,
)


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
