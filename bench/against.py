"""This revision against an earlier one: the same requests to both, in turns, on one database server.

Run it from the top of the project: `python -m bench.against REV [--case NAME …]`. See README.md.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from bench.transfers import Streams, hot, measure, median, open_accounts, spread
from config import ROOT
from local.processes import free_port, holds_within
from local.replica_set import ReplicaSet
from tests.clients import OverHttp
from tests.people import PASSWORD, SYSTEM_EMAIL, Bank
from tests.server import JWT_SECRET, RECEIPT_KEY, is_ready

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
WARM_UP_S = 2.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Side:
    """A checkout that serves, and the requests of each case with its own tokens and accounts."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    cases: dict[str, Streams]

    def cpu_s(self) -> float:
        """Return how much processor time the server and its workers have taken."""
        return sum(map(cpu_s, [self.process.pid, *children(self.process.pid)]))


def cpu_s(pid: int) -> float:
    """Return how much processor time a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """Have a checkout of an earlier revision for as long as the block takes."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory) / "then"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", place, revision], cwd=ROOT, check=True)
        try:
            yield place
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", place], cwd=ROOT, check=True)


@contextmanager
def served(name: str, place: Path, admin_uri: str) -> Iterator[Side]:
    """Serve a checkout on a database of its own, shaped by its own commands."""
    address = urlsplit(admin_uri)
    port = free_port()
    environment = {
        **os.environ,
        "ENV_FILE": os.devnull,
        "MONGO_URI": urlunsplit((address.scheme, address.netloc, f"/{name}", address.query, "")),
        "JWT_SECRET": JWT_SECRET,
        "RECEIPT_KEY": RECEIPT_KEY,
        "BCRYPT_ROUNDS": "4",
        "LOG_LEVEL": "ERROR",
        "PORT": str(port),
        "RATELIMIT_ENABLED": "false",
        "MAIL_DELIVERY": "off",
    }

    def flask(*arguments: str, said: str = "") -> None:
        command = [sys.executable, "-m", "flask", "--app", "wsgi", *arguments]
        subprocess.run(command, cwd=place, env=environment, input=said, text=True, capture_output=True, check=True)

    flask("db", "init")
    flask("users", "create", SYSTEM_EMAIL, "--name", "Fincore", "--role", "SYSTEM", "--password-stdin", said=PASSWORD)
    process = subprocess.Popen([sys.executable, "-m", "gunicorn", "wsgi:app"], cwd=place, env=environment)
    try:
        assert holds_within(START_TIMEOUT_S, lambda: is_ready(port)), f"{name} does not start."
        client = OverHttp(port)
        customers = open_accounts(Bank(client))
        client.close()
        yield Side(name, port, process, cases(customers))
    finally:
        process.terminate()
        process.wait(STOP_TIMEOUT_S)


def cases(customers: Any) -> dict[str, Streams]:
    """Return what is asked in each case: for each connection a token, and requests to send one after another."""
    transfers = spread(customers)

    def reads(path: str) -> Streams:
        return [
            {"token": person.token, "requests": [["GET", path.format(account=account), ""] for account in accounts]}
            for person, accounts in customers
        ]

    balances = reads("/api/accounts/{account}/balance")
    return {
        "transfers, spread": transfers,
        "transfers, one hot payer": hot(customers),
        "one lone transfer": transfers[:1],
        "balances": balances,
        "one lone balance": balances[:1],
        "account lists": reads("/api/accounts"),
        "history pages": reads("/api/transactions?account={account}"),
        "who am I": reads("/api/auth/me"),
        "health": reads("/healthz"),
    }


def compare(sides: list[Side], mongod_pid: int, chosen: list[str], *, rounds: int, seconds: float) -> None:
    for name in chosen:
        seen: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for side in sides:
            measure(side.port, f"warm up {name}", side.cases[name], WARM_UP_S)
        for number in range(rounds):
            # In turns, and each round the other way round, so that nothing that drifts favours one of them.
            for side in sides if number % 2 else sides[::-1]:
                before = side.cpu_s(), cpu_s(mongod_pid)
                found = measure(side.port, f"{number} {name}", side.cases[name], seconds)
                found["python_ms"] = (side.cpu_s() - before[0]) * 1_000 / found["requests"]
                found["mongod_ms"] = (cpu_s(mongod_pid) - before[1]) * 1_000 / found["requests"]
                seen[side.name].append(found)
        report(name, seen)


def report(name: str, seen: dict[str, list[dict[str, Any]]]) -> None:
    for side, rounds in seen.items():
        rates = [found["per_second"] for found in rounds]
        print(
            f"{name:26} {side:5} {statistics.median(rates):7,.0f}/s ({min(rates):,.0f} to {max(rates):,.0f})  "
            f"p50 {median(rounds, 'median_ms'):6.1f} ms  p99 {median(rounds, 'p99_ms'):6.1f} ms  "
            f"CPU: Python {median(rounds, 'python_ms'):.2f} ms, mongod {median(rounds, 'mongod_ms'):.2f} ms",
            flush=True,
        )
    ratio = {
        what: median(seen["now"], what) / median(seen["then"], what)
        for what in ("per_second", "median_ms", "python_ms")
    }
    print(
        f"{name:26} ratio {ratio['per_second']:.2f} in rate, {ratio['median_ms']:.2f} in p50, "
        f"{ratio['python_ms']:.2f} in Python's CPU\n",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.against", description=__doc__.partition("\n")[0])
    parser.add_argument("revision", help="what git calls the earlier revision, such as v0.1.0")
    parser.add_argument("--case", action="append", dest="chosen", help="one case alone; may be given several times")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, checkout(options.revision) as then:
        replica_set = ReplicaSet(Path(directory))
        replica_set.start()
        try:
            uri = replica_set.admin_uri
            with served("now", ROOT, uri) as now, served("then", then, uri) as before:
                mongod_pid = replica_set.members[0].pid
                assert mongod_pid is not None
                print(f"{os.cpu_count()} processors, {time.strftime('%Y-%m-%d')}, against {options.revision}\n")
                chosen = options.chosen or list(now.cases)
                compare([now, before], mongod_pid, chosen, rounds=options.rounds, seconds=options.seconds)
        finally:
            replica_set.stop()


if __name__ == "__main__":
    main()
