"""Transfers per second over HTTP with 64 connections, with group commit and without it, in one run.

Run it from the top of the project: `python -m bench.transfers`. See README.md.
"""

import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from app import mongo
from app.auth.service import ensure_system_user
from app.policies import AuthPolicy, MongoPolicy
from bench.extent import extent
from config import ROOT
from local.replica_set import ReplicaSet, provision
from tests.clients import OverHttp
from tests.people import PASSWORD, SYSTEM_EMAIL, Bank, Person
from tests.server import running_server

CONNECTIONS = extent(64, brief=4)
ACCOUNTS_EACH = 4
FUNDS = 1_000_000_000
BODIES_EACH = extent(200, brief=10)
ROUNDS = extent(5, brief=1)
ROUND_S = extent(4.0, brief=0.2)
WARM_UP_S = extent(2.0, brief=0.1)
GROUPED, SINGLE = "group commit", "one block each"

Customer = tuple[Person, list[str]]
Streams = list[dict[str, Any]]


# What a password costs is not what is measured.
AUTH = AuthPolicy("a secret that signs nothing here", bcrypt_rounds=4)


def open_accounts(bank: Bank) -> list[Customer]:
    """Return as many users as there are connections, each with some accounts that never run dry."""

    def customer(_: int) -> Customer:
        person = bank.register()
        accounts = [person.open_account() for _ in range(ACCOUNTS_EACH)]
        for account in accounts:
            bank.fund(account, FUNDS)
        return person, accounts

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(customer, range(CONNECTIONS)))


def spread(customers: list[Customer]) -> Streams:
    """Each connection is a user of its own who pays from all accounts to anybody's."""
    payees = [account for _, accounts in customers for account in accounts]
    return [stream(person, accounts, payees) for person, accounts in customers]


def hot(customers: list[Customer]) -> Streams:
    """All connections pay from one account."""
    payees = [account for _, accounts in customers[1:] for account in accounts]
    person, accounts = customers[0]
    return [stream(person, accounts[:1], payees) for _ in customers]


def stream(person: Person, payers: list[str], payees: list[str]) -> dict[str, Any]:
    chance = random.Random(person.id)
    requests = []
    for _ in range(BODIES_EACH):
        payer = chance.choice(payers)
        payee = chance.choice([payee for payee in payees if payee != payer])
        body = json.dumps({"fromAccount": payer, "toAccount": payee, "amount": 1, "idempotencyKey": "KEY"})
        requests.append(["POST", "/api/transactions/create", body])
    return {"token": person.token, "requests": requests}


def measure(port: int, name: str, streams: Streams, seconds: float) -> dict[str, Any]:
    """Run the load generator in a process of its own and insist that all it asked for was done."""
    plan = {"port": port, "name": name, "streams": streams, "seconds": seconds}
    command = [sys.executable, "-m", "bench.client"]
    done = subprocess.run(command, input=json.dumps(plan), cwd=ROOT, capture_output=True, text=True, check=True)
    seen: dict[str, Any] = json.loads(done.stdout)
    assert list(seen["statuses"]) in (["200"], ["201"]), seen["statuses"]
    return seen


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


def median(rounds: list[dict[str, Any]], what: str) -> float:
    return statistics.median(seen[what] for seen in rounds)


def with_bank(run: Callable[[str], None]) -> None:
    """Run something on a new database with a system user."""
    with tempfile.TemporaryDirectory() as directory:
        replica_set = ReplicaSet(Path(directory))
        replica_set.start()
        try:
            uri = provision(replica_set.admin_uri, "bench-password")
            mongo.connect(MongoPolicy(uri, timeout_ms=4_000))
            ensure_system_user(email=SYSTEM_EMAIL, password=PASSWORD, policy=AUTH)
            mongo.close()
            run(uri)
        finally:
            replica_set.stop()


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
