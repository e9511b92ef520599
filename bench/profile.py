"""Where the microseconds of a request go: python -m bench.profile [--case NAME …] [--log-level LEVEL]

It calls the application in its own process, one request after another, and interrupts it every few milliseconds of
CPU time to see where it is. So it shows what Python code costs, without the server's threads and sockets.
"""

import argparse
import io
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any

from flask import Flask
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder

from app.telemetry.logs import STANDARD_OUTPUT
from bench.bank import application, bank_of, own_replica_set
from bench.cases import BATCH_SIZE
from bench.extent import BRIEF_OPTION, extent
from config import ROOT
from tests.people import Bank, new_key

SAMPLE_S = 0.001
CPU_S = extent(4.0, brief=0.05)
WARM_UP_S = extent(2.0, brief=0.01)
LINES_SHOWN = 22
MADE_AT_ONCE = extent(20, brief=2)
HISTORY_TRANSFERS = extent(60, brief=2)

Request = Callable[[], dict[str, Any]]


def requests_of(bank: Bank) -> dict[str, Request]:
    """Return for each case a function that makes the next request, as a WSGI environ."""
    person, account = bank.customer(10**9)
    _, payee = bank.customer()
    for _ in range(HISTORY_TRANSFERS):
        person.transfer(account, payee, 1)
    token = {"Authorization": f"Bearer {person.token}"}

    def get(path: str) -> Request:
        environ = EnvironBuilder(path=path, headers=Headers(token)).get_environ()
        return lambda: {**environ, "wsgi.input": io.BytesIO()}

    def transfer() -> dict[str, Any]:
        body = {"fromAccount": account, "toAccount": payee, "amount": 1, "idempotencyKey": new_key()}
        return EnvironBuilder(
            "/api/transactions/create", method="POST", headers=Headers(token), json=body
        ).get_environ()

    def batch() -> dict[str, Any]:
        transfers = [{"fromAccount": account, "toAccount": payee, "amount": 1}] * BATCH_SIZE
        body = {"transfers": transfers, "idempotencyKey": new_key()}
        return EnvironBuilder("/api/transactions/batch", method="POST", headers=Headers(token), json=body).get_environ()

    return {
        "health": get("/healthz"),
        "me": get("/api/auth/me"),
        "balance": get(f"/api/accounts/{account}/balance"),
        "accounts": get("/api/accounts"),
        "history": get("/api/transactions"),
        "transfer": transfer,
        "batch": batch,
    }


class Samples:
    """Where the main thread was, each time the timer rang. A frame is counted once in a sample."""

    def __init__(self) -> None:
        self.count = 0
        self.own: Counter[str] = Counter()
        self.within: Counter[str] = Counter()

    def take(self, _number: int, frame: FrameType | None) -> None:
        self.count += 1
        if frame is not None:
            self.own[_package(frame.f_code.co_filename)] += 1
        seen = set()
        while frame is not None:
            if _package(frame.f_code.co_filename).startswith("app"):
                file = Path(frame.f_code.co_filename).relative_to(ROOT)
                seen.add(f"{file.with_suffix('')}:{frame.f_code.co_qualname}")
            frame = frame.f_back
        self.within.update(seen)


def _package(filename: str) -> str:
    """Return which package a file is part of: a library, or a package of the application."""
    if filename.startswith(f"{ROOT}/app/"):
        return "app/" + filename.removeprefix(f"{ROOT}/app/").partition("/")[0]
    _, found, rest = filename.partition("site-packages/")
    return rest.partition("/")[0] if found else "Python's own"


def answer(app: Flask, environ: dict[str, Any]) -> None:
    statuses: list[str] = []
    parts = app(environ, lambda status, _headers: statuses.append(status))  # type: ignore[arg-type] # nothing is written
    for _ in parts:
        pass
    if hasattr(parts, "close"):
        parts.close()
    assert statuses[0][:3] in ("200", "201"), statuses


def profile(app: Flask, name: str, request: Request) -> None:
    warm_from = time.monotonic() + WARM_UP_S
    while time.monotonic() < warm_from:
        answer(app, request())
    samples = Samples()
    signal.signal(signal.SIGPROF, samples.take)
    # In ready-made lists, so that making the requests is not measured.
    made, cpu_s, wall_s = 0, 0.0, 0.0
    while cpu_s < CPU_S:
        environs = [request() for _ in range(MADE_AT_ONCE)]
        begun, wall = time.thread_time(), time.perf_counter()
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_S, SAMPLE_S)
        for environ in environs:
            answer(app, environ)
        signal.setitimer(signal.ITIMER_PROF, 0)
        cpu_s += time.thread_time() - begun
        wall_s += time.perf_counter() - wall
        made += len(environs)
    report(name, samples, cpu_us=cpu_s / made * 1e6, wall_us=wall_s / made * 1e6)


def report(name: str, samples: Samples, *, cpu_us: float, wall_us: float) -> None:
    print(f"{name}: {cpu_us:,.0f} µs of Python's CPU, {wall_us:,.0f} µs until the answer, {samples.count} samples")
    for title, counted in (("in itself", samples.own), ("with all that it calls", samples.within)):
        print(f"  µs {title}")
        for where, count in counted.most_common(LINES_SHOWN):
            print(f"  {count / max(samples.count, 1) * cpu_us:7,.0f}  {where}")
    print(flush=True)


@contextmanager
def log_to_nowhere() -> Iterator[None]:
    """Let what is printed go to the standard output, and what the application logs there to nowhere."""
    with os.fdopen(os.dup(STANDARD_OUTPUT), "w") as figures, Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), STANDARD_OUTPUT)
        try:
            with redirect_stdout(figures):
                yield
        finally:
            os.dup2(figures.fileno(), STANDARD_OUTPUT)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__.partition("\n")[0])
    parser.add_argument("--case", action="append", dest="chosen", help="one case alone; may be given several times")
    parser.add_argument("--log-level", default="INFO", help="the default is a server's; the lines go to /dev/null")
    parser.add_argument(BRIEF_OPTION, action="store_true")
    options = parser.parse_args()
    with own_replica_set() as (_, uri), log_to_nowhere():
        app = application(uri, is_limited=True, log_level=options.log_level)
        requests = requests_of(bank_of(app))
        for name in options.chosen or list(requests):
            profile(app, name, requests[name])


if __name__ == "__main__":
    main()
