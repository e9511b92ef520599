"""How many threads and processes serve best: python -m bench.threads [PROCESSESxTHREADS …]

The same requests over 64 connections to servers of each size, one after another on one database, in each round in
another order. See README.md.
"""

import os
import random
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from bench.against import cpu_s
from bench.extent import extent
from bench.transfers import Streams, hot, measure, median, open_accounts, spread, with_bank
from tests.clients import OverHttp
from tests.people import Bank
from tests.server import children, running_server

SIZES = extent(12, brief=1)
ROUNDS = extent(1, brief=1)
CASE_S = extent(1.3, brief=0.2)
WARM_UP_S = extent(0.5, brief=0.1)
PROCESSES = (1, 2, 3)
THREADS = (8, 16, 24, 32)

Size = tuple[int, int]


def sizes() -> list[Size]:
    """Return the sizes that were asked for, or all."""
    asked = [tuple(map(int, word.split("x"))) for word in sys.argv[1:] if re.fullmatch(r"\d+x\d+", word)]
    return [(processes, threads) for processes, threads in asked] or [
        (processes, threads) for processes in PROCESSES for threads in THREADS
    ][-SIZES:]


def cases(customers: Any) -> dict[str, Streams]:
    def reads(path: str) -> Streams:
        return [
            {"token": person.token, "requests": [["GET", path.format(account=account), ""] for account in accounts]}
            for person, accounts in customers
        ]

    return {
        "spread": spread(customers),
        "hot": hot(customers),
        "balances": reads("/api/accounts/{account}/balance"),
        "health": reads("/healthz"),
    }


def servers_cpu_s() -> float:
    """Return how much processor time the running server and its workers have taken."""
    masters = [pid for pid in children(os.getpid()) if b"gunicorn" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return sum(cpu_s(pid) for master in masters for pid in [master, *children(master)])


def run(uri: str) -> None:
    chance, asked = random.Random(1), sizes()
    streams: dict[str, Streams] = {}
    seen: dict[tuple[Size, str], list[dict[str, Any]]] = defaultdict(list)
    for number in range(ROUNDS):
        for processes, threads in chance.sample(asked, len(asked)):
            settings = {"WEB_CONCURRENCY": str(processes), "THREADS": str(threads), "MAIL_DELIVERY": "off"}
            with running_server(uri, **settings) as port:
                if not streams:
                    client = OverHttp(port)
                    streams = cases(open_accounts(Bank(client)))
                    client.close()
                for name, plan in streams.items():
                    size = f"{number} {processes}x{threads} {name}"
                    measure(port, f"warm up {size}", plan, WARM_UP_S)
                    before_s = servers_cpu_s()
                    found = measure(port, size, plan, CASE_S)
                    found["python_ms"] = (servers_cpu_s() - before_s) * 1_000 / found["requests"]
                    seen[(processes, threads), name].append(found)
    for size in sorted(asked):
        told = "  ".join(
            f"{name} {median(seen[size, name], 'per_second'):6,.0f}/s p50 {median(seen[size, name], 'median_ms'):4.0f} "
            f"p99 {median(seen[size, name], 'p99_ms'):4.0f} ms CPU {median(seen[size, name], 'python_ms'):.2f}"
            for name in streams
        )
        print(f"{size[0]} x {size[1]:2}  {told}")


if __name__ == "__main__":
    with_bank(run)
