"""Connections are spread evenly over the workers, and those that are left to a worker that is stuck are served."""

import os
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest

from app.http.door import PASSED_OVER_S
from local.processes import LOOPBACK, holds_within
from tests.faults.wire import Wire
from tests.server import running_server, workers_of

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: bank\r\n\r\n"
MANY, FEW = 30, 16
# Without any order, a half of them would go to the worker that has fewer. A busy machine may be late for some.
TRIES = 2
TAKEN_MIN = 0.8
CLIENTS_MAX = 20 * MANY
ANSWERED_WITHIN_S = 30.0


@pytest.fixture
def port(mongo_uri: str) -> Iterator[int]:
    with running_server(mongo_uri) as port:
        yield port


@contextmanager
def clients_of(port: int, *, until: Callable[[int], bool]) -> Iterator[None]:
    """Have clients connect one after another, get an answer, and stay connected, until there are enough."""
    with ExitStack() as clients:
        for number in range(CLIENTS_MAX):
            if until(number):
                break
            client = clients.enter_context(closing(socket.create_connection((LOOPBACK, port), ANSWERED_WITHIN_S)))
            client.sendall(REQUEST)
            answer = Wire(client).answer()
            assert answer is not None
            assert answer.status == 200
        else:
            pytest.fail("There were never enough.")
        yield


def clients(port: int, count: int) -> AbstractContextManager[None]:
    return clients_of(port, until=lambda number: number == count)


@contextmanager
def few_clients(port: int) -> Iterator[None]:
    """Have FEW clients connect. If a worker is late for one of them, it is offered the next one all the same."""
    with ExitStack() as connected:
        for _ in range(FEW):
            time.sleep(PASSED_OVER_S)
            connected.enter_context(clients(port, 1))
        yield


def await_workers(port: int, count: int = 2) -> list[int]:
    """Return the workers once each of them accepts connections. The server is ready when the first one does."""
    with clients_of(port, until=lambda _number: len(+connections_of(port)) == count):
        workers = workers_of(port)
    await_none(port)
    return workers


def await_none(port: int) -> None:
    assert holds_within(ANSWERED_WITHIN_S, lambda: connections_of(port).total() == 0)


def connections_of(port: int) -> Counter[int]:
    """Return how many connections with clients each worker has."""
    # An established connection with this port on our side. The addresses are in hexadecimal digits.
    line = re.compile(rf"\s*\d+: [0-9A-F]+:{port:04X} \S+ 01 (?:\S+ +){{5}}(\d+)")
    ours = {match[1] for file in ("tcp", "tcp6") for match in map(line.match, _lines(f"/proc/net/{file}")) if match}
    counts = Counter[int]()
    for worker in workers_of(port):
        for descriptor in Path(f"/proc/{worker}/fd").iterdir():
            with suppress(FileNotFoundError):
                counts[worker] += os.readlink(descriptor).removeprefix("socket:[").removesuffix("]") in ours
    return counts


def _lines(file: str) -> list[str]:
    return Path(file).read_text().splitlines()


def test_a_worker_gets_what_it_has_fewer_of(port: int) -> None:
    taken = 0
    for worker in await_workers(port) * TRIES:
        with ExitStack() as connected:
            os.kill(worker, signal.SIGSTOP)
            try:
                # All are served by the other one, although it leaves some of them to this one first.
                connected.enter_context(clients(port, MANY))
            finally:
                os.kill(worker, signal.SIGCONT)
            before = connections_of(port)
            assert (before[worker], before.total()) == (0, MANY)

            connected.enter_context(few_clients(port))

            after = connections_of(port)
            assert after.total() == MANY + FEW
            taken += after[worker]
        await_none(port)

    assert taken >= TAKEN_MIN * FEW * 2 * TRIES


def test_a_worker_in_place_of_a_killed_one_gets_its_share(port: int) -> None:
    killed, stays = await_workers(port)
    with ExitStack() as connected:
        os.kill(killed, signal.SIGSTOP)
        connected.enter_context(clients(port, MANY))
        os.kill(killed, signal.SIGKILL)
        assert holds_within(ANSWERED_WITHIN_S, lambda: len({*workers_of(port)} - {killed, stays}) == 1)
        (new,) = {*workers_of(port)} - {stays}
        connected.enter_context(clients_of(port, until=lambda _number: connections_of(port)[new] > 0))
        before = connections_of(port)

        connected.enter_context(few_clients(port))

        after = connections_of(port)
        assert after[stays] >= MANY
        assert after[new] - before[new] >= TAKEN_MIN * FEW
