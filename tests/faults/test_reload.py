"""A reload (SIGHUP) serves the release that lies on the disk by then, all of it."""

import http.client
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from config import ROOT
from local.processes import free_port, holds_within
from tests.server import JWT_SECRET, START_TIMEOUT_S, STOP_TIMEOUT_S, is_ready

OLD, NEW = '"Insufficient funds"', '"Not enough money"'


def page(port: int) -> str:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", "/problems/insufficient_funds")
        return connection.getresponse().read().decode()


@contextmanager
def served_copy(mongo_uri: str, place: Path, **settings: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Serve a copy of the program, which a test may change. What is compiled of it is copied too, to start faster."""
    for name in ("app", "local"):
        shutil.copytree(ROOT / name, place / name)
    for name in ("config.py", "gunicorn.conf.py", "wsgi.py"):
        shutil.copy(ROOT / name, place / name)
    port = free_port()
    given = {"ENV_FILE": os.devnull, "MONGO_URI": mongo_uri, "JWT_SECRET": JWT_SECRET, "PORT": str(port), **settings}
    environment = {**os.environ, **given, "LOG_LEVEL": "ERROR", "WEB_CONCURRENCY": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    server = subprocess.Popen([sys.executable, "-m", "gunicorn", "wsgi:app"], cwd=place, env=environment)
    try:
        assert holds_within(START_TIMEOUT_S, lambda: is_ready(port))
        yield server, port
    finally:
        server.terminate()
        server.wait(STOP_TIMEOUT_S)


def test_a_reload_takes_over_what_the_master_had_imported_too(mongo_uri: str, tmp_path: Path) -> None:
    with served_copy(mongo_uri, tmp_path) as (server, port):
        assert "Not enough money" not in page(port)
        errors = tmp_path / "app" / "errors.py"
        assert OLD in errors.read_text()
        errors.write_text(errors.read_text().replace(OLD, NEW))

        server.send_signal(signal.SIGHUP)

        assert holds_within(START_TIMEOUT_S, lambda: "Not enough money" in page(port))


def test_a_reload_with_unfit_settings_leaves_the_bank_running(mongo_uri: str, tmp_path: Path) -> None:
    settings = tmp_path / "settings.env"
    settings.write_text("THREADS=4\n")
    with served_copy(mongo_uri, tmp_path, ENV_FILE=str(settings)) as (server, port):
        settings.write_text("THREADS=many\n")

        server.send_signal(signal.SIGHUP)

        assert not holds_within(5.0, lambda: server.poll() is not None)
        assert holds_within(START_TIMEOUT_S, lambda: is_ready(port))
