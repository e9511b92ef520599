"""What others feel of one user's heavy work, in one run: python -m bench.heavy

A few customers transfer and read their balances, first alone, and then beside twelve clients of one user who ask for
long statements as CSV or JSON, or have statements judged. See README.md.
"""

import threading
import time
from collections import Counter, defaultdict
from datetime import timedelta
from itertools import count
from typing import Any

from app import mongo
from app.auth.roles import Role
from app.auth.service import NewUser, register
from app.fields import rfc3339
from app.settings.policies import MongoPolicy
from app.statements import queries
from bench.bank import AUTH
from bench.cases import spread
from bench.extent import extent
from bench.filled import fill
from bench.load import Streams, measure, median
from bench.transfers import with_bank
from tests.clients import OverHttp
from tests.people import PASSWORD, Bank, Person
from tests.server import running_server

ENTRIES = extent(20_000, brief=1_100)
# What a body of 4 MiB holds.
JUDGED_ENTRIES = extent(7_000, brief=300)
OTHERS = extent(4, brief=2)
HEAVY_CLIENTS = extent(12, brief=2)
ROUNDS = extent(3, brief=1)
ROUND_S = extent(2.0, brief=0.3)
LEAD_S = extent(1.5, brief=0.1)
REFUSED_PAUSE_S = 0.25
FUNDS = 1_000_000_000
EMAIL = "bench@fincore.example"
IDLE = "nothing else"

Work = tuple[str, str, bytes | None]  # method, path and body


class Load:
    """Clients of one user who ask for the same again and again, from the start to the end of a `with` block."""

    def __init__(self, port: int, token: str | None, method: str, path: str, body: bytes | None) -> None:
        self._request = method, path, body
        self._person = Person(OverHttp(port), token)
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(HEAVY_CLIENTS)]
        self.statuses: Counter[int] = Counter()

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        time.sleep(LEAD_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        method, path, body = self._request
        while not self._over.is_set():
            status = self._person.call(method, path, data=body).status
            self.statuses[status] += 1
            if status != 200:
                self._over.wait(REFUSED_PAUSE_S)


def others(bank: Bank) -> dict[str, Streams]:
    """Return what the others ask, each on a connection of their own: their balances, and transfers to one another."""
    people = [bank.customer(FUNDS) for _ in range(OTHERS)]
    balances = [
        {"token": person.token, "requests": [["GET", f"/api/accounts/{account}/balance", ""]]}
        for person, account in people
    ]
    transfers = spread([(person, [account]) for person, account in people])
    return {"balances": balances, "transfers": transfers}


def compare(port: int, asked: dict[str, Streams], works: dict[str, Work], token: str | None) -> None:
    seen: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    numbers = count()

    def look(work: str) -> None:
        for name, streams in asked.items():
            seen[name, work].append(measure(port, f"{next(numbers)}", streams, ROUND_S))

    for _ in range(ROUNDS):
        look(IDLE)
        for work, (method, path, body) in works.items():
            with Load(port, token, method, path, body) as load:
                look(work)
            assert set(load.statuses) <= {200, 503}, load.statuses
            assert load.statuses[200], f"No {work} was done."
    for name in asked:
        idle = median(seen[name, IDLE], "p99_ms")
        for work in (IDLE, *works):
            rounds = seen[name, work]
            print(
                f"{name:10} {work:12} {median(rounds, 'per_second'):6,.0f}/s  p50 {median(rounds, 'median_ms'):5.1f} "
                f"ms  p99 {median(rounds, 'p99_ms'):6.1f} ms  p99 against idle {median(rounds, 'p99_ms') / idle:.1f}"
            )


def run(uri: str) -> None:
    mongo.connect(MongoPolicy(uri))
    owner = register(NewUser("Bench", EMAIL, PASSWORD), policy=AUTH, role=Role.USER)["_id"]
    account = fill(owner, accounts=2, transfers=ENTRIES)[0]
    newest = queries.find_entry_before(account, None)
    assert newest is not None
    # The ledger was filled with one entry each millisecond.
    since = rfc3339(newest["created_at"] - timedelta(milliseconds=JUDGED_ENTRIES))
    mongo.close()
    with running_server(uri, MAIL_DELIVERY="off") as port:
        bank = Bank(OverHttp(port))
        asha = bank.log_in(EMAIL)
        path = f"/api/accounts/{account}/statement"
        statement = asha.get(f"{path}?from={since}")
        assert statement.status == 200, statement.content
        works: dict[str, Work] = {
            "CSV": ("GET", f"{path}?format=csv", None),
            "JSON": ("GET", f"{path}?format=json", None),
            "judging": ("POST", "/api/statements/verify", statement.content),
        }
        compare(port, others(bank), works, asha.token)


if __name__ == "__main__":
    with_bank(run)
