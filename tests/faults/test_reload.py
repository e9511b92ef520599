"""A reload (SIGHUP) serves the release that is on the disk by then, completely, and loses no request."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from pymongo.database import Database

from app.mongo import Document
from local.processes import free_port, holds_within
from tests.clients import OverHttp
from tests.faults.wire import head, wire
from tests.people import Bank
from tests.server import JWT_SECRET, START_TIMEOUT_S, STOP_TIMEOUT_S, children, copy_program, is_ready

HEALTH = head("GET", "/healthz")
# Longer than a stop waits for the next request on an idle connection.
RESTED_S = 2.0
# As long as a request waits for events at most.
EVENTS_WAIT_S = 25.0
# Of the workers only, and not of the process that checks the settings before a reload.
SLOW_START = """
import multiprocessing
import os
import time

if multiprocessing.parent_process() is None:
    while not os.path.exists("{go}"):
        time.sleep(0.05)
"""
SETTINGS = "settings.env"
OLD, NEW = '"Insufficient funds"', '"Not enough money"'


def page(port: int) -> str:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", "/problems/insufficient_funds")
        return connection.getresponse().read().decode()


@dataclass
class Served:
    """A copy of the program, which a test may change, and the server that runs it."""

    process: subprocess.Popen[bytes]
    port: int
    place: Path

    @property
    def workers(self) -> set[int]:
        return set(children(self.process.pid))

    def reload(self) -> int:
        """Have one worker replace another; return the former when both are there, or when it has gone."""
        assert holds_within(STOP_TIMEOUT_S, lambda: len(self.workers) == 1)
        (old,) = self.workers
        seen = {old}

        def has_started() -> bool:
            # The process that checks the settings, and then the new worker.
            seen.update(self.workers)
            return len(seen) == 3

        self.process.send_signal(signal.SIGHUP)
        assert holds_within(START_TIMEOUT_S, has_started)
        return old


@pytest.fixture(scope="module")
def served(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("served")
    copy_program(place)
    (place / SETTINGS).write_text("KEEP_ALIVE_S=60\n")
    port = free_port()
    given = {"ENV_FILE": str(place / SETTINGS), "MONGO_URI": mongo_uri, "JWT_SECRET": JWT_SECRET, "PORT": str(port)}
    environment = {**os.environ, **given, "LOG_LEVEL": "ERROR", "WEB_CONCURRENCY": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    server = subprocess.Popen([sys.executable, "-m", "gunicorn", "wsgi:app"], cwd=place, env=environment)
    try:
        assert holds_within(START_TIMEOUT_S, lambda: is_ready(port))
        yield Served(server, port, place)
    finally:
        server.terminate()
        server.wait(STOP_TIMEOUT_S)


def test_a_reload_takes_over_what_the_master_had_imported_too(served: Served) -> None:
    assert "Not enough money" not in page(served.port)
    errors = served.place / "app" / "errors.py"
    assert OLD in errors.read_text()
    errors.write_text(errors.read_text().replace(OLD, NEW))

    served.reload()

    assert holds_within(START_TIMEOUT_S, lambda: "Not enough money" in page(served.port))


def test_a_reload_with_unfit_settings_leaves_the_bank_running(served: Served) -> None:
    settings = served.place / SETTINGS
    fit = settings.read_text()
    settings.write_text("THREADS=many\n")
    assert holds_within(STOP_TIMEOUT_S, lambda: len(served.workers) == 1)
    before = served.workers

    served.process.send_signal(signal.SIGHUP)

    # The process that checks the settings comes and goes, and nothing comes of it.
    assert holds_within(START_TIMEOUT_S, lambda: served.workers != before)
    assert holds_within(START_TIMEOUT_S, lambda: served.workers == before)
    assert not holds_within(0.5, lambda: served.process.poll() is not None or served.workers != before)
    assert holds_within(START_TIMEOUT_S, lambda: is_ready(served.port))
    settings.write_text(fit)


def test_a_reload_answers_the_next_request_on_each_kept_connection_and_who_waits_for_events(
    served: Served, database: Database[Document]
) -> None:
    caller = OverHttp(served.port)
    person = Bank(caller).register()
    after = person.get("/api/events").body["nextAfter"]
    with wire(served.port) as used, wire(served.port) as new, wire(served.port) as waiting:
        used.send(HEALTH)
        answer = used.answer()
        assert answer is not None
        assert not answer.ends_the_connection
        waiting.send(head("GET", f"/api/events?after={after}&wait=25", token=person.token))
        asked_at = time.monotonic()

        old = served.reload()
        answer = waiting.answer()
        assert answer is not None
        assert answer.status == 200
        assert time.monotonic() - asked_at < EVENTS_WAIT_S
        time.sleep(RESTED_S)
        for client in (used, new):
            client.send(HEALTH)

            (answer,) = client.answers()
            assert (answer.status, answer.ends_the_connection) == (200, True)
    assert holds_within(STOP_TIMEOUT_S, lambda: old not in served.workers)
    caller.close()


def test_a_reload_keeps_nobody_waiting_for_the_new_release(served: Served) -> None:
    package = served.place / "app" / "__init__.py"
    quick = package.read_text()
    go = served.place / "go"
    package.write_text(quick + SLOW_START.format(go=go))
    try:
        served.reload()
        time.sleep(RESTED_S)

        with wire(served.port) as client:
            client.send(HEALTH)
            assert client.answer() is not None
    finally:
        go.touch()
        package.write_text(quick)
