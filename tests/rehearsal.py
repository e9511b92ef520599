"""Rehearses a deploy without a pause: the first release and this one serve one bank side by side, under load.

    git worktree add /tmp/first-release 47a967e
    python -m tests.rehearsal /tmp/first-release

Clients transfer, hold, capture, read and refresh all the time, at any server that is up, and repeat requests without an
answer under the same key. They record what was acknowledged. Meanwhile: the old release alone, `db upgrade`, both, the
new one alone, `db finish`. In the end every acknowledged transfer must exist once, and the ledger must be sound.
"""

import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bson import ObjectId
from pymongo import MongoClient

from app.mongo import Document
from app.mongo.migrations.version_2 import QUIET
from local.replica_set import ReplicaSet
from tests import first_release
from tests.clients import Answer, OverHttp
from tests.people import Bank, Person
from tests.server import running_server
from tests.terminal import flask_process

CLIENTS = 8
PHASE_S = 4.0
FUNDS = 10_000_000
TRIES_MAX = 40


@dataclass
class Servers:
    """The servers that clients may use, and the answers that they got there."""

    ports: dict[str, int] = field(default_factory=dict)
    answers: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    acknowledged: dict[str, str] = field(default_factory=dict)
    answered_at: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    is_over: bool = False


class Client:
    """One customer with two accounts, who uses any server and repeats requests without an answer."""

    def __init__(self, servers: Servers, number: int) -> None:
        self.servers = servers
        self.number = number
        self._clients: dict[int, OverHttp] = {}
        self.email = f"client-{number}@fincore.example"

    def open(self, bank: Bank) -> None:
        """Register and open accounts with funds."""
        self.person = first_release.register(bank, f"Client {self.number}", self.email)
        self.own, self.other = self.person.open_account(), self.person.open_account()
        bank.fund(self.own, FUNDS)

    def run(self) -> None:
        """Use the bank until it is over."""
        number = 0
        while not self.servers.is_over:
            number += 1
            try:
                self._turn(f"{self.number}-{number}", number)
            except Exception as error:  # noqa: BLE001 -- shown at the end
                self.servers.problems.append(f"client {self.number}: {error!r}")
                return

    def _turn(self, key: str, number: int) -> None:
        body = {"fromAccount": self.own, "toAccount": self.other, "amount": 1, "idempotencyKey": key}
        match number % 5:
            case 0:
                hold = self._send("hold", "POST", "/api/transactions/hold", body)
                path = f"/api/transactions/{hold.body['transaction']['id']}/capture"
                self._send("capture", "POST", path, {"idempotencyKey": f"{key}-capture"})
            case 1:
                self._send("history", "GET", "/api/transactions?limit=20")
                self._send("balance", "GET", f"/api/accounts/{self.own}/balance")
            case 2 if number % 50 == 2:
                answer = self._send("refresh", "POST", "/api/auth/refresh", token=self.person.refresh_token)
                self.person.token, self.person.refresh_token = answer.body["token"], answer.body["refreshToken"]
            case _:
                more = {"metadata": {"number": key}} if number % 5 == 3 else {}
                sent = self._send("transfer", "POST", "/api/transactions/create", {**body, **more})
                self.servers.acknowledged[key] = sent.body["transaction"]["id"]

    def _send(self, what: str, method: str, path: str, body: Any = None, token: str | None = None) -> Answer:
        for _ in range(TRIES_MAX):
            release, port = random.choice(list(self.servers.ports.items()))
            client = self._clients.setdefault(port, OverHttp(port))
            caller = Person(client, token or self.person.token)
            try:
                answer = caller.call(method, path, body)
            except OSError:
                self.servers.answers[release, what, 0] += 1
                time.sleep(0.02)
                continue
            self.servers.answers[release, what, answer.status] += 1
            if answer.status < 300:
                self.servers.answered_at.append(time.monotonic())
                return answer
            if answer.status < 500:
                raise AssertionError(f"{what} at the {release} release: {answer.status} {answer.content!r}")
            time.sleep(0.05)
        raise AssertionError(f"{what} was never answered")


@contextmanager
def phase(name: str, servers: Servers) -> Iterator[None]:
    begun, before = time.monotonic(), len(servers.answered_at)
    yield
    seconds = time.monotonic() - begun
    print(f"{name:<28} {seconds:5.1f} s  {(len(servers.answered_at) - before) / seconds:6.0f} answers/s")  # noqa: T201


def command(uri: str, *arguments: str) -> None:
    with flask_process(uri, *arguments) as process:
        out, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    print("   ", out.splitlines()[0])  # noqa: T201


def main(checkout: Path) -> int:
    with tempfile.TemporaryDirectory(prefix="fincore-rehearsal-") as directory, ExitStack() as stack:
        replica_set = ReplicaSet(Path(directory))
        replica_set.start()
        stack.callback(replica_set.stop)
        uri = first_release.make_schema(checkout, replica_set)
        admin_uri = replica_set.admin_uri.replace("/?", "/fincore?")
        servers = Servers()
        old = ExitStack()
        old_port = old.enter_context(first_release.served(checkout, uri))
        clients = [Client(servers, number) for number in range(CLIENTS)]
        bank = Bank(OverHttp(old_port))
        for client in clients:
            client.open(bank)
        servers.ports = {"old": old_port}
        threads = [threading.Thread(target=client.run) for client in clients]
        for thread in threads:
            thread.start()
        with phase("the old release alone", servers):
            time.sleep(PHASE_S)
        with phase("db upgrade", servers):
            command(admin_uri, "db", "upgrade")
        new_port = stack.enter_context(running_server(uri))
        with phase("both releases", servers):
            servers.ports = {"old": old_port, "new": new_port}
            time.sleep(2 * PHASE_S)
        with phase("the old release ends", servers):
            # Like a proxy: first no more requests, then SIGTERM.
            servers.ports = {"new": new_port}
            time.sleep(0.2)
            old.close()
        with phase("the new release alone", servers):
            time.sleep(QUIET.total_seconds() + 1)
        with phase("db finish", servers):
            command(admin_uri, "db", "finish")
        servers.is_over = True
        for thread in threads:
            thread.join()
        for (release, what, status), count in sorted(servers.answers.items()):
            print(f"    {release:<4} {what:<9} {status or 'none':>4} {count:>7,}")  # noqa: T201
        gaps = [after - before for before, after in zip(servers.answered_at, servers.answered_at[1:], strict=False)]
        print(f"longest time without an answer: {max(gaps):.2f} s")  # noqa: T201
        servers.problems += _faults(replica_set, servers)
        print("\n".join(servers.problems) or "Nothing was lost or done twice.")  # noqa: T201
        with flask_process(uri, "ledger", "verify") as process:
            out, _ = process.communicate(timeout=120)
        print("\n".join(out.splitlines()[-5:]))  # noqa: T201
        return 1 if servers.problems or process.returncode else 0


def _faults(replica_set: ReplicaSet, servers: Servers) -> list[str]:
    with MongoClient[Document](replica_set.admin_uri, tz_aware=True) as admin:
        database = admin["fincore"]
        found = []
        for key, transaction in servers.acknowledged.items():
            records = list(database.transactions.find({"idempotency_key": key}))
            entries = database.ledger_entries.count_documents({"transaction": ObjectId(transaction)})
            if [str(record["_id"]) for record in records] != [transaction] or entries != 2:
                found.append(f"{key}: {len(records)} records, {entries} entries")
        return found


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
