"""The worker's own handling of errors: of connections that could not be accepted, and of applications that fail."""

import errno
import math
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import structlog
from gunicorn.config import Config

from app.http import answering, door, worker
from app.http.answering import AnsweringWorker
from app.http.answers import BrokenOff
from app.http.connections import ClientAway, Connection, SlowTakers, Stage
from app.http.crew import Calls
from app.http.door import Door
from app.http.framing import Heads
from app.http.lanes import WAITING_MAX_S, Lane, Lanes
from app.http.refusals import Refusals
from app.http.worker import GRACE_S, PatientWorker
from app.runtime.occupancy import Occupancy
from config import ROOT
from tests.logs import let_tell

REQUEST = b"GET / HTTP/1.1\r\nHost: bank\r\n\r\n"
Start = Callable[..., Any]
Application = Callable[[dict[str, Any], Start], Iterable[bytes]]


class Refusing:
    """A listener that fails to accept, with these errors one after another."""

    def __init__(self, *errors: int) -> None:
        self._errors = iter(errors)

    def accept(self) -> Any:
        raise OSError(next(self._errors), "as accept(2) says")


def new_worker(kind: type[Any], application: Application | None = None) -> Any:
    """Return a worker without processes and threads."""
    made = object.__new__(kind)
    made.cfg, made.wsgi, made.alive, made.nr, made.max_requests = Config(), application, True, 0, 10
    made.settings = made.cfg
    made.connections, made.door = {}, Door(Occupancy(), 0)
    return made


@pytest.mark.parametrize(
    "error",
    [errno.ECONNABORTED, errno.EPERM, errno.EPROTO, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT, errno.EAGAIN,
     errno.EMFILE, errno.ENOMEM],
)  # fmt: skip
def test_a_connection_that_cannot_be_accepted_does_not_end_the_worker(
    monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    let_tell(monkeypatch, door)
    patient = new_worker(PatientWorker)
    ended: list[bool] = []
    monkeypatch.setattr(patient, "_end_an_idle_one", lambda: ended.append(True))

    with structlog.testing.capture_logs() as logged:
        patient.accept(Refusing(error))

    assert bool(logged) == bool(ended) == (error in door.NO_ROOM)


def test_errors_without_an_end_do_not_keep_the_worker_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    let_tell(monkeypatch, door)
    patient = new_worker(PatientWorker)
    errors = [errno.EPERM] * door.FAILED_ACCEPTS_MAX
    listener = Refusing(*errors)

    with structlog.testing.capture_logs() as logged:
        for _ in errors:
            assert patient.door.opens_in_s(time.monotonic()) == 0.0
            patient.accept(listener)

    assert patient.door.opens_in_s(time.monotonic()) > 0.0
    assert [line["reason"] for line in logged] == ["EPERM"]


def test_a_broken_listener_ends_the_worker() -> None:
    with pytest.raises(OSError, match="accept"):
        new_worker(PatientWorker).accept(Refusing(errno.EBADF))


def test_a_request_that_waits_in_vain_is_refused(wire: tuple[Connection, socket.socket]) -> None:
    connection, client = wire
    patient = new_worker(PatientWorker)
    patient.lanes, patient.refusals, patient.poller = Lanes(1), Refusals(), selectors.DefaultSelector()
    patient._sweep_at, patient.notify, patient.wait_for_and_dispatch_events = 0.0, lambda: None, lambda _timeout: None
    connection.stage, connection.deadline = Stage.SERVED, math.inf
    patient.connections[connection] = None
    assert patient.lanes.join(Lane.WRITE, connection, time.monotonic() - WAITING_MAX_S)

    patient._round()

    assert client.recv(65_536).startswith(b"HTTP/1.1 503 ")
    patient.poller.close()


def test_room_is_made_by_whoever_has_rested_and_not_by_whoever_has_just_connected(
    wire: tuple[Connection, socket.socket],
) -> None:
    connection, client = wire
    patient = new_worker(PatientWorker)
    patient.worker_connections, patient.request_timeout_s = 1, 15
    connection.expect_next()
    connection.stage = Stage.IDLE
    patient.connections[connection] = None
    connection.rests_since = time.monotonic() + 60

    assert not patient._has_room()
    assert connection.stage is Stage.IDLE
    connection.rests_since = time.monotonic() - GRACE_S

    assert patient._has_room()
    assert client.recv(1) == b""


@pytest.fixture
def wire() -> Iterator[tuple[Connection, socket.socket]]:
    """A connection with one whole request, and the client's end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.settimeout(10.0)
        theirs.sendall(REQUEST)
        connection = Connection(ours, ("127.0.0.1", 1), ("127.0.0.1", 2), patience_s=1.0, slow_takers=SlowTakers(1))
        connection.receive()
        connection.advance(Heads(Config()))
        yield connection, theirs


def answered(wire: tuple[Connection, socket.socket], application: Application) -> tuple[bool, bytes]:
    """Have the application answer; return whether the connection is kept, and what the client gets."""
    connection, client = wire
    keeps = new_worker(AnsweringWorker, application)._answer(connection)
    connection.flush()
    connection.sock.close()
    received = b""
    while some := client.recv(65_536):
        received += some
    return keeps, received


def fails_at_once(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    raise BrokenPipeError(errno.EPIPE, "a pipe of our own")


def fails_in_the_middle(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    yield b"half"
    raise OSError(errno.ENOSPC, "no room")


def breaks_off(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    yield b"half"
    raise BrokenOff


def is_whole(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
    start("200 OK", [("Content-Length", "5")])
    return [b"whole"]


@pytest.mark.parametrize(
    ("application", "status", "keeps", "bugs"),
    [(is_whole, b"200", True, 0), (fails_at_once, b"500", False, 1), (fails_in_the_middle, b"200", False, 1),
     (breaks_off, b"200", False, 0)],
)  # fmt: skip
def test_an_error_of_the_application_is_not_taken_for_a_client_that_left(
    monkeypatch: pytest.MonkeyPatch,
    wire: tuple[Connection, socket.socket],
    application: Application,
    status: bytes,
    keeps: bool,
    bugs: int,
) -> None:
    let_tell(monkeypatch, answering)

    with structlog.testing.capture_logs() as logged:
        kept, received = answered(wire, application)

    assert (received.split()[1], kept) == (status, keeps)
    assert [line["event"] for line in logged] == ["bug"] * bugs
    # The last chunk of an answer that failed in the middle is missing.
    assert not received.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("error", [SystemExit, ClientAway])
def test_a_connection_comes_back_from_its_thread_whatever_was_raised(
    monkeypatch: pytest.MonkeyPatch, wire: tuple[Connection, socket.socket], error: type[BaseException]
) -> None:
    let_tell(monkeypatch, worker)
    patient, given_back = new_worker(PatientWorker), []

    def fails(_connection: Connection) -> bool:
        raise error

    patient._answer, patient.method_queue = fails, Calls()
    patient.method_queue.init()
    patient._finish = lambda *came: given_back.append(came)

    with structlog.testing.capture_logs() as logged:
        patient._answer_and_return(Lane.READ, wire[0])
    patient.method_queue.run_callbacks()
    patient.method_queue.close()

    assert given_back == [(wire[0], Lane.READ, False)]
    assert len(logged) == (error is SystemExit)


def test_a_client_that_left_is_no_bug(monkeypatch: pytest.MonkeyPatch, wire: tuple[Connection, socket.socket]) -> None:
    let_tell(monkeypatch, answering)
    connection, client = wire
    client.close()

    with structlog.testing.capture_logs() as logged:
        assert new_worker(AnsweringWorker, is_whole)._answer(connection) is False

    assert [line["event"] for line in logged] == ["client_away"]


def test_the_limit_of_descriptors_is_raised_as_far_as_it_may_be() -> None:
    program = (
        "import resource\n"
        "from app.runtime import descriptors\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))\n"
        "print(descriptors.allow(100), descriptors.allow(250), resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
        "print(descriptors.allow(1_000), resource.getrlimit(resource.RLIMIT_NOFILE)[0])\n"
    )

    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert run.stdout.split() == ["100", "250", "250", "300", "300"]
