"""Cases that measure this revision against itself: how far a cost grows with data, load and time."""

import argparse
import time
from typing import Any

from bson import ObjectId

from app import mongo
from app.settings.policies import MongoPolicy
from bench.cases import BALANCES, spread
from bench.filled import fill
from bench.load import measure, median, rss_mb
from bench.sides import Side
from tests.clients import OverHttp
from tests.people import Bank, Person

FEW_TRANSFERS = 8
FILL_TIMEOUT_MS = 60_000
PAGE_LIMIT = 200
# Half of what goes through at most: a busy bank with room left.
PACE = 0.5
FIRST_REQUESTS = 1_000


def depth(side: Side, options: argparse.Namespace) -> None:
    """A balance among many entries against one among few; a page far down a history against its first."""
    client = OverHttp(side.port)
    bank = Bank(client)
    rich, poor = bank.register(), bank.register()
    mongo.connect(MongoPolicy(side.database_uri, timeout_ms=FILL_TIMEOUT_MS))
    long = fill(ObjectId(rich.id), accounts=2, transfers=options.entries)[0]
    short = fill(ObjectId(poor.id), accounts=2, transfers=FEW_TRANSFERS)[0]
    mongo.close()
    history, down = f"/api/transactions?account={long}", options.entries // 10
    cursor = cursor_at(rich, history, down)
    client.close()
    balances = {
        f"{options.entries:,} entries": (rich, f"/api/accounts/{long}/balance"),
        f"{FEW_TRANSFERS + 2} entries": (poor, f"/api/accounts/{short}/balance"),
    }
    pages = {f"page after {down:,}": (rich, f"{history}&cursor={cursor}"), "page 1": (rich, history)}
    for what, paths in (("balance", balances), ("history", pages)):
        _compare_paths(side, options, what, paths)


def cursor_at(person: Person, path: str, count: int) -> str:
    """Follow a list past this many items, and return the cursor to the next ones."""
    cursor, passed = "", 0
    while passed < count:
        answer = person.get(f"{path}&limit={PAGE_LIMIT}" + (f"&cursor={cursor}" if cursor else ""))
        cursor, passed = answer.body["nextCursor"], passed + PAGE_LIMIT
    return cursor


def _compare_paths(side: Side, options: argparse.Namespace, what: str, paths: dict[str, tuple[Person, str]]) -> None:
    """Measure a lone client that reads each of two paths, in turns, and print the ratio."""
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in paths}
    for number in range(options.rounds):
        for name, (person, path) in paths.items():
            streams = [{"token": person.token, "requests": [["GET", path, ""]]}]
            seen[name].append(measure(side.port, f"{number} {name}", streams, options.seconds))
    figures = {name: median(rounds, "median_ms") for name, rounds in seen.items()}
    (far, far_ms), (near, near_ms) = figures.items()
    print(f"{what}: {far} {far_ms:.2f} ms, {near} {near_ms:.2f} ms, ratio {far_ms / near_ms:.2f}", flush=True)


def pace(side: Side, options: argparse.Namespace) -> None:
    """The latency of transfers and balances at half of what goes through at most."""
    for what, case in (("transfers", spread), ("balances", BALANCES)):
        streams = case(side.customers)
        most = measure(side.port, f"most {what} {time.monotonic_ns()}", streams, options.seconds)["per_second"]
        label = f"paced {what} {time.monotonic_ns()}"
        seen = measure(side.port, label, streams, options.seconds, rate=max(1.0, most * PACE))
        p50, p99 = seen["median_ms"], seen["p99_ms"]
        print(
            f"{what} at {most * PACE:,.0f}/s, half of the most: p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
            f"ratio {p99 / p50:.1f}",
            flush=True,
        )


def memory(side: Side, options: argparse.Namespace) -> None:
    """What the workers have in use after many requests against after few, with PDFs among them."""
    person, accounts = side.customers[0]
    paths = [f"/api/accounts/{account}/{what}" for account in accounts for what in ("balance", "statement.pdf")]
    before = after = 0.0
    for name, count in (("few", min(FIRST_REQUESTS, options.requests)), ("many", options.requests)):
        answered = 0
        while answered < count:
            for path in paths[:2]:
                assert person.get(path).status == 200
            label = f"{name} {time.monotonic_ns()}"
            answered += measure(side.port, label, BALANCES(side.customers), min(options.seconds, 4.0))["requests"]
        before, after = after, sum(rss_mb(pid) for pid in side.processes[1:])
    print(f"memory of the workers: {before:.0f} MB, after {options.requests:,} requests {after:.0f} MB, "
          f"ratio {after / before:.2f}", flush=True)  # fmt: skip
