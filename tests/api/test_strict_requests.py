"""What a request says beyond what its call asks for, and bodies that break off or do not end."""

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
