"""Attacks that make a message end in two places, by breaking the framing rules of RFC 9112."""

import json
from collections.abc import Iterator
from http import HTTPStatus

import pytest
from pymongo.database import Database

from app.mongo import Document
from tests.clients import OverHttp
from tests.faults.wire import chunk, head, post, post_chunks, wire
from tests.people import Bank
from tests.server import running_server

# Answered only if the server takes what comes behind a refused message for another one.
NEXT = b"GET /healthz HTTP/1.1\r\nHost: bank\r\n\r\n"
LOGIN = "/api/auth/login"
BODY = json.dumps({"email": "nobody@fincore.example", "password": "not the password"}).encode()
LENGTH = f"Content-Length: {len(BODY)}\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
CHUNKS = chunk(BODY) + b"0\r\n\r\n"


@pytest.fixture(scope="module")
def port(mongo_uri: str) -> Iterator[int]:
    with running_server(mongo_uri, WEB_CONCURRENCY="1", REQUEST_TIMEOUT_S="2") as port:
        yield port


@pytest.fixture
def bank(port: int, database: Database[Document]) -> Iterator[Bank]:
    client = OverHttp(port)
    yield Bank(client)
    client.close()


def login(fields: str, body: bytes = BODY) -> bytes:
    return head("POST", LOGIN, fields) + body


def lines(*parts: bytes, end: bytes = b"\r\n") -> bytes:
    return end.join([*parts, b"", b""])


REFUSED: dict[str, tuple[bytes, int]] = {
    "both lengths": (login(LENGTH + CHUNKED, CHUNKS), 400),
    "both lengths, the other way round": (login(CHUNKED + LENGTH, CHUNKS), 400),
    "two lengths alike": (login(LENGTH + LENGTH), 400),
    "two lengths that differ": (login("Content-Length: 0\r\n" + LENGTH), 400),
    "a list of lengths": (login(f"Content-Length: {len(BODY)}, {len(BODY)}\r\n"), 400),
    "a length with a plus": (login(f"Content-Length: +{len(BODY)}\r\n"), 400),
    "a length below zero": (login("Content-Length: -1\r\n"), 400),
    "a length in hexadecimal": (login("Content-Length: 0x3d\r\n"), 400),
    "a length with a fraction": (login(f"Content-Length: {len(BODY)}.0\r\n"), 400),
    "a length with an underscore": (login("Content-Length: 6_1\r\n"), 400),
    "a length of another script": (login("Content-Length: \u00b2\r\n"), 400),
    "a length of blanks": (login("Content-Length:  \r\n"), 400),
    "a length beyond all bounds": (login(f"Content-Length: {'9' * 40}\r\n"), 400),
    "a blank before a colon": (login(f"Content-Length : {len(BODY)}\r\n"), 400),
    "a tab before a colon": (login(f"Transfer-Encoding\t: chunked\r\n{LENGTH}"), 400),
    "a field without a name": (login(f": x\r\n{LENGTH}"), 400),
    "a line that is no field": (login(f"x\r\n{LENGTH}"), 400),
    "a folded line": (login(f"X-A: b\r\n c\r\n{LENGTH}"), 400),
    "a folded coding": (login(f"Transfer-Encoding:\r\n chunked\r\n{LENGTH}", CHUNKS), 400),
    "a first field behind a blank": (lines(b"GET /healthz HTTP/1.1", b" X: y", b"Host: bank"), 400),
    "line feeds alone": (lines(b"GET /healthz HTTP/1.1", b"Host: bank", end=b"\n"), 400),
    "a line feed alone": (b"GET /healthz HTTP/1.1\r\nHost: bank\nX: y\r\n\r\n", 400),
    "a line feed alone at the end": (b"GET /healthz HTTP/1.1\r\nHost: bank\r\n\n", 400),
    "carriage returns alone": (login(f"X: y\rContent-Length: 3\r\n{LENGTH}"), 400),
    "a NUL in a field": (login(f"X: \0\r\n{LENGTH}"), 400),
    "a NUL in a name": (login(f"X\0: y\r\n{LENGTH}"), 400),
    "a NUL in a path": (b"GET /healthz\0 HTTP/1.1\r\nHost: bank\r\n\r\n", 400),
    "a coding and chunks": (login("Transfer-Encoding: gzip, chunked\r\n", CHUNKS), 501),
    "a coding and chunks in two fields": (login(f"Transfer-Encoding: gzip\r\n{CHUNKED}", CHUNKS), 501),
    "chunks that are no chunks": (login("Transfer-Encoding: identity, chunked\r\n", CHUNKS), 501),
    "an unknown coding": (login("Transfer-Encoding: xchunked\r\n", CHUNKS), 501),
    "a coding in quotes": (login('Transfer-Encoding: "chunked"\r\n', CHUNKS), 501),
    "a coding with a parameter": (login("Transfer-Encoding: chunked;q=1\r\n", CHUNKS), 501),
    "a coding alone": (login("Transfer-Encoding: gzip\r\n"), 400),
    "no chunks alone": (login(f"Transfer-Encoding: identity\r\n{LENGTH}"), 400),
    "chunks twice": (login("Transfer-Encoding: chunked, chunked\r\n", CHUNKS), 400),
    "chunks in two fields": (login(CHUNKED + CHUNKED, CHUNKS), 400),
    "chunks behind a vertical tab": (login("Transfer-Encoding: \x0bchunked\r\n", CHUNKS), 400),
    "chunks in HTTP/1.0": (login(CHUNKED, CHUNKS).replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
    "a chunk with a sign": (post_chunks(LOGIN, b"+" + CHUNKS), 400),
    "a chunk below zero": (post_chunks(LOGIN, b"-" + CHUNKS), 400),
    "a chunk in 0x": (post_chunks(LOGIN, b"0x" + CHUNKS), 400),
    "a chunk behind a blank": (post_chunks(LOGIN, b" " + CHUNKS), 400),
    "a chunk before a blank": (post_chunks(LOGIN, CHUNKS.replace(b"\r\n", b" \r\n", 1)), 400),
    "a chunk without a size": (post_chunks(LOGIN, b"\r\n" + CHUNKS), 400),
    "a chunk beyond all bounds": (post_chunks(LOGIN, b"f" * 17 + b"\r\n" + CHUNKS), 400),
    "a chunk that is longer than its size": (post_chunks(LOGIN, b"5\r\n" + BODY + b"\r\n0\r\n\r\n"), 400),
    "a chunk that ends with a line feed": (post_chunks(LOGIN, CHUNKS.replace(b"}\r\n", b"}\n")), 400),
    "a size that ends with a line feed": (post_chunks(LOGIN, CHUNKS.replace(b"\r\n", b"\n", 1)), 400),
    "a last chunk that ends with a line feed": (post_chunks(LOGIN, CHUNKS.replace(b"0\r\n", b"0\n")), 400),
    "an extension with a line feed": (post_chunks(LOGIN, CHUNKS.replace(b"\r\n", b";a=\nb\r\n", 1)), 400),
    "an extension with a carriage return": (post_chunks(LOGIN, CHUNKS.replace(b"\r\n", b";a=\rb\r\n", 1)), 400),
    "an extension without a name": (post_chunks(LOGIN, CHUNKS.replace(b"\r\n", b";=b\r\n", 1)), 400),
    "an extension without an end": (post_chunks(LOGIN, CHUNKS.replace(b"\r\n", b";" + b"a" * 5_000, 1)), 400),
    "a trailer that is no field": (post_chunks(LOGIN, CHUNKS.replace(b"0\r\n", b"0\r\nx\r\n")), 400),
    "a length as a trailer": (post_chunks(LOGIN, CHUNKS.replace(b"0\r\n", b"0\r\nContent-Length: 9\r\n")), 400),
    "a token as a trailer": (post_chunks(LOGIN, CHUNKS.replace(b"0\r\n", b"0\r\nAuthorization: Bearer x\r\n")), 400),
    "a trailer with a line feed": (post_chunks(LOGIN, CHUNKS.replace(b"0\r\n", b"0\r\nX: y\nZ: a\r\n")), 400),
    "trailers without an end": (post_chunks(LOGIN, chunk(BODY) + b"0\r\nX: " + b"y" * 20_000), 400),
    "no host": (lines(b"GET /healthz HTTP/1.1"), 400),
    "two hosts": (lines(b"GET /healthz HTTP/1.1", b"Host: a", b"Host: a"), 400),
    "a host of blanks": (lines(b"GET /healthz HTTP/1.1", b"Host: "), 400),
    "a host with blanks": (lines(b"GET /healthz HTTP/1.1", b"Host: a b/c"), 400),
    "a host with a path": (lines(b"GET /healthz HTTP/1.1", b"Host: a/b"), 400),
    "a host with a user": (lines(b"GET /healthz HTTP/1.1", b"Host: me@bank"), 400),
    "a list of hosts": (lines(b"GET /healthz HTTP/1.1", b"Host: a, b"), 400),
    "a port that is none": (lines(b"GET /healthz HTTP/1.1", b"Host: a:x"), 400),
    "no version": (lines(b"GET /healthz", b"Host: bank"), 400),
    "another version": (lines(b"GET /healthz HTTP/2.0", b"Host: bank"), 400),
    "another protocol": (lines(b"GET /healthz HTTPS/1.1", b"Host: bank"), 400),
    "two blanks in a line": (lines(b"GET  /healthz HTTP/1.1", b"Host: bank"), 400),
    "two blanks before the version": (lines(b"GET /healthz  HTTP/1.1", b"Host: bank"), 400),
    "a tab in a line": (lines(b"GET\t/healthz HTTP/1.1", b"Host: bank"), 400),
    "a method in small letters": (lines(b"get /healthz HTTP/1.1", b"Host: bank"), 400),
    "two empty lines before a request": (b"\r\n\r\nGET /healthz HTTP/1.1\r\nHost: bank\r\n\r\n", 400),
    "an endless line": (b"GET /" + b"x" * 70_000, 414),
    "an endless field": (b"GET / HTTP/1.1\r\nHost: bank\r\nX: " + b"x" * 70_000, 431),
    "endless fields": (b"GET / HTTP/1.1\r\nHost: bank\r\n" + b"X: y\r\n" * 20_000, 431),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
}  # fmt: skip


@pytest.mark.parametrize("attack", REFUSED)
def test_a_message_that_could_end_in_two_places_is_refused_and_ends_its_connection(
    port: int, bank: Bank, attack: str
) -> None:
    sent, status = REFUSED[attack]
    with wire(port) as client:
        client.send(sent + NEXT)
        answers = client.answers()

    assert [answer.status for answer in answers] == [status]
    assert answers[0].ends_the_connection
    problem = answers[0].body
    assert problem["requestId"] == answers[0].headers["x-request-id"] != ""
    if problem["code"] != "malformed_json":  # of chunks that the application reads
        assert (problem["type"], problem["title"]) == ("about:blank", HTTPStatus(status).phrase)


# What is only unusual, and means one thing.
TAKEN: dict[str, tuple[bytes, int]] = {
    "an empty line before a request": (b"\r\n" + login(LENGTH), 401),
    "an empty line behind a body": (login(LENGTH) + b"\r\n", 401),
    "names in any case": (login(LENGTH.upper()), 401),
    "no blank behind a colon": (login(LENGTH.replace(": ", ":")), 401),
    "blanks around a length": (login(f"Content-Length: \t {len(BODY)} \t\r\n"), 401),
    "a length with zeros": (login(f"Content-Length: 000{len(BODY)}\r\n"), 401),
    "chunks in any case": (login("Transfer-Encoding: CHUNKED\r\n", CHUNKS), 401),
    "an extension": (post_chunks(LOGIN, CHUNKS.replace(b"\r\n", b';a=b;c="d e"\r\n', 1)), 401),
    "an extension behind a blank": (post_chunks(LOGIN, CHUNKS.replace(b"\r\n", b" ; a\r\n", 1)), 401),
    "an extension of the last chunk": (post_chunks(LOGIN, CHUNKS.replace(b"0\r\n", b"0;a\r\n")), 401),
    "trailers": (post_chunks(LOGIN, CHUNKS.replace(b"0\r\n", b"0\r\nX-Sum: 1\r\nY: 2\r\n")), 401),
    "chunks of zeros": (post_chunks(LOGIN, b"000" + CHUNKS.replace(b"0\r\n", b"00\r\n")), 401),
    "a chunk size in capitals": (post_chunks(LOGIN, CHUNKS.upper()[:2] + CHUNKS[2:]), 401),
    "an upgrade": (login("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n" + LENGTH), 401),
    "an upgrade to HTTP/2": (login("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n" + LENGTH), 401),
    "a host with a port": (lines(b"GET /healthz HTTP/1.1", b"Host: bank:8080"), 200),
    "a host that is an address": (lines(b"GET /healthz HTTP/1.1", b"Host: [::1]:8080"), 200),
    "a whole address": (lines(b"GET http://other/healthz HTTP/1.1", b"Host: bank"), 200),
    "a minor version to come": (lines(b"GET /healthz HTTP/1.9", b"Host: bank"), 200),
    "a body that a call does not read": (head("GET", "/api/accounts", "Content-Length: 2\r\n") + b"{}", 401),
    "a large one": (head("GET", "/api/accounts", "Content-Length: 60000\r\n") + b"{}".ljust(60_000), 401),
}  # fmt: skip


@pytest.mark.parametrize("message", TAKEN)
def test_a_message_that_is_only_unusual_is_answered_and_so_is_the_next(port: int, bank: Bank, message: str) -> None:
    sent, status = TAKEN[message]
    with wire(port) as client:
        client.send(sent + NEXT)
        answers = [client.answer(), client.answer()]

    assert [(answer.version, answer.status) for answer in answers if answer] == [
        ("HTTP/1.1", status),
        ("HTTP/1.1", 200),
    ]


@pytest.mark.parametrize("options", ["close", "CLOSE", "TE, close", "close, TE", "keep-alive,close", "a ,\tClose"])
def test_who_asks_for_the_connection_to_end_has_it_ended(port: int, bank: Bank, options: str) -> None:
    with wire(port) as client:
        client.send(head("GET", "/healthz", f"Connection: {options}\r\n") + NEXT)
        (answer,) = client.answers()

    assert (answer.status, answer.ends_the_connection) == (200, True)


def test_close_may_come_in_a_field_of_its_own(port: int, bank: Bank) -> None:
    with wire(port) as client:
        client.send(head("GET", "/healthz", "Connection: TE\r\nConnection: close\r\n") + NEXT)
        (answer,) = client.answers()

    assert answer.ends_the_connection


def test_a_kept_connection_says_for_how_long(port: int, bank: Bank) -> None:
    with wire(port) as client:
        client.send(head("GET", "/healthz"))
        answer = client.answer()

    assert answer is not None
    assert (answer.headers["connection"], answer.headers["keep-alive"]) == ("keep-alive", "timeout=15")


@pytest.mark.parametrize("name", ["Authorization", "Idempotency-Key", "X-Request-ID", "Content-Encoding", "Origin"])
def test_a_header_that_has_one_value_comes_once(port: int, bank: Bank, name: str) -> None:
    with wire(port) as client:
        client.send(post(LOGIN, BODY, more=f"{name}: identity\r\n" * 2) + NEXT)
        answers = [client.answer(), client.answer()]

    assert answers[0] is not None
    assert (answers[0].status, answers[0].body["code"]) == (422, "validation_failed")
    assert answers[0].body["errors"] == {name: ["Occurs more than once."]}
    assert answers[1] is not None


@pytest.mark.parametrize("coding", ["gzip", "br", "GZIP", "identity, gzip", "x"])
def test_a_coded_body_is_no_json(port: int, bank: Bank, coding: str) -> None:
    with wire(port) as client:
        client.send(post(LOGIN, BODY, more=f"Content-Encoding: {coding}\r\n"))
        answer = client.answer()

    assert answer is not None
    assert (answer.status, answer.body["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    "path", ["/api%2Fauth/login", "/api/auth%2flogin", "/api/auth/login%2F", "http://x/api%2Fauth/login"]
)
def test_an_encoded_slash_is_no_slash(port: int, bank: Bank, path: str) -> None:
    with wire(port) as client:
        client.send(post(path, BODY))
        answer = client.answer()

    assert answer is not None
    assert (answer.status, answer.body["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["/healthz", "/api/openapi.json", "/api/auth/me", "/api/accounts"])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["with a length", "in chunks"])
def test_a_get_with_a_body_is_refused(port: int, bank: Bank, path: str, is_chunked: bool) -> None:
    body = b'{"amount":1}'
    fields, sent = (CHUNKED, chunk(body) + b"0\r\n\r\n") if is_chunked else (f"Content-Length: {len(body)}\r\n", body)
    with wire(port) as client:
        client.send(head("GET", path, fields, token=bank.system.token) + sent + NEXT)
        answers = [client.answer(), client.answer()]

    assert answers[0] is not None
    assert (answers[0].status, answers[0].body["errors"]) == (422, {"amount": ["Unknown field."]})
    assert answers[1] is not None
    assert answers[1].status == 200


@pytest.mark.parametrize("target", ["//healthz", "/healthz#x", "/api%2Fdocs"])
def test_a_target_that_a_proxy_could_take_for_another_names_nothing(port: int, target: str) -> None:
    with wire(port) as client:
        client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = client.answer()

    assert answer is not None
    assert answer.status in (400, 404)


def test_a_refused_head_request_is_answered_without_a_body(port: int) -> None:
    with wire(port) as client:
        client.send(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        client.end()
        received = b""
        while data := client.socket.recv(65_536):
            received += data

    assert received.startswith(b"HTTP/1.1 408 ")
    assert received.endswith(b"\r\n\r\n")
