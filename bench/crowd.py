"""The load generator of `bench.overload`, a program of its own that starts quickly.

Reads a plan from standard input as JSON, as `bench.client` does, and writes what it saw of each request.
"""

import json
import selectors
import socket
import sys
import time
from typing import Any

from bench.client import RECEIVE_BYTES_MAX, Stream


class Generator:
    """Keeps every stream of a plan busy, and notes (when it ended, how long it took, status) of each request.

    The times count from the start. A status of 0 is a connection that broke. Who is told 503 waits for as long as
    `Retry-After` says.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._begun = time.perf_counter()
        self._selector = selectors.DefaultSelector()
        self.seen: list[tuple[float, float, int]] = []
        # A stream connects when its turn comes.
        self._later = [
            (self._begun, Stream(socket.socket(), stream["token"], stream["requests"], plan["name"]))
            for stream in plan["streams"]
        ]

    def run(self) -> None:
        while (now := time.perf_counter()) < self._begun + self._plan["seconds"]:
            due = [stream for at, stream in self._later if at <= now]
            self._later = [(at, stream) for at, stream in self._later if at > now]
            for stream in due:
                self._send(stream)
            for key, _ in self._selector.select(0.02):
                try:
                    self._receive(key.data)
                except OSError:
                    self._note(key.data, 0)
                    self._hang_up(key.data)
                    self._later.append((time.perf_counter() + 0.1, key.data))

    def _send(self, stream: Stream) -> None:
        if stream.connection.fileno() == -1 or stream.sent_at == 0.0:
            stream.connection = socket.create_connection(("127.0.0.1", self._plan["port"]), timeout=30)
            self._selector.register(stream.connection, selectors.EVENT_READ, stream)
        stream.received = b""
        stream.send()

    def _receive(self, stream: Stream) -> None:
        data = stream.connection.recv(RECEIVE_BYTES_MAX)
        stream.received += data
        head, found, rest = stream.received.partition(b"\r\n\r\n")
        if data and not (found and len(rest) >= _length(head)):
            return
        status = int(head[9:12]) if data else 0
        self._note(stream, status)
        if not data or b"connection: close" in head.lower():
            self._hang_up(stream)
        pause_s = float(_field(head, b"retry-after: ") or 1) if status == 503 else 0.0
        self._later.append((time.perf_counter() + pause_s, stream))

    def _note(self, stream: Stream, status: int) -> None:
        now = time.perf_counter()
        self.seen.append((now - self._begun, now - stream.sent_at, status))

    def _hang_up(self, stream: Stream) -> None:
        self._selector.unregister(stream.connection)
        stream.connection.close()


def crowd(plan: dict[str, Any]) -> list[tuple[float, float, int]]:
    generator = Generator(plan)
    generator.run()
    return generator.seen


def _length(head: bytes) -> int:
    return int(_field(head, b"content-length: ") or 0)


def _field(head: bytes, name: bytes) -> bytes:
    return head.lower().partition(name)[2].split(b"\r\n", 1)[0]


if __name__ == "__main__":
    json.dump(crowd(json.load(sys.stdin)), sys.stdout)
