"""A bank of its own for each fault, and clients that keep it busy while something is killed."""

import http.client
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pymongo import MongoClient

from app.mongo import Document
from local.processes import holds_within
from local.replica_set import DATABASE_NAME, ReplicaSet, provision
from tests.clients import Answer, OverHttp
from tests.people import PASSWORD, SYSTEM_EMAIL, Bank, Caller, Person, new_key
from tests.proof import assert_ledger_is_whole
from tests.server import running_server, workers_of

CLIENTS = 16
CUSTOMERS = 8
FUNDS = 1_000_000
# The average pause between two transfers of a client. At any moment some blocks are on their way, and a processor is
# free.
THINK_S = 0.03
# Enough for the blocks of two processes to be on their way when the fault strikes.
WARM_UP_TRANSFERS = 100
WARM_UP_TIMEOUT_S = 60.0
RECOVERY_TIMEOUT_S = 90.0
# After these a client does not know whether its request took effect.
CONNECTION_ERRORS = (OSError, http.client.HTTPException)


class LiveBank(Bank):
    """A bank behind gunicorn on a replica set that a test may hurt."""

    def __init__(self, client: OverHttp, replica_set: ReplicaSet) -> None:
        super().__init__(client)
        self.port = client.port
        self._connections = client
        self.replica_set = replica_set

    def status_of(self, path: str) -> int:
        return self.anonymous.get(path).status

    def hang_up(self) -> None:
        """Close the connections that are kept, because the next request on one whose worker was killed would fail."""
        self._connections.close()

    def assert_ledger_is_whole(self) -> None:
        with MongoClient[Document](self.replica_set.admin_uri, tz_aware=True) as client:
            assert_ledger_is_whole(client[DATABASE_NAME])

    def worker_pids(self) -> list[int]:
        """Return gunicorn's worker processes."""
        return workers_of(self.port)


@contextmanager
def open_bank(directory: Path, *, size: int = 1) -> Iterator[LiveBank]:
    """Serve a bank with a system user on a new replica set in `directory`."""
    replica_set = ReplicaSet(directory, size)
    try:
        replica_set.start()
        uri = provision(replica_set.admin_uri, "application-password")
        with running_server(uri) as port:
            client = OverHttp(port)
            try:
                _register_system_user(client, replica_set)
                yield LiveBank(client, replica_set)
            finally:
                client.close()
    finally:
        replica_set.kill()


@dataclass
class Attempt:
    """A transfer that a client wants done, and the last it was told about it; None if it lost the connection."""

    person: Person
    payer: str
    payee: str
    amount: int
    key: str = field(default_factory=new_key)
    answer: Answer | None = None

    @property
    def is_acknowledged(self) -> bool:
        return self.answer is not None and self.answer.status in (200, 201)

    @property
    def is_told_to_come_back(self) -> bool:
        return self.answer is not None and self.answer.status == 503 and int(self.answer.headers["retry-after"]) > 0

    def send(self) -> Answer | None:
        try:
            return self.person.transfer(self.payer, self.payee, self.amount, self.key)
        except CONNECTION_ERRORS:
            return None


class Traffic:
    """Clients that transfer among some accounts, from the start to the end of a `with` block."""

    def __init__(self, bank: Bank) -> None:
        self._customers = [bank.customer(FUNDS) for _ in range(CUSTOMERS)]
        self._over = threading.Event()
        self._threads = ThreadPoolExecutor(CLIENTS)
        self._clients: list[Future[None]] = []
        self.attempts: list[Attempt] = []

    def __enter__(self) -> "Traffic":
        self._clients = [self._threads.submit(self._transfer, random.Random(n)) for n in range(CLIENTS)]
        assert holds_within(WARM_UP_TIMEOUT_S, lambda: len(self.acknowledged) >= WARM_UP_TRANSFERS)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._threads.shutdown()
        for client in self._clients:
            client.result()

    @property
    def acknowledged(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.is_acknowledged]

    @property
    def in_doubt(self) -> list[Attempt]:
        """The attempts whose client does not know whether the money moved."""
        return [attempt for attempt in self.attempts if not attempt.is_acknowledged]

    def settle(self) -> None:
        """Send everything again under its key until it is acknowledged; what was so before must be repeated."""
        with ThreadPoolExecutor(CLIENTS) as threads:
            for _ in threads.map(_settle, self.attempts):
                pass

    def _transfer(self, chance: random.Random) -> None:
        while not self._over.is_set():
            (person, payer), (_, payee) = chance.sample(self._customers, 2)
            attempt = Attempt(person, payer, payee, chance.randint(1, 9))
            attempt.answer = attempt.send()
            self.attempts.append(attempt)
            time.sleep(chance.uniform(0, 2 * THINK_S))


def _settle(attempt: Attempt) -> None:
    first = attempt.answer if attempt.is_acknowledged else None
    assert holds_within(RECOVERY_TIMEOUT_S, lambda: _is_settled(attempt)), attempt.answer
    if first is not None:
        assert attempt.answer is not None
        assert attempt.answer.headers["idempotency-replayed"] == "true"
        assert attempt.answer.body == first.body


def _is_settled(attempt: Attempt) -> bool:
    attempt.answer = attempt.send()
    return attempt.is_acknowledged


def _register_system_user(client: OverHttp, replica_set: ReplicaSet) -> None:
    body = {"name": "Fincore", "email": SYSTEM_EMAIL, "password": PASSWORD}
    assert Caller(client).post("/api/auth/register", body).status == 201
    with MongoClient[Document](replica_set.admin_uri) as admin:
        admin[DATABASE_NAME].users.update_one({"email": SYSTEM_EMAIL}, {"$set": {"role": "SYSTEM"}})
