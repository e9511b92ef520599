"""What hostile clients do. Each attack is a generator that says for how many seconds it waits; then its connection is
closed. None of them is a whole request that moves money, so no transfer under a key of `NEVER` may ever be carried out.
"""

import itertools
import json
import random
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from tests.faults.wire import chunk, head, post, post_chunks

NEVER = "never-"


class Means:
    """What attacks are made with: chance, and the session of a customer who has money."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.token = self.payer = self.payee = ""
        self._numbers = itertools.count()

    def transfer(self) -> bytes:
        """Return a body that would move money if it were ever taken for a whole request."""
        return json.dumps(transfer_body(self.payer, self.payee, f"{NEVER}{next(self._numbers)}")).encode()

    def post(self, more: str = "", *, body: bytes | None = None, length: int | None = None) -> bytes:
        body = self.transfer() if body is None else body
        return post("/api/transactions/create", body, token=self.token, more=more, length=length)

    def patience(self) -> float:
        """How long to stay: mostly short, sometimes beyond all of the server's time-outs."""
        return self.chance.choice([0.0, 0.2, 1.0, 5.0, 14.0, 16.0, 25.0])


Attack = Callable[[Means, socket.socket], Iterator[float]]
ATTACKS: dict[str, Attack] = {}


def transfer_body(payer: str, payee: str, key: str) -> dict[str, Any]:
    return {"fromAccount": payer, "toAccount": payee, "amount": 1, "idempotencyKey": key}


def attack(function: Attack) -> Attack:
    ATTACKS[function.__name__] = function
    return function


def reset_at_close(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def pour(sock: socket.socket, data: bytes, *, at_once: int = 65_536, pause_s: float = 0.0) -> Iterator[float]:
    """Send data in pieces, as far as the server takes them."""
    while data:
        with suppress(BlockingIOError):
            data = data[sock.send(data[:at_once]) :]
            if not pause_s:
                continue
        yield max(pause_s, 0.05)


@attack
def silent(means: Means, sock: socket.socket) -> Iterator[float]:
    yield means.patience()


@attack
def half_a_head(means: Means, sock: socket.socket) -> Iterator[float]:
    request = means.post()
    yield from pour(sock, request[: means.chance.randrange(1, request.index(b"\r\n\r\n"))])
    yield means.patience()


@attack
def a_head_letter_by_letter(means: Means, sock: socket.socket) -> Iterator[float]:
    yield from pour(sock, head("GET", "/healthz"), at_once=1, pause_s=1.0)


@attack
def half_a_body_then_the_end(means: Means, sock: socket.socket) -> Iterator[float]:
    yield from pour(sock, means.post(length=means.chance.choice([600, 5_000, 200_000])))
    sock.shutdown(socket.SHUT_WR)
    yield means.patience()


@attack
def half_a_body_then_a_reset(means: Means, sock: socket.socket) -> Iterator[float]:
    yield from pour(sock, means.post(length=means.chance.choice([600, 200_000])))
    yield means.patience()
    reset_at_close(sock)


@attack
def half_a_body_and_the_rest_too_late(means: Means, sock: socket.socket) -> Iterator[float]:
    yield from pour(sock, means.post(length=600))
    yield means.chance.uniform(15.5, 18.0)
    yield from pour(sock, means.post() + means.post())
    yield 1.0


@attack
def half_a_body_of_chunks(means: Means, sock: socket.socket) -> Iterator[float]:
    body = chunk(means.transfer()) + means.chance.choice([b"", b"0\r\n", b"5\r\nab", b"zz\r\n"])
    yield from pour(sock, post_chunks("/api/transactions/create", body, token=means.token))
    if means.chance.random() < 0.5:
        sock.shutdown(socket.SHUT_WR)
    yield means.patience()


@attack
def tiny_chunks(means: Means, sock: socket.socket) -> Iterator[float]:
    pieces = b"".join(chunk(b" ") for _ in range(3_000))
    yield from pour(sock, post_chunks("/api/transactions/create", pieces, token=means.token), at_once=500)
    yield means.patience()


@attack
def a_large_body_that_trickles(means: Means, sock: socket.socket) -> Iterator[float]:
    yield from pour(sock, post("/api/statements/verify", b" " * 70_000, token=means.token, length=900_000))
    yield from pour(sock, b" " * 40, at_once=1, pause_s=1.0)


@attack
def oversize(means: Means, sock: socket.socket) -> Iterator[float]:
    path = means.chance.choice(["/api/auth/login", "/api/statements/verify", "/api/nowhere"])
    yield from pour(sock, head("POST", path, "Content-Length: 8000000\r\n", token=means.token))
    yield from pour(sock, b" " * 1_000_000 * means.chance.choice([1, 2, 8]))
    yield means.patience()


@attack
def refused_and_left_open(means: Means, sock: socket.socket) -> Iterator[float]:
    yield from pour(sock, post("/api/transactions/create", b" " * 90_000, length=400_000))
    yield 40.0


@attack
def closed_and_left_open(means: Means, sock: socket.socket) -> Iterator[float]:
    yield from pour(sock, head("GET", "/healthz", "Connection: close\r\n"))
    yield 40.0


@attack
def idle_after_an_answer(means: Means, sock: socket.socket) -> Iterator[float]:
    for _ in range(means.chance.randrange(1, 4)):
        yield from pour(sock, head("GET", "/healthz"))
        yield means.patience()


@attack
def rubbish(means: Means, sock: socket.socket) -> Iterator[float]:
    yield from pour(sock, means.chance.randbytes(means.chance.choice([10, 1_000, 100_000])))
    yield means.patience()


@attack
def rubbish_behind_a_request(means: Means, sock: socket.socket) -> Iterator[float]:
    yield from pour(sock, head("GET", "/api/auth/me", token=means.token) + b"\0\r\n\r\n" + means.post())
    yield means.patience()


@attack
def two_lengths(means: Means, sock: socket.socket) -> Iterator[float]:
    more = means.chance.choice(
        ["Transfer-Encoding: chunked\r\n", "Content-Length: 0\r\n", "Transfer-Encoding: xchunked\r\n",
         "Transfer-Encoding : chunked\r\n", "Content-Length: +5\r\n", "X: y\n", " folded\r\n", "Host: b\r\n"]
    )  # fmt: skip
    yield from pour(sock, means.post(more) + means.post())
    yield means.patience()


@attack
def an_endless_head(means: Means, sock: socket.socket) -> Iterator[float]:
    line = b"X: " + b"y" * means.chance.choice([10, 7_000, 9_000]) + b"\r\n"
    yield from pour(sock, b"GET / HTTP/1.1\r\nHost: b\r\n" + line * (100_000 // len(line)))
    yield means.patience()


@attack
def waits_to_be_told(means: Means, sock: socket.socket) -> Iterator[float]:
    yield from pour(sock, means.post("Expect: 100-continue\r\n", body=b"", length=500))
    yield means.patience()


@attack
def takes_slowly(means: Means, sock: socket.socket) -> Iterator[float]:
    yield from pour(sock, head("GET", "/api/docs/swagger-ui-bundle.js") * 6)
    for _ in range(means.chance.randrange(25)):
        yield 1.0
        with suppress(BlockingIOError):
            sock.recv(means.chance.choice([1, 1_000, 30_000]))


@attack
def a_reset_instead_of_taking(means: Means, sock: socket.socket) -> Iterator[float]:
    path = means.chance.choice(["/api/openapi.json", "/api/docs/swagger-ui-bundle.js", "/api/transactions"])
    yield from pour(sock, head("GET", path, token=means.token) * 3)
    yield means.chance.choice([0.0, 0.01, 0.3])
    reset_at_close(sock)


@attack
def tls(means: Means, sock: socket.socket) -> Iterator[float]:
    yield from pour(sock, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + means.chance.randbytes(500))
    yield means.patience()
