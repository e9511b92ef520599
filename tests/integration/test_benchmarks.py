"""Every benchmark still works: each runs for a moment. The figures mean nothing then."""

import os
import subprocess
import sys

import pytest
from bson import ObjectId
from flask import Flask
from pymongo.database import Database

from app.ledger.proof.verify import verify
from app.mongo import Document
from bench.cases import CASES
from bench.filled import fill
from bench.load import measure
from config import ROOT
from tests.integration.brief import HEADING

# Parts of benchmarks, and the one that has a test of its own below.
NO_BENCHMARKS = {
    "__init__",
    "__main__",
    "bank",
    "bare",
    "cases",
    "client",
    "crowd",
    "deep",
    "extent",
    "filled",
    "load",
    "sides",
} | {"mail_sink"}
BENCHMARKS = sorted({file.stem for file in (ROOT / "bench").glob("*.py")} - NO_BENCHMARKS)
# So many at once that a test worker can take up other tests meanwhile.
GROUPS = [BENCHMARKS[::3], BENCHMARKS[1::3], BENCHMARKS[2::3]]
TIMEOUT_S = 280


@pytest.mark.parametrize("names", GROUPS, ids=" ".join)
def test_benchmarks_run(names: list[str]) -> None:
    said = run("tests.integration.brief", *names)

    printed = {name: text for name, _, text in (part.partition("\n") for part in said.split(HEADING)[1:])}
    assert list(printed) == names
    assert all(printed.values()), printed


def test_every_case_over_http_runs_and_compares_two_sides() -> None:
    said = run("bench", "--brief", "--with", "THREADS=8")

    for name in CASES:
        assert f"{name:14} now " in said
        assert f"{name:14} now / set: rate " in said
    assert f"{'transfers':14} full / empty: rate " in said
    assert "REFUSED" not in said
    for what in ("balance:", "history:", "batches of", "transfers at", "balances at", "memory of the workers:"):
        assert what in said


def test_what_a_benchmark_stores_is_a_sound_ledger(app: Flask, database: Database[Document]) -> None:
    customers = fill(ObjectId(), accounts=3, transfers=10)
    # Its treasury is there already.
    customers += fill(ObjectId(), accounts=2, transfers=10)

    report = verify()

    assert (report.entries, report.transactions, report.faults) == (5 + 1 + 2 * 25, 25, [])
    assert database.accounts.count_documents({"_id": {"$in": customers}}) == 5


def test_load_is_made_by_wrk_where_it_is_installed(server_port: int) -> None:
    streams = [{"token": "none", "requests": [["GET", "/healthz", ""]]}]

    seen = measure(server_port, "of the suite", streams, seconds=1)

    assert seen["requests"] > 0
    assert seen["refused"] == 0


def run(module: str, *options: str) -> str:
    """Run a program and return what it prints."""
    command = [sys.executable, "-m", module, *options]
    # A server with one worker shows as well as one with more that a benchmark works.
    environment = {**os.environ, "WEB_CONCURRENCY": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
