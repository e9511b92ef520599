"""An hour of hostile clients beside honest ones, on a real server: nothing may be lost, and nothing may leak.

    python -m tests.drills.hostile_clients --minutes 60 --share 0.15

Honest clients register, log in, transfer, repeat transfers whose outcome they do not know, read, and upload statements.
Each answer is checked. Beside them a seeded mix of attacks keeps hundreds of connections busy. Every minute one line of
JSON says how the honest fared, and how much memory and how many descriptors each worker has. At the end each
acknowledged transfer must be in the ledger exactly once, no request of an attack may have been carried out, and
`flask ledger verify` must find no fault.
"""

import argparse
import heapq
import itertools
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

from app import mongo
from app.auth.service import ensure_system_user
from app.mongo import Document
from app.settings.policies import AuthPolicy, MongoPolicy
from config import ROOT
from local.processes import LOOPBACK, holds_within
from local.replica_set import DATABASE_NAME, ReplicaSet, provision
from tests.clients import Answer, OverHttp
from tests.drills.attacks import ATTACKS, NEVER, Means, reset_at_close, transfer_body
from tests.drills.processes import Governor, family, processor_s, weigh, workers_of_this_process
from tests.faults.wire import post
from tests.people import PASSWORD, SYSTEM_EMAIL, Bank, Person, new_key
from tests.proof import assert_ledger_is_whole
from tests.server import JWT_SECRET, RECEIPT_KEY, running_server

HONEST_CLIENTS = 3
STEPS_OF_A_CUSTOMER = 80
FUNDS = 1_000_000
BATCH = 500
OPEN_MAX = 250
OPENED_AT_ONCE = 3
RETRIES_MAX = 20
SETTLING_S = 40.0
# Tokens are valid for 15 minutes.
TOKEN_USED_S = 600.0
CONNECT_TIMEOUT_S = 30.0
BEGUN_WITHIN_S = 60.0


@dataclass
class Report:
    """What was seen so far."""

    honest: int = 0
    came_back: int = 0  # honest requests for heavy work that were told to come back, and did
    unknown: int = 0  # transfers whose client hung up before the answer, and that were then repeated
    failures: list[str] = field(default_factory=list)
    hostile: Counter[str] = field(default_factory=Counter)
    acknowledged: list[str] = field(default_factory=list)  # keys
    took_s: list[float] = field(default_factory=list)  # since the last sample
    samples: list[dict[str, Any]] = field(default_factory=list)


# Honest clients


class Honest:
    """A client that checks each answer."""

    def __init__(
        self, port: int, report: Report, governor: Governor, over: threading.Event, seed: int, batches: int
    ) -> None:
        self._client = OverHttp(port)
        self._port, self._report, self._governor, self._over = port, report, governor, over
        self._chance = random.Random(seed)
        self._batches = batches

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self._live()
            except Exception as error:  # noqa: BLE001 -- every failure is reported
                self._report.failures.append(f"{type(error).__name__}: {error}")
        self._client.close()

    def _live(self) -> None:
        """Be a new customer for a while."""
        bank = Bank(self._client)
        (person, payer), payee = bank.customer(FUNDS), bank.customer()[1]
        uploads_at = self._chance.randrange(STEPS_OF_A_CUSTOMER)
        for step in range(STEPS_OF_A_CUSTOMER):
            if self._over.is_set():
                return
            self._governor.wait()
            if step == uploads_at:
                self._upload(person)
            else:
                self._chance.choice([self._transfer, self._transfer, self._lose, self._read])(person, payer, payee)
        self._ask(person, "POST", "/api/auth/logout", None, 200, 204)

    def _transfer(self, person: Person, payer: str, payee: str) -> None:
        body = transfer_body(payer, payee, new_key())
        first = self._ask(person, "POST", "/api/transactions/create", body, 201)
        self._report.acknowledged.append(body["idempotencyKey"])
        if self._chance.random() < 0.2:
            again = self._ask(person, "POST", "/api/transactions/create", body, 200)
            assert again.body == first.body, "a repeat that says something else"

    def _lose(self, person: Person, payer: str, payee: str) -> None:
        """Hang up before the answer, and then ask again."""
        body = transfer_body(payer, payee, new_key())
        with socket.create_connection((LOOPBACK, self._port), timeout=30) as connection:
            connection.sendall(post("/api/transactions/create", json.dumps(body).encode(), token=person.token))
            time.sleep(self._chance.choice([0.0, 0.005, 0.02]))
            if self._chance.random() < 0.5:
                reset_at_close(connection)
        self._report.unknown += 1
        self._ask(person, "POST", "/api/transactions/create", body, 200, 201)
        self._report.acknowledged.append(body["idempotencyKey"])

    def _read(self, person: Person, payer: str, payee: str) -> None:
        path = self._chance.choice(
            ["/api/auth/me", "/api/accounts", "/api/transactions?limit=10", "/healthz", "/api/openapi.json",
             f"/api/accounts/{payer}/balance", f"/api/accounts/{payer}/entries", f"/api/accounts/{payer}/statement.csv"]
        )  # fmt: skip
        self._ask(person, "GET", path, None, 200)

    def _upload(self, person: Person) -> None:
        """Make a long statement, and have it verified."""
        mine, other = person.open_account(), person.open_account()
        Bank(self._client).fund(mine, FUNDS)
        for _ in range(self._batches):
            transfers = [{"fromAccount": mine, "toAccount": other, "amount": 1} for _ in range(BATCH)]
            body = {"idempotencyKey": new_key(), "transfers": transfers}
            self._ask(person, "POST", "/api/transactions/batch", body, 201)
        statement = self._ask(person, "GET", f"/api/accounts/{mine}/statement", None, 200)
        verdict = self._ask(person, "POST", "/api/statements/verify", statement.body, 200)
        assert verdict.body["genuine"] is True, verdict.body

    def _ask(self, person: Person, method: str, path: str, body: Any, *expected: int) -> Answer:
        """Send a request and return its answer. Heavy work that is refused for now is asked for again."""
        for _ in range(RETRIES_MAX):
            begun_at = time.monotonic()
            answer = person.call(method, path, body)
            is_heavy = "statement" in path
            if not is_heavy:
                self._report.took_s.append(time.monotonic() - begun_at)
            self._report.honest += 1
            if is_heavy and answer.status == 503 and "retry-after" in answer.headers:
                self._report.came_back += 1
                self._over.wait(float(answer.headers["retry-after"]))
                continue
            break
        assert answer.status in expected, f"{method} {path}: {answer.status} {answer.content[:300]!r}"
        return answer


class Attacker:
    """Keeps many hostile connections going in one thread."""

    def __init__(self, port: int, report: Report, governor: Governor, over: threading.Event, seed: int) -> None:
        self._means = Means(seed)
        self._port, self._report, self._governor, self._over = port, report, governor, over
        self._numbers = itertools.count()
        # When each attack continues, the soonest first.
        self._agenda: list[tuple[float, int, Iterator[float], socket.socket]] = []
        self._logged_in_at: float | None = None

    def run(self) -> None:
        try:
            while not self._over.is_set():
                self._governor.wait()
                self._log_in()
                for _ in range(OPENED_AT_ONCE if len(self._agenda) < OPEN_MAX else 0):
                    self._open(self._means.chance.choice(list(ATTACKS)))
                self._go_on()
                self._over.wait(0.02)
        except Exception as error:  # noqa: BLE001 -- the drill must not go on without attacks unnoticed
            self._report.failures.append(f"The attacker stopped. {type(error).__name__}: {error}")
        for _, _, _, sock in self._agenda:
            sock.close()

    @property
    def open_count(self) -> int:
        return len(self._agenda)

    def _log_in(self) -> None:
        if self._logged_in_at is not None and time.monotonic() - self._logged_in_at < TOKEN_USED_S:
            return
        client, means = OverHttp(self._port), self._means
        person, means.payer = Bank(client).customer(FUNDS)
        means.payee, means.token = person.open_account(), person.token or ""
        client.close()
        self._logged_in_at = time.monotonic()

    def _open(self, name: str) -> None:
        sock = socket.socket()
        if name == "takes_slowly":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sock.settimeout(CONNECT_TIMEOUT_S)
        sock.connect((LOOPBACK, self._port))
        sock.setblocking(False)
        self._report.hostile[name] += 1
        self._step(ATTACKS[name](self._means, sock), sock)

    def _go_on(self) -> None:
        while self._agenda and self._agenda[0][0] <= time.monotonic():
            _, _, steps, sock = heapq.heappop(self._agenda)
            self._step(steps, sock)

    def _step(self, steps: Iterator[float], sock: socket.socket) -> None:
        try:
            due_at = time.monotonic() + next(steps)
        except (StopIteration, OSError):
            sock.close()
        else:
            heapq.heappush(self._agenda, (due_at, next(self._numbers), steps, sock))


# The drill


def run(
    uri: str,
    database: Database[Document],
    seconds: float,
    *,
    seed: int = 1,
    share: float | None = None,
    upload_batches: int = 4,
    sample_s: float = 60.0,
    settling_s: float = 0.0,
    tell: Callable[[str], object] = lambda _: None,
    **settings: str,
) -> Report:
    """Run the drill on the bank at `uri`, which has a system user, and return what was seen.

    `database` is the same bank's with an administrator's rights, and `settings` are the server's. `share` limits the
    processor time of all processes together, in cores. After `settling_s` without attacks a last sample is taken, which
    must be like the first ones. Failures of requests are in the report; faults of the books raise AssertionError.
    """
    over, report = threading.Event(), Report()
    with running_server(uri, MAIL_DELIVERY="off", **settings) as port:
        governor = Governor(share, over)
        attacker = Attacker(port, report, governor, over, seed)
        threads = [threading.Thread(target=attacker.run)]
        for number in range(HONEST_CLIENTS):
            honest = Honest(port, report, governor, over, seed + 1 + number, upload_batches)
            threads.append(threading.Thread(target=honest.run))
        begun_at = time.monotonic()
        for thread in threads:
            thread.start()
        try:
            while (left_s := begun_at + seconds - time.monotonic()) > 0:
                time.sleep(min(left_s, sample_s))
                tell(json.dumps(_sample(report, time.monotonic() - begun_at, attacker.open_count)))
            # On a slow machine a short drill has hardly started by now.
            holds_within(BEGUN_WITHIN_S, lambda: bool(report.acknowledged) and report.hostile.total() > len(ATTACKS))
        finally:
            over.set()
            for thread in threads:
                thread.join()
        if settling_s:
            time.sleep(settling_s)
            tell(json.dumps(_sample(report, time.monotonic() - begun_at, 0)))
        _check_books(report, database)
    _verify_ledger(uri)
    return report


def _sample(report: Report, elapsed_s: float, open_count: int) -> dict[str, Any]:
    took_s, report.took_s = sorted(report.took_s), []
    workers = workers_of_this_process()
    return {
        "minute": round(elapsed_s / 60, 1),
        "honest": report.honest,
        "failed": len(report.failures),
        "came_back": report.came_back,
        "p50_ms": round(1_000 * _percentile(took_s, 50), 1),
        "p99_ms": round(1_000 * _percentile(took_s, 99), 1),
        "hostile": report.hostile.total(),
        "open": open_count,
        "workers": {pid: weigh(pid) for pid in workers},
        "processor_s": round(sum(map(processor_s, family(os.getpid()))), 1),
    }


def _percentile(sorted_values: list[float], percent: int) -> float:
    return sorted_values[len(sorted_values) * percent // 100] if sorted_values else 0.0


def _check_books(report: Report, database: Database[Document]) -> None:
    """Insist that each acknowledged transfer is there exactly once, and none of an attack."""
    counts = Counter(
        record["idempotency_key"]
        for record in database.transactions.find({"status": "COMPLETED"}, {"idempotency_key": 1})
    )
    lost = [key for key in report.acknowledged if counts[key] != 1]
    assert not lost, f"{len(lost)} of {len(report.acknowledged)} acknowledged transfers are not there once: {lost[:5]}"
    carried_out = database.transactions.count_documents({"idempotency_key": {"$regex": f"^{NEVER}"}})
    assert not carried_out, f"{carried_out} requests that never arrived as a whole were carried out"
    assert_ledger_is_whole(database)


def _verify_ledger(uri: str) -> None:
    environment = {
        **os.environ, "ENV_FILE": os.devnull, "MONGO_URI": uri, "JWT_SECRET": JWT_SECRET, "RECEIPT_KEY": RECEIPT_KEY,
    }  # fmt: skip
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "ledger", "verify"]
    verified = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def main() -> None:
    parser = argparse.ArgumentParser(description="Hostile clients beside honest ones, on a real server.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--share", type=float, help="of one core, for all processes together; default: all there is")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if asked.share is not None:
        os.nice(19)
    with TemporaryDirectory(prefix="fincore-drill-") as directory, open_bank(Path(directory)) as (uri, database):
        report = run(
            uri, database, asked.minutes * 60, seed=asked.seed, share=asked.share, settling_s=SETTLING_S, tell=_tell
        )
    _tell(json.dumps({"hostile": dict(sorted(report.hostile.items()))}))
    for failure in report.failures:
        _tell(failure)
    _tell(
        f"{report.honest} honest requests, {len(report.failures)} failed, {report.unknown} outcomes unknown and asked "
        f"for again, {report.hostile.total()} hostile connections. The ledger is whole."
    )
    sys.exit(bool(report.failures))


@contextmanager
def open_bank(directory: Path) -> Iterator[tuple[str, Database[Document]]]:
    """Have a bank with a system user on a replica set of its own: its address, and an administrator's database."""
    replica_set = ReplicaSet(directory)
    try:
        replica_set.start()
        uri = provision(replica_set.admin_uri, "application-password")
        with MongoClient[Document](replica_set.admin_uri, tz_aware=True) as admin:
            mongo.connect(MongoPolicy(uri))
            ensure_system_user(email=SYSTEM_EMAIL, password=PASSWORD, policy=AuthPolicy(JWT_SECRET, bcrypt_rounds=4))
            mongo.close()
            yield uri, admin[DATABASE_NAME]
    finally:
        replica_set.stop()


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
