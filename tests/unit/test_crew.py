"""The threads that answer, and the calls with which they wake the main thread."""

import selectors
import threading
import time
from collections.abc import Iterator

import pytest

from app.http.crew import Calls, Crew
from local.processes import holds_within

WAIT_S = 60.0
THREADS = 8
CALLS_EACH = 2_000


@pytest.fixture
def calls() -> Iterator[Calls]:
    made = Calls()
    made.init()
    yield made
    made.close()


def alive() -> int:
    """Return how many threads of crews there are."""
    return sum(thread.name.startswith("answers-") for thread in threading.enumerate())


def test_a_crew_has_as_many_threads_as_there_was_work_at_one_time() -> None:
    crew, before = Crew(3), alive()
    may_end, ended = threading.Semaphore(0), threading.Semaphore(0)

    def work() -> None:
        may_end.acquire()
        ended.release()

    seen = []
    for given in (1, 2, 2):
        for _ in range(given):
            crew.give(work)
        seen.append(alive() - before)
        may_end.release(given)
        for _ in range(given):
            assert ended.acquire(timeout=WAIT_S)
            crew.end()
    assert seen == [1, 2, 2]

    for _ in range(9):
        crew.give(work)
    assert alive() - before == 3
    may_end.release(9)
    for _ in range(9):
        assert ended.acquire(timeout=WAIT_S)
    crew.shutdown()
    assert holds_within(WAIT_S, lambda: alive() == before)


def test_a_thread_outlives_work_that_raises() -> None:
    crew, before = Crew(2), alive()
    ended = threading.Semaphore(0)

    def fail() -> None:
        ended.release()
        raise SystemExit

    for _ in range(3):
        crew.give(fail)
        assert ended.acquire(timeout=WAIT_S)
        crew.end()
    crew.give(ended.release)
    assert ended.acquire(timeout=WAIT_S)
    crew.shutdown()
    assert holds_within(WAIT_S, lambda: alive() == before)


def test_work_is_done_although_a_thread_could_not_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    crew, before = Crew(2), alive()
    ended = threading.Semaphore(0)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        crew.give(ended.release)
    assert alive() == before

    crew.give(ended.release)
    for _ in range(2):
        assert ended.acquire(timeout=WAIT_S)
        crew.end()
    crew.shutdown()
    assert holds_within(WAIT_S, lambda: alive() == before)


def test_every_call_is_made_once_and_in_the_order_of_its_thread(calls: Calls) -> None:
    made: list[tuple[int, int]] = []

    def ask(thread: int) -> None:
        for number in range(CALLS_EACH):
            calls.defer(lambda thread=thread, number=number: made.append((thread, number)))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(THREADS)]
    with selectors.DefaultSelector() as poller:
        poller.register(calls.fileno(), selectors.EVENT_READ)
        for thread in threads:
            thread.start()
        until = time.monotonic() + WAIT_S
        while len(made) < THREADS * CALLS_EACH and time.monotonic() < until:
            # Only a descriptor that is readable tells that there are calls.
            for _ in poller.select(1.0):
                calls.run_callbacks()
    for thread in threads:
        thread.join()
    for number in range(THREADS):
        assert [call for thread, call in made if thread == number] == list(range(CALLS_EACH))


def test_a_call_that_asks_for_another_one_is_followed_by_it_in_the_next_round(calls: Calls) -> None:
    made: list[str] = []

    def first() -> None:
        made.append("first")
        calls.defer(made.append, "second")

    calls.defer(first)
    with selectors.DefaultSelector() as poller:
        poller.register(calls.fileno(), selectors.EVENT_READ)
        assert poller.select(0)
        calls.run_callbacks()
        assert made == ["first"]
        assert poller.select(0)
        calls.run_callbacks()
        assert made == ["first", "second"]
        assert not poller.select(0)
