"""Nobody waits for somebody else's client: many bad clients, and what the others notice."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from pymongo.database import Database

from app.mongo import Document
from tests.clients import OverHttp
from tests.faults.wire import Wire, head, post, wire
from tests.people import Bank
from tests.server import running_server

# Each of others' requests. Two seconds are promised, but machines under tests stall. Whoever waited for somebody else's
# client would wait for its time-out, which is longer.
OTHERS_WAIT_MAX_S = 12.0
OTHERS_ASK = 25
# Between them. Without it they take a processor to themselves.
PAUSE_S = 0.02
VERIFY = "/api/statements/verify"


@pytest.fixture(scope="module")
def port(mongo_uri: str) -> Iterator[int]:
    """The port of a server with its usual time-outs: what waits for them waits for long."""
    with running_server(mongo_uri, WEB_CONCURRENCY="1", THREADS="8") as port:
        yield port


@pytest.fixture
def bank(port: int, database: Database[Document]) -> Iterator[Bank]:
    client = OverHttp(port)
    yield Bank(client)
    client.close()


def closed_by_the_server(client: Wire) -> None:
    client.send(head("GET", "/healthz", "Connection: close\r\n"))


def half_sent_upload(client: Wire) -> None:
    client.send(head("POST", VERIFY, "Content-Length: 400000\r\n") + b" " * 200_000)


def silent(client: Wire) -> None:
    """Nothing but a connection."""


def middle_of_a_head(client: Wire) -> None:
    client.send(b"GET /healthz HTTP/1.1\r\nHost: bank\r\nX-A")


def middle_of_a_body(client: Wire) -> None:
    client.send(post("/api/auth/login", b'{"email"', length=100))


def middle_of_a_large_body(client: Wire) -> None:
    client.send(head("POST", "/api/auth/login", "Transfer-Encoding: chunked\r\n") + b"30d40\r\n" + b" " * 100_000)


def expecting(client: Wire) -> None:
    client.send(head("POST", "/api/auth/login", "Expect: 100-continue\r\nContent-Length: 100\r\n"))


def untaken_answers(client: Wire) -> None:
    client.send(b"GET /api/docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n" * 8)


def refused_as_no_http(client: Wire) -> None:
    client.send(b"\x16\x03\x01\r\n\r\n")


@pytest.mark.parametrize(
    ("load", "count"),
    [
        (closed_by_the_server, 40),
        (half_sent_upload, 40),
        (silent, 200),
        (middle_of_a_head, 100),
        (middle_of_a_body, 100),
        (middle_of_a_large_body, 50),
        (expecting, 50),
        (untaken_answers, 50),
        (refused_as_no_http, 100),
    ],
)
def test_others_are_served_beside(port: int, bank: Bank, load: Callable[[Wire], None], count: int) -> None:
    waited_s: list[float] = []
    with ExitStack() as stack:
        for _ in range(count):
            client = stack.enter_context(wire(port))
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            load(client)
        for _ in range(OTHERS_ASK):
            asked_at = time.monotonic()
            with wire(port) as other:
                other.send(head("GET", "/healthz", "Connection: close\r\n"))
                assert [answer.status for answer in other.answers()] == [200]
            waited_s.append(time.monotonic() - asked_at)
            time.sleep(PAUSE_S)

    assert max(waited_s) < OTHERS_WAIT_MAX_S


def test_idle_connections_make_room_for_new_ones(mongo_uri: str, database: Database[Document]) -> None:
    with ExitStack() as stack:
        settings = {"WEB_CONCURRENCY": "1", "GUNICORN_CMD_ARGS": "--worker-connections 40"}
        port = stack.enter_context(running_server(mongo_uri, **settings))
        for _ in range(60):
            stack.enter_context(wire(port))
        for _ in range(60):
            client = stack.enter_context(wire(port))
            client.send(head("GET", "/healthz"))
            answer = client.answer()
            assert answer is not None
            assert answer.status == 200


def test_half_a_request_makes_room_too_where_nobody_rests(mongo_uri: str, database: Database[Document]) -> None:
    settings = {"WEB_CONCURRENCY": "1", "GUNICORN_CMD_ARGS": "--worker-connections 40"}
    with running_server(mongo_uri, **settings) as port:
        for begun in (b"G", post("/api/auth/login", b"{", length=100)):
            with ExitStack() as stack:
                for _ in range(40):
                    stack.enter_context(wire(port)).send(begun)
                asked_at = time.monotonic()
                client = stack.enter_context(wire(port))
                client.send(head("GET", "/healthz"))
                answer = client.answer()

                assert answer is not None
                assert answer.status == 200
                assert time.monotonic() - asked_at < OTHERS_WAIT_MAX_S
