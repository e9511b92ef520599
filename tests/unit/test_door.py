"""When a worker leaves a new connection to the others, and when it takes it all the same."""

import errno
import math
import socket
from typing import Any

import pytest

from app.http import door, retiring
from app.http.connections import SlowTakers
from app.http.door import FAILED_ACCEPTS_MAX, LEFT_TO_OTHERS_S, PASSED_OVER_S, PAUSE_S, SURPLUS_MIN, Door
from app.http.retiring import RetiringWorker
from app.http.worker import SWEEP_S
from app.runtime.occupancy import PLACES, Occupancy
from tests.unit.clock import Clock

OWN, OTHER = 1, 2
LISTENER = object()
MANY = 30


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(door, "time", made)
    return made


@pytest.fixture
def occupancy() -> Occupancy:
    return Occupancy()


def leaves(occupancy: Occupancy, connections: int) -> bool:
    return Door(occupancy, OWN).leave_to_others(LISTENER, connections)


def leave_one(door: Door, clock: Clock) -> None:
    """Leave a connection, and come back for it."""
    assert door.leave_to_others(LISTENER, MANY)
    clock.now += 2 * LEFT_TO_OTHERS_S
    assert door.come_back(MANY, clock.now) is LISTENER


def test_a_worker_alone_leaves_nothing(occupancy: Occupancy) -> None:
    occupancy.tell(OWN, MANY)

    assert not leaves(occupancy, MANY + 1)


@pytest.mark.parametrize(("others", "kept"), [(0, SURPLUS_MIN), (7, 7 + SURPLUS_MIN), (160, 170)])
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

    Door(occupancy, OTHER).retire()

    assert not leaves(occupancy, MANY)


def test_what_others_do_not_take_is_taken_once(occupancy: Occupancy, clock: Clock) -> None:
    occupancy.tell(OTHER, 0)
    one = Door(occupancy, OWN)
    assert one.opens_in_s(clock.now) == 0.0

    assert one.leave_to_others(LISTENER, MANY)

    assert one.opens_in_s(clock.now) == pytest.approx(LEFT_TO_OTHERS_S)
    assert one.come_back(MANY, clock.now) is None
    clock.now += 2 * LEFT_TO_OTHERS_S
    assert one.opens_in_s(clock.now) == 0.0
    assert one.come_back(MANY, clock.now) is LISTENER
    assert one.come_back(MANY, clock.now) is None


def test_nothing_is_left_for_a_while_to_others_who_did_not_take_it(occupancy: Occupancy, clock: Clock) -> None:
    occupancy.tell(OTHER, 0)
    one = Door(occupancy, OWN)
    leave_one(one, clock)
    one.note_accepted()

    assert not one.leave_to_others(LISTENER, MANY)
    clock.now += PASSED_OVER_S - LEFT_TO_OTHERS_S
    assert not one.leave_to_others(LISTENER, MANY)
    one.note_accepted()
    clock.now += 2 * LEFT_TO_OTHERS_S
    leave_one(one, clock)


def test_who_is_left_waits_for_a_moment_and_few_are_left_in_vain() -> None:
    assert LEFT_TO_OTHERS_S <= 0.005
    assert 20 * LEFT_TO_OTHERS_S <= PASSED_OVER_S <= 0.2


def test_a_pause_after_a_failure_is_not_cut_short(occupancy: Occupancy, clock: Clock) -> None:
    occupancy.tell(OTHER, 0)
    one = Door(occupancy, OWN)
    one.note_failure(OSError(errno.EMFILE, "no room"))

    assert one.leave_to_others(LISTENER, MANY)

    assert one.opens_in_s(clock.now) == PAUSE_S


def test_what_others_take_is_left_to_them_each_time(occupancy: Occupancy, clock: Clock) -> None:
    occupancy.tell(OTHER, 0)
    one = Door(occupancy, OWN)
    leave_one(one, clock)
    one.note_failure(BlockingIOError(errno.EAGAIN, "others have taken it"))
    one.note_accepted()

    assert one.leave_to_others(LISTENER, MANY)


def test_a_connection_that_comes_back_when_all_have_the_same_was_not_left_in_vain(
    occupancy: Occupancy, clock: Clock
) -> None:
    occupancy.tell(OTHER, 0)
    one = Door(occupancy, OWN)
    assert one.leave_to_others(LISTENER, MANY)
    occupancy.tell(OTHER, MANY)
    clock.now += 2 * LEFT_TO_OTHERS_S
    assert one.come_back(MANY, clock.now) is LISTENER
    one.note_accepted()

    occupancy.tell(OTHER, 0)
    assert one.leave_to_others(LISTENER, MANY)


def test_only_who_was_late_is_passed_over(occupancy: Occupancy, clock: Clock) -> None:
    stuck, third = OTHER, OTHER + 1
    occupancy.tell(stuck, 0)
    occupancy.tell(third, MANY)
    one = Door(occupancy, OWN)
    leave_one(one, clock)
    one.note_accepted()
    assert not one.leave_to_others(LISTENER, MANY)

    occupancy.tell(third, MANY // 2)

    assert one.leave_to_others(LISTENER, MANY)


def test_lost_races_do_not_shut_the_door(occupancy: Occupancy, clock: Clock) -> None:
    one = Door(occupancy, OWN)

    for _ in range(4 * FAILED_ACCEPTS_MAX):
        assert not one.note_failure(BlockingIOError(errno.EAGAIN, "others have taken it"))

    assert one.opens_in_s(clock.now) == 0.0


def test_only_failures_in_a_row_shut_the_door(occupancy: Occupancy, clock: Clock) -> None:
    one = Door(occupancy, OWN)

    for _ in range(4 * FAILED_ACCEPTS_MAX):
        assert not one.note_failure(OSError(errno.EPERM, "as a firewall says"))
        one.note_accepted()

    assert one.opens_in_s(clock.now) == 0.0


def test_each_worker_has_a_place_of_its_own_as_long_as_there_are_places(occupancy: Occupancy) -> None:
    assert occupancy.emptiest() is None
    for age in range(1, PLACES + 1):
        occupancy.tell(age, age)
    assert occupancy.emptiest() == (1, 1)
    assert occupancy.emptiest(besides=[1, 2]) == (3, 3)

    occupancy.vacate(1)
    occupancy.tell(PLACES + 2, 0)

    assert occupancy.emptiest() == (2, 0)
    occupancy.vacate(2)
    assert occupancy.emptiest() == (3, 3)


class Empty:
    """A listener whose connections others have taken. It counts how often somebody came."""

    def __init__(self) -> None:
        self.asked = 0

    def accept(self) -> Any:
        self.asked += 1
        raise BlockingIOError(errno.EAGAIN, "nobody is waiting")


class Ready(Empty):
    """A listener at which somebody always waits."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self._sock = sock

    def accept(self) -> Any:
        self.asked += 1
        return self._sock, ("127.0.0.1", 1)

    def getsockname(self) -> Any:
        return ("127.0.0.1", 2)


class Loop:
    """A worker's loop that has MANY connections. Its clock moves when it waits, and when it listens or stops to."""

    def __init__(self, occupancy: Occupancy, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        worker: Any = object.__new__(RetiringWorker)
        worker.connections, worker.worker_connections = dict.fromkeys(range(MANY)), 2 * MANY
        worker.door, worker._sweep_at = Door(occupancy, OWN), math.inf
        worker.request_timeout_s, worker.slow_takers = 15, SlowTakers(1)
        self.worker, self.listens, self.waits = worker, True, [0.0]
        self._clock = clock
        self.slow_s = 0.0
        monkeypatch.setattr(retiring, "time", clock)
        monkeypatch.setattr(worker, "_guard", lambda *_details: None)
        monkeypatch.setattr(worker, "set_accept_enabled", self._listen)
        monkeypatch.setattr(worker, "wait_for_and_dispatch_events", self._wait)

    def _listen(self, is_enabled: bool) -> None:
        self.listens = is_enabled
        self._clock.now += self.slow_s

    def _wait(self, timeout_s: float) -> None:
        self.waits.append(timeout_s)
        self._clock.now += min(timeout_s, LEFT_TO_OTHERS_S)


@pytest.fixture
def loop(occupancy: Occupancy, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Loop:
    occupancy.tell(OTHER, 0)
    return Loop(occupancy, clock, monkeypatch)


def test_a_worker_leaves_a_connection_and_comes_back_for_it(loop: Loop, occupancy: Occupancy) -> None:
    listener = Empty()

    loop.worker.accept(listener)
    loop.worker._serve_all()
    assert (loop.listens, listener.asked) == (False, 0)
    assert loop.waits[-1] == pytest.approx(LEFT_TO_OTHERS_S)

    loop.worker._serve_all()
    assert (loop.listens, listener.asked) == (True, 1)
    assert loop.waits[-1] == SWEEP_S
    occupancy.vacate(OTHER)
    assert occupancy.emptiest() == (OWN, MANY)


def test_a_worker_whose_others_are_stuck_takes_what_comes(loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        listener = Ready(ours)

        loop.worker.accept(listener)
        assert listener.asked == 0
        loop.worker._serve_all()
        loop.worker._serve_all()
        assert listener.asked == 1
        loop.worker.accept(listener)

    assert listener.asked == 2


@pytest.mark.parametrize("slow_s", [LEFT_TO_OTHERS_S / 2, LEFT_TO_OTHERS_S, 5 * LEFT_TO_OTHERS_S])
def test_a_worker_does_not_wait_for_long_without_listening(loop: Loop, slow_s: float) -> None:
    loop.slow_s = slow_s
    loop.worker.accept(Empty())

    for _ in range(4):
        loop.worker._serve_all()
        assert loop.listens or loop.waits[-1] <= LEFT_TO_OTHERS_S
