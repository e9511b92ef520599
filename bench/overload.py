"""Ten times more clients than the best number: how throughput, waiting, memory and other work suffer.

Run it from the top of the project: `python -m bench.overload`.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.extent import BRIEF_OPTION, extent
from bench.transfers import with_bank
from config import ROOT
from tests.clients import OverHttp
from tests.people import PASSWORD, Bank, Person
from tests.server import MASTERS, running_server, workers_of

SIZES = [16, 64] if BRIEF_OPTION not in sys.argv else [2]
TIMES = 10
PHASE_S = extent(5.0, brief=0.3)
OVERLOAD_S = extent(12.0, brief=0.5)
PEOPLE = extent(16, brief=2)
OTHERS = extent(8, brief=1)
FUNDS = 1_000_000_000
BODIES = 50

Customer = tuple[Person, str]


class Crowd:
    """A load generator in a process of its own."""

    _number = 0

    def __init__(self, port: int, requests: list[dict[str, Any]], clients: int, seconds: float) -> None:
        Crowd._number += 1
        streams = [requests[number % len(requests)] for number in range(clients)]
        plan = {"port": port, "name": f"crowd {Crowd._number}", "streams": streams, "seconds": seconds}
        command = [sys.executable, "-m", "bench.crowd"]
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
        self._workers = [worker for port in MASTERS for worker in workers_of(port)]
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
    print(f"      throughput {many.rate / max(best.rate, 1e-9):.2f} of its best; {memory.end()}")
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
    main()
