"""Clients that stall, and clients that do not speak HTTP, on a server with few threads."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Timer

import pytest
from pymongo.database import Database

from app.mongo import Document
from local.processes import LOOPBACK, holds_within
from tests.clients import OverHttp
from tests.faults.wire import wire
from tests.people import Bank, Caller
from tests.server import running_server

THREADS = 4
REQUEST_TIMEOUT_S = 1
RELEASE_TIMEOUT_S = 30.0
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
HEAD = b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def port(mongo_uri: str) -> Iterator[int]:
    settings = {"WEB_CONCURRENCY": "1", "THREADS": str(THREADS), "REQUEST_TIMEOUT_S": str(REQUEST_TIMEOUT_S)}
    with running_server(mongo_uri, **settings) as port:
        yield port


def converse(port: int, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes and return status, headers and body of the answer, after which the server hangs up."""
    with socket.create_connection((LOOPBACK, port), timeout=60) as connection:
        connection.sendall(sent)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, body


@pytest.mark.parametrize(
    "begun",
    [b"G", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A", HEAD + b'Content-Length: 100\r\n\r\n{"email"',
     HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"e'],
    ids=["a first letter", "half a head", "half a body", "half a chunk"],
)  # fmt: skip
def test_requests_that_never_end_stop_nobody_else_for_long(port: int, begun: bytes) -> None:
    stalled = [socket.create_connection((LOOPBACK, port)) for _ in range(2 * THREADS)]
    client = OverHttp(port)
    try:
        for connection in stalled:
            connection.sendall(begun)
        asked_at = time.monotonic()

        assert Caller(client).get("/healthz").status == 200

        assert time.monotonic() - asked_at < RELEASE_TIMEOUT_S
    finally:
        client.close()
        for connection in stalled:
            connection.close()


def test_a_request_that_trickles_in_has_to_be_there_in_time(port: int) -> None:
    with socket.create_connection((LOOPBACK, port), timeout=0.1) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
        answer = bytearray()

        def is_refused() -> bool:
            connection.sendall(b"x")
            try:
                answer.extend(connection.recv(65_536))
            except TimeoutError:
                return False
            return True

        assert holds_within(RELEASE_TIMEOUT_S, is_refused)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_answers_that_nobody_takes_stop_nobody_else_for_long(port: int, database: Database[Document]) -> None:
    unread = []
    client = OverHttp(port)
    try:
        for _ in range(2 * THREADS):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            connection.connect((LOOPBACK, port))
            unread.append(connection)
            connection.sendall(b"GET /api/docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n" * 8)
        # Until the kernel's buffers are full.
        time.sleep(1)
        asked_at = time.monotonic()

        assert Caller(client).get("/healthz").status == 200

        assert time.monotonic() - asked_at < 2 * RELEASE_TIMEOUT_S
    finally:
        client.close()
        for connection in unread:
            connection.close()


def test_who_takes_his_time_within_the_limit_is_served(port: int, database: Database[Document]) -> None:
    body = b'{"email": "nobody@fincore.example", "password": "whatever it is"}'
    with socket.create_connection((LOOPBACK, port), timeout=60) as connection:
        for piece in (HEAD, f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode(), body[:9], body[9:]):
            connection.sendall(piece)
            time.sleep(0.1)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 401 ")


def test_connections_are_kept_for_longer_than_a_request_may_take(port: int, database: Database[Document]) -> None:
    client = OverHttp(port)
    try:
        bank = Bank(client)
        payer, account = bank.customer(100)
        time.sleep(REQUEST_TIMEOUT_S + 0.5)
        assert payer.balance(account) == 100
    finally:
        client.close()


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET /" + b"x" * 5_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "request_uri_too_long"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 9_000 + b"\r\n\r\n", 431, "request_header_fields_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 150 + b"\r\n", 431, "request_header_fields_too_large"),
        (HEAD + b"Content-Length: -5\r\n\r\n", 400, "bad_request"),
        (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad_request"),
        (b"get /healthz HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"\x1b]0;owned\x07 / HTTP/1.1\r\n\r\n", 400, "bad_request"),
    ],
)
def test_what_is_no_http_gets_a_problem_too(port: int, sent: bytes, status: int, code: str) -> None:
    answered, headers, body = converse(port, sent)

    problem = json.loads(body)
    assert (answered, problem["status"], problem["code"]) == (status, status, code)
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-request-id"] == problem["requestId"] != ""
    assert set(problem) == {"type", "title", "status", "detail", "code", "requestId"}


def test_a_stop_waits_for_no_idle_connection_and_for_every_request(
    mongo_uri: str, database: Database[Document]
) -> None:
    body = b'{"email": "nobody@fincore.example", "password": "whatever it is"}'
    with ExitStack() as stack:
        with running_server(mongo_uri, WEB_CONCURRENCY="1", KEEP_ALIVE_S="60") as port:
            idle = [stack.enter_context(wire(port)) for _ in range(20)]
            for client in idle[:10]:
                client.send(GET)
                answer = client.answer()
                assert answer is not None
                assert answer.headers["keep-alive"] == "timeout=60"
            begun = stack.enter_context(wire(port))
            begun.send(HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body[:9])
            # Until the server has surely taken it.
            time.sleep(2.0)
            rest = Timer(1.0, begun.send, [body[9:]])
            rest.start()
            stopped_at = time.monotonic()
        assert time.monotonic() - stopped_at < RELEASE_TIMEOUT_S
        rest.join()
        (answer,) = begun.answers()
        assert (answer.status, answer.ends_the_connection) == (401, True)
        assert all(client.answer() is None for client in idle)


def test_an_idle_connection_is_closed_when_its_time_is_over(mongo_uri: str, database: Database[Document]) -> None:
    with running_server(mongo_uri, WEB_CONCURRENCY="1", KEEP_ALIVE_S="1") as port, wire(port) as client:
        asked_at = time.monotonic()
        client.send(GET)
        assert client.answer() is not None
        assert client.answer() is None
        assert 1.0 <= time.monotonic() - asked_at < RELEASE_TIMEOUT_S
