"""Every benchmark still works: each is run for a moment, on servers of its own. What it measures then means nothing."""

import subprocess
import sys

import pytest

from config import ROOT

# Parts of benchmarks, and one that starts earlier revisions out of the project's history.
NO_BENCHMARKS = {"__init__", "against", "bank", "client", "extent", "filled", "mail_sink"}
BENCHMARKS = sorted({file.stem for file in (ROOT / "bench").glob("*.py")} - NO_BENCHMARKS)
TIMEOUT_S = 100


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_runs(name: str) -> None:
    command = [sys.executable, "-m", f"bench.{name}", "--brief"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout
