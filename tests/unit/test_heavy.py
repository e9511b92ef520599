"""Limits of heavy work: how much runs, how much waits, two pieces for each user, and the rest is refused at once."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from app.errors import ServiceUnavailable
from app.runtime.heavy import Share
from tests.threads import at_once

WAIT_S = 60


def holds(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.002)
    return condition()


class Job:
    """Work in another thread that has its turn until it is let go."""

    def __init__(self, threads: ThreadPoolExecutor, share: Share, user: str | None) -> None:
        self.has_turn, self.may_end = threading.Event(), threading.Event()
        self.future: Future[None] = threads.submit(self._run, share, user)

    def _run(self, share: Share, user: str | None) -> None:
        with share.turn(user):
            self.has_turn.set()
            assert self.may_end.wait(WAIT_S)

    def let_go(self) -> None:
        self.may_end.set()
        self.future.result(WAIT_S)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(10) as pool:
        yield pool


def test_no_more_than_so_many_run_at_a_time() -> None:
    share = Share(admitted_max=16, at_once=2, per_user_max=16, per_user_at_once=16)
    running, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal running, most
        with share.turn():
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.01)
            with lock:
                running -= 1

    at_once([work] * 16)

    assert (running, most) == (0, 2)


def test_what_is_too_much_is_sent_away_at_once_and_told_when_to_come_back(threads: ThreadPoolExecutor) -> None:
    share = Share(admitted_max=2, at_once=1)
    first = Job(threads, share, "a")
    assert first.has_turn.wait(WAIT_S)
    second = Job(threads, share, "b")
    assert holds(lambda: share.is_wanted)

    begun = time.monotonic()
    with pytest.raises(ServiceUnavailable) as refused, share.turn("c"):
        raise AssertionError("It has no turn.")

    # Others wait for ten seconds.
    assert time.monotonic() - begun < 9
    assert refused.value.retry_after_seconds is not None
    first.let_go()
    second.let_go()
    with share.turn("c"):
        pass


def test_one_user_has_two_and_others_are_not_kept_from_theirs(threads: ThreadPoolExecutor) -> None:
    share = Share(admitted_max=8, at_once=2, per_user_at_once=1)
    mine = Job(threads, share, "me")
    assert mine.has_turn.wait(WAIT_S)
    my_second = Job(threads, share, "me")
    assert holds(lambda: share.is_wanted)

    with pytest.raises(ServiceUnavailable), share.turn("me"):
        pass
    with share.turn("somebody else"):
        assert not my_second.has_turn.is_set()

    mine.let_go()
    assert my_second.has_turn.wait(WAIT_S)
    my_second.let_go()


def test_who_has_had_no_turn_for_too_long_is_sent_away_and_counts_no_more(threads: ThreadPoolExecutor) -> None:
    share = Share(admitted_max=2, at_once=1, wait_max_s=0.05)
    first = Job(threads, share, "a")
    assert first.has_turn.wait(WAIT_S)

    for _ in range(3):
        with pytest.raises(ServiceUnavailable), share.turn("b"):
            pass

    first.let_go()
    with share.turn("b"):
        assert not share.is_wanted


def test_long_work_lets_those_who_wait_go_first(threads: ThreadPoolExecutor) -> None:
    share = Share(admitted_max=4, at_once=1)
    order: list[str] = []

    def short() -> None:
        with share.turn("short"):
            order.append("short")

    with share.turn("long") as work:
        waiting = threads.submit(short)
        assert holds(lambda: share.is_wanted)
        work.pause()
        order.append("long")
        work.pause()

    waiting.result(WAIT_S)
    assert order == ["short", "long"]


def test_work_that_fails_gives_its_turn_and_its_place_back() -> None:
    share = Share(admitted_max=1, at_once=1)

    for _ in range(3):
        with pytest.raises(ZeroDivisionError), share.turn("a"):
            raise ZeroDivisionError

    work = share.admit("a")
    work.close()
    work.close()
    with share.turn("a"), pytest.raises(ServiceUnavailable), share.turn("b"):
        pass


def test_what_goes_on_after_its_first_turn_is_not_sent_away(threads: ThreadPoolExecutor) -> None:
    share = Share(admitted_max=2, at_once=1, wait_max_s=0.05)
    with share.admit("a") as begun:
        with begun.turn():
            pass
        other = Job(threads, share, "b")
        assert other.has_turn.wait(WAIT_S)
        timer = threading.Timer(0.2, other.may_end.set)
        timer.start()
        with begun.turn():
            assert other.may_end.is_set()
        timer.join()
        other.future.result(WAIT_S)
