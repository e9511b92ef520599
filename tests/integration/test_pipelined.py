"""Commands of an atomic block that are sent together: what arrives, and what is refused.

`app.mongo.pipelined` uses inner functions of PyMongo. These tests, and `test_pipelined_connections`, are also the check
that a new version still has them.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from bson.errors import InvalidDocument
from pymongo import helpers_shared
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import BulkWriteError, DocumentTooLarge, InvalidOperation, OperationFailure

from app import mongo
from app.mongo import Document, Insert, pipelined, reads
from app.mongo.measures import seconds_of_thread
from app.mongo.pipelined import DOCUMENTS_OF_A_COMMAND, SENT_TOGETHER_BYTES
from tests.asked import times_asked
from tests.integration.scratch import COLLECTIONS, LARGE, Closed, counts, insert, one_of_each

TOO_LARGE = "x" * 17 * 1024**2


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


@pytest.mark.parametrize("place", range(3))
def test_a_document_that_is_too_large_is_refused(scratch: Database[Document], closed: Closed, place: int) -> None:
    inserts = one_of_each()
    inserts[place] = Insert(COLLECTIONS[place], [{"_id": 1, "text": TOO_LARGE}])
    with pytest.raises(DocumentTooLarge, match="BSON document too large"):
        insert(inserts)
    assert counts(scratch) == [0, 0, 0]
    assert scratch.command("ping")["ok"] == 1


def test_each_command_is_timed_and_no_moment_counts_twice(scratch: Database[Document]) -> None:
    before, spent_before, begun = times_asked("insert"), seconds_of_thread(), time.monotonic()
    insert(one_of_each(padding=LARGE))
    spent_s, passed_s = seconds_of_thread() - spent_before, time.monotonic() - begun

    assert times_asked("insert") - before == 3
    assert 0 < spent_s < passed_s


def overloaded() -> OperationFailure:
    """Return what servers newer than MongoDB 6.0 answer if they have too much to do."""
    return OperationFailure("overloaded", 462, {"errorLabels": ["RetryableError", "SystemOverloadedError"], "ok": 0})


def test_a_server_that_has_too_much_to_do_is_asked_again(
    scratch: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    check = helpers_shared._check_command_response

    def refuse(*_: object) -> None:
        monkeypatch.setattr(helpers_shared, "_check_command_response", check)
        raise overloaded()

    monkeypatch.setattr(helpers_shared, "_check_command_response", refuse)
    insert(one_of_each())
    assert counts(scratch) == [1, 1, 1]


def test_a_block_does_not_run_again_if_the_server_had_too_much_to_do_when_asked_again_for_its_commit(
    scratch: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the first commit was lost, and it is not known that the block took effect."""
    commit = ClientSession.commit_transaction
    numbers = iter(range(9))

    def unanswered(session: ClientSession) -> None:
        commit(session)
        raise overloaded()

    monkeypatch.setattr(ClientSession, "commit_transaction", unanswered)
    with pytest.raises(OperationFailure, match="overloaded"):
        mongo.atomically(lambda session: mongo.insert_all([Insert("first", [{"_id": next(numbers)}])], session))
    assert counts(scratch) == [1, 0, 0]


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


def test_nothing_is_pipelined_outside_a_block(scratch: Database[Document]) -> None:
    with scratch.client.start_session() as session, pytest.raises(InvalidOperation, match="atomic block"):
        mongo.insert_all(one_of_each(), session)
    assert counts(scratch) == [0, 0, 0]


def test_nothing_is_pipelined_after_the_end_of_a_block(scratch: Database[Document]) -> None:
    def block(session: ClientSession) -> None:
        def inserts() -> Iterator[Insert]:
            yield Insert("first", [{"_id": 1, "padding": LARGE}])
            session.abort_transaction()
            yield Insert("second", [{"_id": 1}])

        mongo.insert_all(inserts(), session)

    with pytest.raises(InvalidOperation, match="atomic block"):
        mongo.atomically(block)
    assert counts(scratch) == [0, 0, 0]


def unmakeable() -> Iterator[Document]:
    yield from ({"_id": number} for number in range(2 * DOCUMENTS_OF_A_COMMAND))
    raise ValueError


@pytest.mark.parametrize(
    "second",
    [
        pytest.param([{"_id": 2, "text": TOO_LARGE}], id="too large"),
        pytest.param([{"_id": object()}], id="no BSON"),
        pytest.param([{"_id": 2}, {"_id": 2}], id="refused"),
        pytest.param(unmakeable(), id="not made"),
    ],
)
def test_a_block_that_catches_an_error_of_its_inserts_is_not_committed(
    scratch: Database[Document], second: Iterable[Document]
) -> None:
    def block(session: ClientSession) -> None:
        with suppress(Exception):
            mongo.insert_all([Insert("first", [{"_id": 1, "padding": LARGE}]), Insert("second", second)], session)

    with pytest.raises(InvalidOperation, match="caught the error"):
        mongo.atomically(block)
    assert counts(scratch) == [0, 0, 0]


def test_a_block_that_runs_again_is_not_spoiled_by_its_first_run(scratch: Database[Document]) -> None:
    runs = 0

    def block(session: ClientSession) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            with suppress(BulkWriteError):
                mongo.insert_all([Insert("first", [{"_id": 1}, {"_id": 1}])], session)
            raise OperationFailure("again", 112, {"errorLabels": ["TransientTransactionError"]})
        mongo.insert_all(one_of_each(), session)

    mongo.atomically(block)
    assert (runs, counts(scratch)) == (2, [1, 1, 1])


def test_a_connection_over_which_nothing_was_sent_is_kept(scratch: Database[Document], closed: Closed) -> None:
    with pytest.raises(InvalidDocument):
        insert([Insert("first", [{"_id": 1}]), Insert("second", [{"_id": object()}])])
    assert closed.count == 0
