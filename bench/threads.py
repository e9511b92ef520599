"""How many threads and processes serve best: python -m bench.threads [PROCESSESxTHREADS …]

The same requests over 64 connections to servers of each size, one after another on one database. See README.md.
"""

import random
import re
import sys
from typing import Any

from bench.cases import hot, open_accounts, spread
from bench.extent import extent
from bench.load import Streams, measure
from bench.sides import cpu_s
from bench.transfers import with_bank
from tests.clients import OverHttp
from tests.people import Bank
from tests.server import MASTERS, children, running_server

SIZES = extent(12, brief=1)
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
    ][:SIZES]


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
    return sum(cpu_s(pid) for master in MASTERS.values() for pid in [master, *children(master)])


def run(uri: str) -> None:
    streams: dict[str, Streams] = {}
    asked = sizes()
    for processes, threads in random.Random(1).sample(asked, len(asked)):
        settings = {"WEB_CONCURRENCY": str(processes), "THREADS": str(threads), "MAIL_DELIVERY": "off"}
        with running_server(uri, **settings) as port:
            if not streams:
                client = OverHttp(port)
                streams = cases(open_accounts(Bank(client)))
                client.close()
            for name, plan in streams.items():
                size = f"{processes} x {threads}"
                measure(port, f"warm up {size} {name}", plan, WARM_UP_S)
                before_s = servers_cpu_s()
                seen = measure(port, f"{size} {name}", plan, CASE_S)
                python_ms = (servers_cpu_s() - before_s) * 1_000 / seen["requests"]
                print(
                    f"{size:7} {name:10} {seen['per_second']:6,.0f}/s  p50 {seen['median_ms']:5.1f} ms  "
                    f"p99 {seen['p99_ms']:6.1f} ms  Python {python_ms:.2f} ms",
                    flush=True,
                )


if __name__ == "__main__":
    with_bank(run)
