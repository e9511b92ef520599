"""How long a worker that stops waits for the next request on an idle connection."""

import runpy
import selectors
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.workers.gthread import PollableMethodQueue

from app.http.connections import Connection, Stage
from app.http.crew import Calls, Crew
from app.http.door import Door
from app.http.retiring import LAST_ANSWER_S, STOP_REST_S, RetiringWorker
from app.runtime.occupancy import Occupancy
from app.runtime.succession import Succession
from config import ROOT

STOPPED_AT = 1_000.0
GRACEFUL_S = 30.0
KEPT_UNTIL = STOPPED_AT + 15.0


class Idle:
    """A connection on which nothing has come yet."""

    def __init__(self, deadline: float) -> None:
        self.stage, self.deadline = Stage.IDLE, deadline


class Master:
    """As much of gunicorn's master as hears of signals."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.log: Any = None
        self.succession: Succession

    def handle_hup(self) -> None: ...

    def signal(self, number: int, frame: Any) -> None:
        self.heard.append(number)

    def stop(self, graceful: bool = True) -> None: ...


@pytest.fixture
def worker() -> RetiringWorker:
    made = object.__new__(RetiringWorker)
    made.cfg, made.succession, made.generation = Config(), Succession(), 0
    return made


def rests_until(worker: RetiringWorker, deadline: float = KEPT_UNTIL) -> float:
    idle: Any = Idle(deadline)
    connections: dict[Connection, None] = {idle: None}
    worker.connections = connections
    worker._shorten_rests(STOPPED_AT, STOPPED_AT + GRACEFUL_S)
    rests: float = idle.deadline
    return rests


def test_a_worker_that_is_replaced_keeps_connections_as_long_as_it_told_their_clients(worker: RetiringWorker) -> None:
    worker.succession.begin()

    assert rests_until(worker) == KEPT_UNTIL


def test_it_leaves_enough_time_for_the_last_answers(worker: RetiringWorker) -> None:
    worker.succession.begin()

    assert rests_until(worker, STOPPED_AT + 60.0) == STOPPED_AT + GRACEFUL_S - LAST_ANSWER_S


def test_a_worker_after_which_nobody_comes_waits_for_a_moment(worker: RetiringWorker) -> None:
    assert rests_until(worker) == STOPPED_AT + STOP_REST_S


def test_a_worker_whose_master_has_gone_keeps_no_connection_and_lets_nobody_wait_for_events(
    worker: RetiringWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with selectors.DefaultSelector() as poller:
        worker.poller, worker.alive = poller, True
        worker.method_queue = PollableMethodQueue()
        worker.method_queue.init()
        seen: list[bool] = []
        ended: list[bool] = []
        monkeypatch.setattr(worker, "is_parent_alive", lambda: False)
        monkeypatch.setattr(worker, "set_accept_enabled", lambda _enabled: None)
        monkeypatch.setattr(worker, "_stop", lambda: seen.append(worker.alive))
        worker.end_waiting = lambda: ended.append(worker.alive)

        worker.run()

        worker.method_queue.close()
    assert seen == ended == [False]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stop_of_the_server_ends_a_reload_that_is_under_way(worker: RetiringWorker, number: int) -> None:
    master = Master()
    runpy.run_path(str(ROOT / "gunicorn.conf.py"))["_watch_signals"](master)
    worker.succession = master.succession
    worker.succession.begin()
    assert worker.succession.awaits_successor(worker.generation)

    master.signal(number, None)

    assert master.heard == [number]
    assert not worker.succession.awaits_successor(worker.generation)
    assert rests_until(worker) == STOPPED_AT + STOP_REST_S


def test_a_reload_that_fails_ends_with_the_server(worker: RetiringWorker) -> None:
    master = Master()
    runpy.run_path(str(ROOT / "gunicorn.conf.py"))["_watch_signals"](master)
    worker.succession = master.succession
    worker.succession.begin()

    master.stop()

    assert not worker.succession.awaits_successor(worker.generation)


def test_a_worker_stands_in_until_one_of_its_successors_serves() -> None:
    succession = Succession()
    succession.begin()
    assert succession.awaits_successor(0)

    succession.serves(1)

    assert not succession.awaits_successor(0)
    assert succession.is_replaced(0)
    assert not succession.is_replaced(1)


def test_a_worker_that_stops_is_left_no_connections(worker: RetiringWorker) -> None:
    occupancy = Occupancy()
    worker.door, worker.sockets, worker.connections = Door(occupancy, 1), [], {}
    worker.tpool, worker.arriving_pool, worker.method_queue = Crew(1), ThreadPoolExecutor(1), Calls()
    worker.poller = selectors.DefaultSelector()
    worker.door.tell(0)
    occupancy.tell(2, 5)
    assert occupancy.emptiest() == (1, 0)

    worker._stop()

    assert occupancy.emptiest() == (2, 5)


def test_a_worker_runs_although_the_settings_of_an_earlier_release_give_it_nothing() -> None:
    # After a reload that goes back to an earlier release, the master still starts workers of this one.
    worker = object.__new__(RetiringWorker)

    assert (worker.generation, worker.succession.newest) == (0, 0)
    assert worker.occupancy.emptiest() is None
    worker.end_waiting()


def test_the_place_of_a_worker_that_has_died_is_given_back() -> None:
    master: Any = Master()
    worker: Any = object.__new__(RetiringWorker)
    worker.age, worker.occupancy = 1, Occupancy()
    worker.occupancy.tell(worker.age, 3)
    worker.occupancy.tell(2, 5)

    runpy.run_path(str(ROOT / "gunicorn.conf.py"))["child_exit"](master, worker)

    assert worker.occupancy.emptiest() == (2, 5)
