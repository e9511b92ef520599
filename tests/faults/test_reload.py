"""A reload (SIGHUP) serves the release that lies on the disk by then, all of it."""

import http.client
import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from config import ROOT
from local.processes import free_port, holds_within
from tests.server import JWT_SECRET, START_TIMEOUT_S, STOP_TIMEOUT_S, is_ready

OLD, NEW = '"Insufficient funds"', '"Not enough money"'


def page(port: int) -> str:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", "/problems/insufficient_funds")
        return connection.getresponse().read().decode()


def test_a_reload_takes_over_what_the_master_had_imported_too(mongo_uri: str, tmp_path: Path) -> None:
    for name in ("app", "local"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("config.py", "gunicorn.conf.py", "wsgi.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    port = free_port()
    given = {"ENV_FILE": os.devnull, "MONGO_URI": mongo_uri, "JWT_SECRET": JWT_SECRET, "PORT": str(port)}
    environment = {**os.environ, **given, "LOG_LEVEL": "ERROR", "WEB_CONCURRENCY": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    server = subprocess.Popen([sys.executable, "-m", "gunicorn", "wsgi:app"], cwd=tmp_path, env=environment)
    try:
        assert holds_within(START_TIMEOUT_S, lambda: is_ready(port))
        assert "Not enough money" not in page(port)
        errors = tmp_path / "app" / "errors.py"
        assert OLD in errors.read_text()
        errors.write_text(errors.read_text().replace(OLD, NEW))

        server.send_signal(signal.SIGHUP)

        assert holds_within(START_TIMEOUT_S, lambda: "Not enough money" in page(port))
    finally:
        server.terminate()
        server.wait(STOP_TIMEOUT_S)
