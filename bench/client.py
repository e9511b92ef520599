"""A load generator that costs little: one thread, one keep-alive connection for each stream, requests made beforehand.

Reads a plan from standard input as JSON and writes what it saw to standard output as JSON. A plan has a `port`, a
`name` that no other plan has, `seconds`, and `streams`, each {"token": …, "requests": [[method, path, body], …]}.
In a body KEY becomes an idempotency key that was not used before. With a `rate`, requests begin at that pace, each on
a stream that is free, and a latency counts from when its request should have begun.
"""

import json
import selectors
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import Any

RECEIVE_BYTES_MAX = 64 * 1024
SELECT_TIMEOUT_S = 1.0

_numbers = count()


@dataclass
class Stream:
    """A connection that sends its next request as soon as the last one is answered."""

    connection: socket.socket
    token: str
    requests: list[list[str]]
    key_prefix: str
    received: bytes = b""
    sent_at: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def send(self, due_at: float | None = None) -> None:
        number = next(_numbers)
        method, path, body = self.requests[number % len(self.requests)]
        content = body.replace("KEY", f"{self.key_prefix}-{number}")
        described = f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n" if content else ""
        self.sent_at = time.perf_counter() if due_at is None else due_at
        self.connection.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: bench\r\n{described}"
            f"Authorization: Bearer {self.token}\r\n\r\n{content}".encode()
        )

    def receive(self) -> bool:
        """Take what has arrived and return whether the response is complete."""
        data = self.connection.recv(RECEIVE_BYTES_MAX)
        if not data:
            raise ConnectionError("The server closed the connection.")
        self.received += data
        head, found, rest = self.received.partition(b"\r\n\r\n")
        if not found:
            return False
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return False
        self.latencies.append(time.perf_counter() - self.sent_at)
        self.statuses[int(head[9:12])] += 1
        self.received = b""
        return True


def run(plan: dict[str, Any]) -> dict[str, Any]:
    """Keep every stream of the plan busy for its `seconds` and return the statuses, the rate and the latencies."""
    streams = [
        Stream(socket.create_connection(("127.0.0.1", plan["port"])), stream["token"], stream["requests"], plan["name"])
        for stream in plan["streams"]
    ]
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            stream.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(stream.connection, selectors.EVENT_READ, stream)
        started_at = time.perf_counter()
        end = started_at + plan["seconds"]
        if plan.get("rate"):
            _at_a_pace(selector, streams, started_at, end, plan["rate"])
        else:
            _as_fast_as_answered(selector, streams, end)
        took_s = time.perf_counter() - started_at
    for stream in streams:
        stream.connection.close()
    latencies = sorted(latency for stream in streams for latency in stream.latencies)
    statuses: Counter[int] = sum((stream.statuses for stream in streams), Counter())
    return {
        "statuses": statuses,
        "requests": len(latencies),
        "seconds": took_s,
        "median_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
    }


def _as_fast_as_answered(selector: selectors.BaseSelector, streams: list[Stream], end: float) -> None:
    for stream in streams:
        stream.send()
    under_way = len(streams)
    while under_way:
        for key, _ in selector.select(SELECT_TIMEOUT_S):
            if key.data.receive():
                if time.perf_counter() < end:
                    key.data.send()
                else:
                    under_way -= 1


def _at_a_pace(
    selector: selectors.BaseSelector, streams: list[Stream], started_at: float, end: float, rate: float
) -> None:
    free = list(streams)
    due = [started_at + number / rate for number in range(max(1, int((end - started_at) * rate)))][::-1]
    while due or len(free) < len(streams):
        now = time.perf_counter()
        while due and free and due[-1] <= now:
            free.pop().send(due.pop())
        wait_s = max(0.0, due[-1] - now) if due and free else SELECT_TIMEOUT_S
        free += [key.data for key, _ in selector.select(wait_s) if key.data.receive()]


def main() -> None:
    json.dump(run(json.load(sys.stdin)), sys.stdout)


if __name__ == "__main__":
    main()
