"""Puts load on a server, by wrk, which takes the least of the machine. Without wrk, or at a pace, `client` does it."""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from config import ROOT

Streams = list[dict[str, Any]]

_SCRIPT = ROOT / "bench" / "wrk.lua"


@cache
def wrk() -> str | None:
    """Return where wrk is, or None."""
    return shutil.which("wrk")


def measure(port: int, name: str, streams: Streams, seconds: float, *, rate: float | None = None) -> dict[str, Any]:
    """Keep one connection busy for each stream, and return rate, latencies and how many requests were answered.

    `name` must differ from that of any other measurement, because idempotency keys begin with it. With a `rate`, that
    many requests a second are begun, whether the earlier ones are answered or not. Refusals do not count in the rate.
    """
    # wrk counts in whole seconds.
    by_wrk = rate is None and seconds >= 1 and wrk() is not None
    seen = _by_wrk(port, name, streams, seconds) if by_wrk else _by_client(port, name, streams, seconds, rate)
    seen["per_second"] = (seen["requests"] - seen["refused"]) / seen["seconds"]
    return seen


def _by_wrk(port: int, name: str, streams: Streams, seconds: float) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as plan:
        # One request of each stream, then the next of each: all users ask at the same time.
        for round_ in zip_longest(*(stream["requests"] for stream in streams)):
            for stream, request in zip(streams, round_, strict=True):
                if request is not None:
                    method, path, body = request
                    plan.write(f"{method}\t{path}\t{stream['token']}\t{body}\n")
        plan.flush()
        url, connections = f"http://127.0.0.1:{port}", str(len(streams))
        command = [str(wrk()), "-t1", "-c", connections, "-d", f"{max(1, round(seconds))}s", "--timeout", "30s"]
        command += ["-s", str(_SCRIPT), url, "--", plan.name, name.replace(" ", "-")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    seen: dict[str, Any] = json.loads(done.stdout.rpartition("JSON")[2])
    assert not seen.pop("broken"), f"{name}: connections broke."
    return seen


def _by_client(port: int, name: str, streams: Streams, seconds: float, rate: float | None) -> dict[str, Any]:
    plan = {"port": port, "name": name, "streams": streams, "seconds": seconds, "rate": rate}
    command = [sys.executable, "-m", "bench.client"]
    done = subprocess.run(command, input=json.dumps(plan), cwd=ROOT, capture_output=True, text=True, check=True)
    seen: dict[str, Any] = json.loads(done.stdout)
    seen["refused"] = sum(count for status, count in seen.pop("statuses").items() if int(status) >= 400)
    return seen


def median(rounds: list[dict[str, Any]], what: str) -> float:
    return float(statistics.median(seen[what] for seen in rounds))


def rss_mb(pid: int) -> float:
    """Return the memory that a process has in use."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
