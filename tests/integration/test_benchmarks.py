"""Every benchmark still works: each is run for a moment, on servers of its own. What it measures then means nothing."""

import subprocess
import sys

import pytest

from bench.cases import CASES
from bench.load import measure
from config import ROOT

# Parts of benchmarks, and the one that has a test of its own below.
NO_BENCHMARKS = {"__init__", "__main__", "bank", "cases", "client", "deep", "extent", "filled", "load", "sides"} | {
    "mail_sink"
}
BENCHMARKS = sorted({file.stem for file in (ROOT / "bench").glob("*.py")} - NO_BENCHMARKS)
TIMEOUT_S = 100


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs(name: str) -> None:
    assert run(f"bench.{name}")


def test_every_case_over_http_runs() -> None:
    said = run("bench")

    for name in CASES:
        assert f"{name:14} now " in said
    assert "REFUSED" not in said
    for what in ("balance:", "history:", "transfers at", "balances at", "memory of the workers:"):
        assert what in said


def test_two_sides_are_compared() -> None:
    said = run("bench", "--with", "THREADS=8", "--case", "balances")

    assert "now / set: rate " in said


def test_load_is_made_by_wrk_where_it_is_installed(server_port: int) -> None:
    streams = [{"token": "none", "requests": [["GET", "/healthz", ""]]}]

    seen = measure(server_port, "of the suite", streams, seconds=1)

    assert seen["requests"] > 0
    assert seen["refused"] == 0


def run(module: str, *options: str) -> str:
    """Run a benchmark for a moment and return what it prints."""
    command = [sys.executable, "-m", module, "--brief", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
