"""Transfers per second over HTTP with 64 connections, with group commit and without it, in one run.

Run it from the top of the project: `python -m bench.transfers`. See README.md.
"""

import statistics
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from app import mongo
from app.auth.service import ensure_system_user
from app.settings.policies import MongoPolicy
from bench.bank import AUTH, own_replica_set
from bench.cases import hot, open_accounts, spread
from bench.extent import extent
from bench.load import Streams, measure, median
from tests.clients import OverHttp
from tests.people import PASSWORD, SYSTEM_EMAIL, Bank
from tests.server import running_server

ROUNDS = extent(5, brief=1)
ROUND_S = extent(4.0, brief=0.2)
WARM_UP_S = extent(2.0, brief=0.1)
GROUPED, SINGLE = "group commit", "one block each"


def compare(ports: dict[str, int], variants: dict[str, Streams]) -> None:
    for name, streams in variants.items():
        for mode, port in ports.items():
            measure(port, f"warm up {name} {mode}", streams, WARM_UP_S)
    seen: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for number in range(ROUNDS):
        # In turns, and each round the other way round, so that nothing that drifts favours one of them.
        for name, streams in variants.items():
            for mode, port in sorted(ports.items(), reverse=bool(number % 2)):
                seen[name, mode].append(measure(port, f"{number} {name} {mode}", streams, ROUND_S))
    for name in variants:
        for mode in ports:
            print(f"{name:20} {mode:15} {summary(seen[name, mode])}")
        grouped, single = (median(seen[name, mode], "per_second") for mode in (GROUPED, SINGLE))
        print(f"{name:20} ratio {grouped / single:.2f}")


def summary(rounds: list[dict[str, Any]]) -> str:
    rates = [seen["per_second"] for seen in rounds]
    return (
        f"{statistics.median(rates):6,.0f} transfers/s ({min(rates):,.0f} to {max(rates):,.0f}), "
        f"median {median(rounds, 'median_ms'):.0f} ms, p99 {median(rounds, 'p99_ms'):.0f} ms"
    )


def with_bank(run: Callable[[str], None]) -> None:
    """Run something on a new database with a system user."""
    with own_replica_set() as (_, uri):
        mongo.connect(MongoPolicy(uri, timeout_ms=4_000))
        ensure_system_user(email=SYSTEM_EMAIL, password=PASSWORD, policy=AUTH)
        mongo.close()
        run(uri)


def main() -> None:
    def run(uri: str) -> None:
        with running_server(uri) as grouped, running_server(uri, POST_BATCH_SIZE_MAX="1") as single:
            client = OverHttp(grouped)
            customers = open_accounts(Bank(client))
            client.close()
            compare({GROUPED: grouped, SINGLE: single}, {"spread": spread(customers), "one hot payer": hot(customers)})

    with_bank(run)


if __name__ == "__main__":
    main()
