"""Refusals that leave a body unread: the client sees them, and loses no later request."""

import socket
from collections.abc import Iterator

import pytest
from pymongo.database import Database

from app.mongo import Document
from tests.clients import OverHttp
from tests.faults.wire import chunk, head, wire
from tests.people import Bank
from tests.server import running_server

NEXT = head("GET", "/healthz")
VERIFY = "/api/statements/verify"


@pytest.fixture(scope="module")
def port(mongo_uri: str) -> Iterator[int]:
    settings = {"RATELIMIT_ENABLED": "true", "RATELIMIT_MONEY": "1/day"}
    with running_server(mongo_uri, WEB_CONCURRENCY="1", **settings) as port:
        yield port


@pytest.fixture
def bank(port: int, database: Database[Document]) -> Iterator[Bank]:
    client = OverHttp(port)
    yield Bank(client)
    client.close()


REFUSALS = {
    "401": ("POST", VERIFY, "", None, 401),
    "403": ("POST", "/api/transactions/initial-funds", "", "customer", 403),
    "404": ("POST", "/api/nowhere", "", "customer", 404),
    "405": ("PUT", VERIFY, "", "customer", 405),
    "413": ("POST", "/api/auth/login", "", None, 413),
    "415": ("POST", VERIFY, "Content-Encoding: gzip\r\n", "customer", 415),
    "422": ("POST", VERIFY, "", "customer", 422),
    "429": ("POST", "/api/transactions/create", "", "limited", 429),
    "400": ("POST", VERIFY, "", "customer", 400),
}


def token_of(bank: Bank, who: str | None) -> str | None:
    if who is None:
        return None
    person = bank.register()
    if who == "limited":
        person.post("/api/transactions/create", {})
    return person.token


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("size", [100_000, 600_000])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["with a length", "in chunks"])
def test_a_refusal_ends_the_connection_or_reads_the_body(
    port: int, bank: Bank, refusal: str, size: int, is_chunked: bool
) -> None:
    method, path, more, who, status = REFUSALS[refusal]
    if refusal == "413" and size < 512 * 1024:
        status = 400  # it is not too large, and blanks are no JSON
    fields = "Transfer-Encoding: chunked\r\n" if is_chunked else f"Content-Length: {size}\r\n"
    body = (b"{}" if refusal == "422" else b"").ljust(size)
    token = token_of(bank, who)
    with wire(port) as client:
        client.send(
            head(method, path, fields + more, token=token) + (chunk(body) + b"0\r\n\r\n" if is_chunked else body)
        )
        answer = client.answer()
        assert answer is not None
        assert answer.status == status
        if answer.ends_the_connection:
            assert client.answer() is None
        else:
            client.send(NEXT)
            following = client.answer()
            assert following is not None
            assert following.status == 200


def test_broken_chunks_end_the_connection(port: int, bank: Bank) -> None:
    with wire(port) as client:
        client.send(head("POST", VERIFY, "Transfer-Encoding: chunked\r\n", token=bank.system.token))
        client.send(chunk(b" " * 100_000) + b"zz\r\n" + NEXT)
        (answer,) = client.answers()

    assert (answer.status, answer.body["code"], answer.ends_the_connection) == (400, "malformed_json", True)


@pytest.mark.parametrize("is_chunked", [False, True], ids=["with a length", "in chunks"])
@pytest.mark.parametrize("path", ["/api/auth/login", VERIFY, "/api/nowhere"])
def test_who_sends_everything_before_reading_anything_reads_the_refusal(
    port: int, bank: Bank, path: str, is_chunked: bool
) -> None:
    size = 8 * 1024**2
    fields = "Transfer-Encoding: chunked\r\n" if is_chunked else f"Content-Length: {size}\r\n"
    with wire(port) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
        client.send(head("POST", path, fields, token=bank.system.token))
        body = b" " * size
        client.send(chunk(body) + b"0\r\n\r\n" if is_chunked else body)
        (answer,) = client.answers()

    assert answer.status == (404 if path == "/api/nowhere" else 413)
    assert answer.ends_the_connection
