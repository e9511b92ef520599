"""Measures the bank's speed over HTTP: python -m bench [--against REV] [--case NAME …]. See README.md."""

import argparse
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from app.mongo import Document
from bench import bare, deep
from bench.cases import CASES, PREPARED
from bench.load import measure, median, wrk
from bench.sides import Side, checkout, cpu_s, served
from local.replica_set import ReplicaSet

WARM_UP_S = 2.0
# As much as a bank with so many entries would give its database. By default, MongoDB takes half of the memory.
CACHE_GB = 4.0
RATIOS = {"per_second": "rate", "median_ms": "p50", "python_ms": "Python's CPU", "mongod_ms": "mongod's CPU"}
# Cases of their own, which measure this revision against itself.
ALONE: dict[str, Callable[[Side, argparse.Namespace], None]] = {
    "bare": bare.bare,
    "depth": deep.depth,
    "pace": deep.pace,
    "memory": deep.memory,
}
# Transfers in a bank with many entries against one with none.
FULL = "full"


class Database:
    """The database server's own count of what it did."""

    def __init__(self, uri: str, pid: int) -> None:
        self._client = MongoClient[Document](uri)
        self._pid = pid

    def look(self) -> dict[str, float]:
        status = self._client.admin.command("serverStatus")["transactions"]
        return {"cpu_s": cpu_s(self._pid), "blocks": status["totalCommitted"], "aborted": status["totalAborted"]}

    def close(self) -> None:
        self._client.close()


def round_of(side: Side, database: Database, name: str, label: str, seconds: float) -> dict[str, Any]:
    """Measure a case once on one side."""
    before, python = database.look(), side.cpu_s()
    seen = measure(side.port, label, CASES[name](side.customers), seconds)
    after = database.look()
    count = seen["requests"]
    seen["python_ms"] = (side.cpu_s() - python) * 1_000 / count
    seen["mongod_ms"] = (after["cpu_s"] - before["cpu_s"]) * 1_000 / count
    blocks = after["blocks"] - before["blocks"]
    seen["block_size"] = count / blocks if blocks else 0.0
    seen["reruns"] = after["aborted"] - before["aborted"]
    return seen


def compare(sides: list[Side], database: Database, name: str, *, rounds: int, seconds: float) -> None:
    """Measure a case on all sides in turns, and print the medians and their ratios."""
    seen: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for side in sides:
        if name in PREPARED:
            PREPARED[name](side.customers)
        measure(
            side.port, f"warm up {name} {time.monotonic_ns()}", CASES[name](side.customers), min(WARM_UP_S, seconds)
        )
    for number in range(rounds):
        # In turns, and each round the other way round, so that nothing that drifts favours one of them.
        for side in sides if number % 2 else sides[::-1]:
            seen[side.name].append(round_of(side, database, name, f"{number} {name} {time.monotonic_ns()}", seconds))
    for side in sides:
        print(f"{name:14} {side.name:5} {summary(seen[side.name])}", flush=True)
    for other in sides[1:]:
        ratios = (
            f"{what} {median(seen[sides[0].name], key) / max(median(seen[other.name], key), 1e-9):.2f}"
            for key, what in RATIOS.items()
        )
        print(f"{name:14} {sides[0].name} / {other.name}: {', '.join(ratios)}\n", flush=True)


def summary(rounds: list[dict[str, Any]]) -> str:
    rates = [found["per_second"] for found in rounds]
    block = median(rounds, "block_size")
    blocks = f", blocks of {block:.1f}, {sum(found['reruns'] for found in rounds):.0f} re-runs" if block else ""
    refused = sum(found["refused"] for found in rounds)
    return (
        f"{statistics.median(rates):7,.1f}/s ({min(rates):,.1f} to {max(rates):,.1f})  "
        f"p50 {median(rounds, 'median_ms'):6.2f} ms, p99 {median(rounds, 'p99_ms'):6.1f} ms  "
        f"CPU: Python {median(rounds, 'python_ms'):.2f} ms, mongod {median(rounds, 'mongod_ms'):.2f} ms{blocks}"
        f"{f', {refused} REFUSED' if refused else ''}"
    )


def machine() -> str:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(":")[2].strip() if models else platform.processor()
    revision = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return f"{time.strftime('%Y-%m-%d')}, {revision.stdout.strip()}, {os.cpu_count()} × {model}, {platform.system()}"


@contextmanager
def all_sides(options: argparse.Namespace, uri: str) -> Iterator[list[Side]]:
    """Serve what is to be compared, this revision first."""
    with ExitStack() as stack:
        connections = options.connections
        sides = [stack.enter_context(served("now", uri, connections=connections))]
        if options.against:
            place = stack.enter_context(checkout(options.against))
            sides.append(stack.enter_context(served("then", uri, connections=connections, place=place)))
        if options.settings:
            settings = dict(setting.split("=", 1) for setting in options.settings)
            sides.append(stack.enter_context(served("set", uri, connections=connections, settings=settings)))
        yield sides


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition(":")[0])
    parser.add_argument("--against", metavar="REV", help="compare with an earlier revision, by what git calls it")
    parser.add_argument(
        "--with", action="append", dest="settings", metavar="NAME=VALUE", help="compare with other settings"
    )
    cases = [*CASES, *ALONE, FULL]
    parser.add_argument("--case", action="append", choices=cases, help="one case alone; may be given again")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--entries", type=int, default=1_000_000, help="of the long account in the case `depth`")
    parser.add_argument("--stored", type=int, default=10_000_000, help="entries in the case `full`")
    parser.add_argument("--requests", type=int, default=200_000, help="in the case `memory`")
    parser.add_argument("--brief", action="store_true", help="measure nothing, but see that all cases work")
    options = parser.parse_args()
    if options.brief:
        options.rounds, options.seconds, options.connections = 1, 0.05, 3
        options.entries, options.stored, options.requests = 1_000, 1_000, 20
    return options


def main() -> None:
    options = read_options()
    print(
        f"{machine()}; load by {'wrk' if wrk() else 'our own client: install wrk, which takes less CPU'}\n", flush=True
    )
    with tempfile.TemporaryDirectory(prefix="fincore-bench-") as directory:
        replica_set = ReplicaSet(Path(directory), cache_gb=CACHE_GB)
        replica_set.start()
        pid = replica_set.members[0].pid
        assert pid is not None
        database = Database(replica_set.admin_uri, pid)
        try:
            with all_sides(options, replica_set.admin_uri) as sides:
                for name in options.case or [*CASES, *ALONE, FULL]:
                    if name in ALONE:
                        ALONE[name](sides[0], options)
                    elif name == FULL:
                        with deep.full_and_empty(replica_set.admin_uri, options) as both:
                            compare(both, database, "transfers", rounds=options.rounds, seconds=options.seconds)
                    else:
                        compare(sides, database, name, rounds=options.rounds, seconds=options.seconds)
        finally:
            database.close()
            replica_set.stop()


if __name__ == "__main__":
    main()
