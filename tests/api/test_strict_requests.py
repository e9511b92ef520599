"""What a request says beyond what its call asks for, and bodies that break off or do not end."""

import json
import socket

import pytest

from tests.support import Bank, OverHttp

BODY_BYTES_MAX = 512 * 1024
SOCKET_TIMEOUT_S = 20


def sent_raw(bank: Bank, data: bytes) -> bytes:
    """Send these bytes over a connection of their own and return all that comes back until the server closes it."""
    assert isinstance(bank.client, OverHttp)
    with socket.create_connection(("127.0.0.1", bank.client.port), timeout=SOCKET_TIMEOUT_S) as connection:
        connection.sendall(data)
        received = bytearray()
        while part := connection.recv(65_536):
            received += part
    return bytes(received)


def chunked(path: str, token: str | None, *chunks: bytes) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: bank", "Content-Type: application/json", "Transfer-Encoding: chunked"]
    head += [f"Authorization: Bearer {token}"] if token else []
    return "\r\n".join([*head, "", ""]).encode() + b"".join(chunks)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


NEXT_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n",
        b"-1\r\n",
        b"5\r\nabcdefg\r\n0\r\n\r\n",
        b"2\r\n{}\r\n0\r\nno header\r\n\r\n",
        b"2;=\r\n{}\r\n0\r\n\r\n",
    ],
    ids=["no size", "a size below zero", "more than its size", "a bad trailer", "a bad extension"],
)  # fmt: skip
def test_a_body_in_broken_chunks_is_malformed_and_ends_its_connection(live_bank: Bank, body: bytes) -> None:
    received = sent_raw(live_bank, chunked("/api/auth/login", None, body, NEXT_REQUEST))

    assert received.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"malformed_json"' in received
    assert received.count(b"HTTP/1.1 ") == 1


def login_of(size: int, *, then: bytes = b"") -> bytes:
    """Return a login that fails for its password, padded with blanks to `size` bytes."""
    return json.dumps({"email": "a@fincore.example", "password": "wrong password"}).encode().ljust(size) + then


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (login_of(BODY_BYTES_MAX), 401),
        (login_of(BODY_BYTES_MAX + 1), 413),
        (login_of(BODY_BYTES_MAX, then=b"GARBAGE"), 413),
        (login_of(2 * BODY_BYTES_MAX), 413),
    ],
    ids=["the most", "a byte more", "garbage behind it", "twice the most"],
)
@pytest.mark.parametrize("is_chunked", [False, True], ids=["with a length", "in chunks"])
def test_a_body_over_the_limit_is_refused_and_not_cut(
    live_bank: Bank, body: bytes, status: int, is_chunked: bool
) -> None:
    if is_chunked:
        sent = chunked("/api/auth/login", None, chunk(body), b"0\r\n\r\n")
    else:
        head = "POST /api/auth/login HTTP/1.1\r\nHost: bank\r\nContent-Type: application/json\r\n"
        sent = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    assert sent_raw(live_bank, sent + NEXT_REQUEST).startswith(b"HTTP/1.1 %d " % status)


def test_a_call_with_a_limit_of_its_own_refuses_what_is_over_it(live_bank: Bank) -> None:
    token = live_bank.register().token
    for size, status in ((BODY_BYTES_MAX + 1, 422), (4 * 1024**2, 422), (4 * 1024**2 + 1, 413)):
        sent = chunked("/api/statements/verify", token, chunk(b"{}".ljust(size)), b"0\r\n\r\n")

        assert sent_raw(live_bank, sent + NEXT_REQUEST).startswith(b"HTTP/1.1 %d " % status), size
