"""Shared reads: one query for all callers of a moment, and nobody misses what was there when they asked."""

import threading
import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.mongo.shared import SharedRead, _Question
from local.processes import holds_within
from tests.threads import at_once

QUERY_S = 0.02
WAIT_S = 60


class Store:
    """Counts its queries, and takes its time for each."""

    def __init__(self) -> None:
        self.value = 0
        self.queries: list[set[int]] = []
        self.fails = False
        self.may_answer = threading.Event()
        self.may_answer.set()

    def find(self, keys: Collection[int]) -> dict[int, int]:
        self.queries.append(set(keys))
        seen = self.value
        time.sleep(QUERY_S)
        self.may_answer.wait()
        if self.fails:
            raise ValueError("The store fails.")
        return {key: seen for key in keys if key >= 0}


def test_a_lone_caller_asks_at_once_and_gets_what_exists() -> None:
    store = Store()

    assert SharedRead(store.find).read([1, -1]) == {1: 0}
    assert store.queries == [{1, -1}]


def test_callers_at_the_same_time_share_queries() -> None:
    store = Store()
    reads = SharedRead(store.find)
    store.may_answer.clear()

    with ThreadPoolExecutor(40) as threads:
        answers = [threads.submit(reads.read, [key]) for key in range(40)]
        assert holds_within(WAIT_S, lambda: bool(store.queries) and len(reads._waiting) == 39)
        store.may_answer.set()

        assert [answer.result(WAIT_S) for answer in answers] == [{key: 0} for key in range(40)]
    # That of the first one, and one of all who came meanwhile.
    assert len(store.queries) == 2


def test_nobody_is_told_less_than_was_there_when_they_asked() -> None:
    store = Store()
    reads = SharedRead(store.find)
    stale: list[tuple[int, int]] = []

    def ask(_: int) -> None:
        committed = store.value
        found = reads.read([7])[7]
        if found < committed:
            stale.append((committed, found))
        store.value += 1

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(ask, range(200)))

    assert stale == []


def test_a_failure_reaches_everybody_who_shared_the_query_and_nobody_after() -> None:
    store = Store()
    reads = SharedRead(store.find)
    store.fails = True

    def ask() -> str:
        try:
            reads.read([1])
        except ValueError as error:
            return str(error)
        return "answered"

    assert set(at_once([ask] * 10)) == {"The store fails."}
    store.fails = False
    assert reads.read([1]) == {1: 0}


def test_a_query_has_a_bounded_number_of_keys() -> None:
    store = Store()
    reads = SharedRead(store.find, keys_max=5)

    at_once([lambda key=key: reads.read([key, key + 100]) for key in range(12)])  # type: ignore[misc]

    assert max(map(len, store.queries)) <= 5


def test_a_leader_that_is_torn_away_takes_nobody_with_it() -> None:
    store = Store()
    reads = SharedRead(store.find)
    store.may_answer.clear()
    find, torn = store.find, threading.Event()

    def tear(keys: Collection[int]) -> dict[int, int]:
        if not torn.is_set():
            torn.set()
            store.may_answer.wait()
            raise SystemExit
        return find(keys)

    reads._find = tear
    with ThreadPoolExecutor(4) as threads:
        leader = threads.submit(reads.read, [0])
        torn.wait()
        others = [threads.submit(reads.read, [key]) for key in (1, 2)]
        store.may_answer.set()

        assert [other.result(WAIT_S) for other in others] == [{1: 0}, {2: 0}]
        with pytest.raises(SystemExit):
            leader.result(WAIT_S)


@pytest.mark.parametrize("is_leader_by_then", [False, True])
def test_a_caller_that_is_torn_away_while_it_waits_takes_nobody_with_it(
    monkeypatch: pytest.MonkeyPatch, is_leader_by_then: bool
) -> None:
    store = Store()
    reads = SharedRead(store.find)
    store.may_answer.clear()
    wait, waits = _Question.wait, threading.Event()

    def torn_away(question: _Question[int, int]) -> None:
        monkeypatch.setattr(_Question, "wait", wait)
        waits.set()
        if is_leader_by_then:
            wait(question)
        raise SystemExit

    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(reads.read, [0])
        assert holds_within(WAIT_S, lambda: bool(store.queries))
        monkeypatch.setattr(_Question, "wait", torn_away)
        torn = threads.submit(reads.read, [1])
        assert waits.wait(WAIT_S)
        last = threads.submit(reads.read, [2])
        store.may_answer.set()

        assert first.result(WAIT_S) == {0: 0}
        assert last.result(WAIT_S) == {2: 0}
        with pytest.raises(SystemExit):
            torn.result(WAIT_S)
