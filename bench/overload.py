"""Ten times more clients than are served best: what becomes of throughput, waiting, memory, and of other work.

Run it from the top of the project: `python -m bench.overload`. With `--crowd` it is the load generator of another run.
"""

import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.client import RECEIVE_BYTES_MAX, Stream
from bench.extent import BRIEF_OPTION, extent
from bench.transfers import with_bank
from config import ROOT
from tests.clients import OverHttp
from tests.people import PASSWORD, Bank, Person
from tests.server import children, running_server

CROWD = "--crowd"
SIZES = [16, 64] if BRIEF_OPTION not in sys.argv else [2]
TIMES = 10
PHASE_S = extent(5.0, brief=0.3)
OVERLOAD_S = extent(12.0, brief=0.5)
PEOPLE = extent(16, brief=2)
OTHERS = extent(8, brief=1)
FUNDS = 1_000_000_000
BODIES = 50

Customer = tuple[Person, str]


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


class Crowd:
    """A load generator in a process of its own."""

    _number = 0

    def __init__(self, port: int, requests: list[dict[str, Any]], clients: int, seconds: float) -> None:
        Crowd._number += 1
        streams = [requests[number % len(requests)] for number in range(clients)]
        plan = {"port": port, "name": f"crowd {Crowd._number}", "streams": streams, "seconds": seconds}
        command = [sys.executable, "-m", "bench.overload", CROWD]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(plan).encode())
        self._process.stdin.close()
        self.seconds = seconds

    def seen(self) -> "Seen":
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.read())
        assert self._process.wait() == 0
        return Seen(told, self.seconds)


class Seen:
    """What a crowd saw, without its first second."""

    def __init__(self, told: list[list[Any]], seconds: float) -> None:
        self.told = told
        lead_s = min(1.0, seconds / 3)
        steady = [each for each in told if each[0] >= lead_s]
        self.statuses = Counter(status for _, _, status in steady)
        self._done = sorted(took for _, took, status in steady if status in (200, 201))
        self._refused = sorted(took for _, took, status in steady if status == 503)
        self.rate = len(self._done) / (seconds - lead_s)

    def __str__(self) -> str:
        refused = f", refused after {self._refused[-1] * 1000:,.0f} ms at most" if self._refused else ""
        return (
            f"{self.rate:6,.0f} done/s, median {self.at(0.5):5,.0f} ms, p99 {self.at(0.99):6,.0f} ms, "
            f"max {self.at(1):6,.0f} ms, {dict(self.statuses)}{refused}"
        )

    def at(self, share: float) -> float:
        """Return the latency in ms that this share of what was done stayed below."""
        return self._done[min(int(len(self._done) * share), len(self._done) - 1)] * 1000 if self._done else 0.0


def transfers(customers: list[Customer]) -> list[dict[str, Any]]:
    accounts = [account for _, account in customers]
    return [
        {
            "token": person.token,
            "requests": [
                ["POST", "/api/transactions/create", json.dumps(_transfer(account, accounts, number))]
                for number in range(BODIES)
            ],
        }
        for person, account in customers
    ]


def _transfer(payer: str, accounts: list[str], number: int) -> dict[str, Any]:
    others = [account for account in accounts if account != payer]
    return {"fromAccount": payer, "toAccount": others[number % len(others)], "amount": 1, "idempotencyKey": "KEY"}


def reads(customers: list[Customer]) -> list[dict[str, Any]]:
    return [
        {"token": person.token, "requests": [["GET", f"/api/accounts/{account}/balance", ""]]}
        for person, account in customers
    ]


def logins(customers: list[Customer]) -> list[dict[str, Any]]:
    return [
        {
            "token": person.token,
            "requests": [
                ["POST", "/api/auth/login", json.dumps({"email": person.user["email"], "password": PASSWORD})]
            ],
        }
        for person, _ in customers
    ]


class Memory(threading.Thread):
    """Looks at the workers' resident memory as long as it runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        masters = [pid for pid in children(os.getpid()) if b"gunicorn" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        self._workers = [worker for master in masters for worker in children(master)]
        self._over = threading.Event()
        self.first_mb = self.now_mb()
        self.most_mb = self.first_mb

    def now_mb(self) -> int:
        total = 0
        for pid in self._workers:
            with suppress(OSError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return total // 1024**2

    def run(self) -> None:
        while not self._over.wait(0.5):
            self.most_mb = max(self.most_mb, self.now_mb())

    def end(self) -> str:
        self._over.set()
        return f"memory of the workers {self.first_mb} MB before, {self.most_mb} MB at most, {self.now_mb()} MB after"


def main() -> None:
    def run(uri: str) -> None:
        with running_server(uri) as port:
            client = OverHttp(port)
            bank = Bank(client)
            customers = [bank.customer(FUNDS) for _ in range(PEOPLE)]
            client.close()
            best = max((measure(port, customers, size) for size in SIZES), key=lambda seen: seen[1].rate)
            overload(port, customers, *best)
            beside(port, customers, best[0] * TIMES)

    with_bank(run)


def measure(port: int, customers: list[Customer], size: int) -> tuple[int, Seen]:
    seen = Crowd(port, transfers(customers), size, PHASE_S).seen()
    print(f"{size:5} clients transfer          {seen}", flush=True)
    return size, seen


def overload(port: int, customers: list[Customer], size: int, best: Seen) -> None:
    memory = Memory()
    memory.start()
    many = Crowd(port, transfers(customers), size * TIMES, OVERLOAD_S).seen()
    print(f"{size * TIMES:5} clients transfer          {many}", flush=True)
    print(f"      throughput {many.rate / best.rate:.2f} of its best; {memory.end()}")
    after = Crowd(port, transfers(customers), size, PHASE_S).seen()
    calm = [at for at, took, status in after.told if status in (200, 201) and took * 1000 <= 2 * best.at(0.5)]
    print(f"{size:5} clients right afterwards  {after}")
    print(f"      back to its pace after {min(calm, default=float('nan')):.1f} s", flush=True)


def beside(port: int, customers: list[Customer], many: int) -> None:
    """Show what few clients of one kind get, alone and beside very many of another kind."""
    kinds = {"transfer": transfers(customers), "read": reads(customers), "log in": logins(customers)}
    for few, crowded in (("read", "transfer"), ("log in", "transfer"), ("transfer", "read")):
        alone = Crowd(port, kinds[few], OTHERS, PHASE_S).seen()
        others = Crowd(port, kinds[crowded], many, PHASE_S + 1)
        time.sleep(min(1.0, PHASE_S))
        among = Crowd(port, kinds[few], OTHERS, PHASE_S - 0.2).seen()
        others.seen()
        print(f"{OTHERS:5} clients {few:8} alone     {alone}")
        print(f"      beside {many} who {crowded:8}   {among}", flush=True)


if __name__ == "__main__":
    if CROWD in sys.argv:
        json.dump(crowd(json.load(sys.stdin)), sys.stdout)
    else:
        main()
