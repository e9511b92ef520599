"""A client that writes bytes where it likes and stops where it likes, and reads what comes back."""

import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from local.processes import LOOPBACK

ANSWER_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class RawAnswer:
    """One answer as it came over the wire, without its body's coding."""

    version: str
    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content)

    @property
    def ends_the_connection(self) -> bool:
        return self.headers.get("connection") == "close"


class Wire:
    """A connection to the server."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._received = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def end(self) -> None:
        """Say that nothing follows, and go on listening."""
        self.socket.shutdown(socket.SHUT_WR)

    def answer(self) -> RawAnswer | None:
        """Return the next answer, or None if the server has hung up."""
        head = self._through(b"\r\n\r\n")
        if head is None:
            return None
        first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        version, status = first.split()[:2]
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = int(headers.get("content-length", 0))
        while len(self._received) < length and self._receive():
            pass
        content, self._received = self._received[:length], self._received[length:]
        return RawAnswer(version, int(status), headers, content)

    def answers(self) -> list[RawAnswer]:
        """Return all answers until the server hangs up."""
        return list(iter(self.answer, None))

    def _through(self, end: bytes) -> bytes | None:
        while end not in self._received:
            if not self._receive():
                assert not self._received, self._received
                return None
        head, _, self._received = self._received.partition(end)
        return head + end

    def _receive(self) -> bytes:
        try:
            data = self.socket.recv(65_536)
        except ConnectionError:
            data = b""
        self._received += data
        return data


def program(name: str) -> str:
    """Return where a proxy is, or skip the test."""
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if found is None:
        # The project does not install this program. Without it, the test must not look as if it had run.
        pytest.skip(f"{name} is NOT INSTALLED, so nothing was tried behind it: apt-get install {name}")
    return found


@contextmanager
def wire(port: int) -> Iterator[Wire]:
    with socket.create_connection((LOOPBACK, port), timeout=ANSWER_TIMEOUT_S) as connection:
        yield Wire(connection)


def post(path: str, body: bytes, *, token: str | None = None, length: int | None = None, more: str = "") -> bytes:
    """Return a POST of this body, with a wrong length if asked for."""
    length = len(body) if length is None else length
    return head("POST", path, f"Content-Length: {length}\r\n{more}", token=token) + body


def post_chunks(path: str, body: bytes, *, token: str | None = None) -> bytes:
    """Return the head of a POST in chunks with these bytes behind it."""
    return head("POST", path, "Transfer-Encoding: chunked\r\n", token=token) + body


def head(method: str, path: str, more: str = "", *, token: str | None = None) -> bytes:
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: bank\r\nContent-Type: application/json\r\n{authorization}{more}\r\n"
    ).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
