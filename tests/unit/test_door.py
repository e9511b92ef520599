"""When a worker leaves a new connection to the others, and when it takes it all the same."""

import errno
import math
import time
from typing import Any

import pytest

from app.http import door
from app.http.door import LEFT_TO_OTHERS_S, SURPLUS_MIN, TAKES_ALL_S, Door
from app.http.retiring import RetiringWorker
from app.http.worker import SWEEP_S
from app.runtime.occupancy import PLACES, Occupancy

OWN, OTHER = 1, 2
LISTENER = object()
MANY = 30


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(door, "time", made)
    return made


@pytest.fixture
def occupancy() -> Occupancy:
    return Occupancy()


def leaves(occupancy: Occupancy, connections: int) -> bool:
    return Door(occupancy, OWN).leaves(LISTENER, connections)


def leave_one(door: Door, clock: Clock) -> None:
    """Leave a connection, and come back for it."""
    assert door.leaves(LISTENER, MANY)
    clock.now += 2 * LEFT_TO_OTHERS_S
    assert door.take_left(MANY) is LISTENER


def test_a_worker_alone_leaves_nothing(occupancy: Occupancy) -> None:
    occupancy.tell(OWN, MANY)

    assert not leaves(occupancy, MANY + 1)


@pytest.mark.parametrize(("others", "kept"), [(0, SURPLUS_MIN), (7, 7 + SURPLUS_MIN), (80, 100)])
def test_a_worker_that_has_more_than_the_least_occupied_one_leaves_a_connection(
    occupancy: Occupancy, others: int, kept: int
) -> None:
    occupancy.tell(OTHER, others)
    occupancy.tell(OTHER + 1, 1_000)

    assert not leaves(occupancy, kept)
    assert leaves(occupancy, kept + 1)


def test_whoever_accepts_no_more_is_left_nothing(occupancy: Occupancy) -> None:
    occupancy.tell(OWN, MANY)
    occupancy.tell(OTHER, 0)
    assert leaves(occupancy, MANY)

    Door(occupancy, OTHER).close()

    assert not leaves(occupancy, MANY)


def test_what_others_do_not_take_is_taken_once(occupancy: Occupancy, clock: Clock) -> None:
    occupancy.tell(OTHER, 0)
    one = Door(occupancy, OWN)
    assert one.is_open()

    assert one.leaves(LISTENER, MANY)

    assert not one.is_open()
    assert one.opens_in_s() == pytest.approx(LEFT_TO_OTHERS_S)
    assert one.take_left(MANY) is None
    clock.now += 2 * LEFT_TO_OTHERS_S
    assert one.is_open()
    assert one.opens_in_s() == 0.0
    assert one.take_left(MANY) is LISTENER
    assert one.take_left(MANY) is None


def test_nothing_is_left_for_a_while_to_others_who_did_not_take_it(occupancy: Occupancy, clock: Clock) -> None:
    occupancy.tell(OTHER, 0)
    one = Door(occupancy, OWN)
    leave_one(one, clock)
    one.note_accepted()

    assert not one.leaves(LISTENER, MANY)
    one.note_accepted()
    clock.now += TAKES_ALL_S
    leave_one(one, clock)


def test_what_others_take_is_left_to_them_each_time(occupancy: Occupancy, clock: Clock) -> None:
    occupancy.tell(OTHER, 0)
    one = Door(occupancy, OWN)
    leave_one(one, clock)
    one.note_failure(BlockingIOError(errno.EAGAIN, "others have taken it"))
    one.note_accepted()

    assert one.leaves(LISTENER, MANY)


def test_a_connection_that_comes_back_when_all_have_the_same_was_not_left_in_vain(
    occupancy: Occupancy, clock: Clock
) -> None:
    occupancy.tell(OTHER, 0)
    one = Door(occupancy, OWN)
    assert one.leaves(LISTENER, MANY)
    occupancy.tell(OTHER, MANY)
    clock.now += 2 * LEFT_TO_OTHERS_S
    assert one.take_left(MANY) is LISTENER
    one.note_accepted()

    occupancy.tell(OTHER, 0)
    assert one.leaves(LISTENER, MANY)


def test_a_door_that_is_closed_takes_nothing_that_was_left(occupancy: Occupancy, clock: Clock) -> None:
    occupancy.tell(OTHER, 0)
    one = Door(occupancy, OWN)
    assert one.leaves(LISTENER, MANY)

    one.close()

    clock.now += 1.0
    assert one.take_left(MANY) is None


def test_each_worker_has_a_place_of_its_own_as_long_as_there_are_places(occupancy: Occupancy) -> None:
    assert occupancy.fewest() == 0
    for age in range(1, PLACES + 1):
        occupancy.tell(age, age)
    assert occupancy.fewest() == 1

    occupancy.leave(1)
    occupancy.tell(PLACES + 2, 0)

    assert occupancy.fewest() == 0
    occupancy.leave(2)
    assert occupancy.fewest() == 3


class Empty:
    """A listener whose connections others have taken. It counts how often somebody came."""

    def __init__(self) -> None:
        self.asked = 0

    def accept(self) -> Any:
        self.asked += 1
        raise BlockingIOError(errno.EAGAIN, "nobody is waiting")


def test_a_worker_leaves_a_connection_and_comes_back_for_it(
    occupancy: Occupancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker: Any = object.__new__(RetiringWorker)
    worker.connections, worker.worker_connections = dict.fromkeys(range(MANY)), 2 * MANY
    worker.door, worker._sweep_at = Door(occupancy, OWN), math.inf
    enabled: list[bool] = []
    waits: list[float] = []

    def wait(timeout_s: float) -> None:
        waits.append(timeout_s)
        time.sleep(2 * LEFT_TO_OTHERS_S)

    monkeypatch.setattr(worker, "set_accept_enabled", enabled.append)
    monkeypatch.setattr(worker, "wait_for_and_dispatch_events", wait)
    listener = Empty()

    occupancy.tell(OTHER, 0)
    worker.accept(listener)
    worker._serve_all()
    assert (enabled, listener.asked) == ([False], 0)
    assert 0.0 < waits[0] <= LEFT_TO_OTHERS_S
    occupancy.leave(OTHER)
    assert occupancy.fewest() == MANY

    worker._serve_all()
    assert (enabled, listener.asked) == ([False, True], 1)
    assert waits[1] == SWEEP_S
