"""A real gunicorn with two workers, for the tests that need one."""

import http.client
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from config import ROOT
from local.processes import free_port, holds_within
from tests import prepared
from tests.documents import block, commands

JWT_SECRET = "vT4mQ9xZ2kL7pR1wY6nB8dH3sF5gJ0cA-tests"
RECEIPT_KEY = "4f1c9e0b7a2d63855e9a1c4b7d2f80936a5c1e8d4b7f02933c6e9a0d1b5f7283"
WORKERS = 2
START_TIMEOUT_S = 120.0
# The masters of the servers that this process runs, by their ports.
MASTERS: dict[int, int] = {}
APPLICATION = "wsgi:app"
STOP_TIMEOUT_S = 60.0


@contextmanager
def running_server(mongo_uri: str, *, application: str = APPLICATION, **settings: str) -> Iterator[int]:
    """Serve the bank in `mongo_uri` until the block ends; `settings` are further environment variables."""
    port = int(settings.get("PORT", 0)) or free_port()
    environment = {
        **os.environ,
        "ENV_FILE": os.devnull,
        "MONGO_URI": mongo_uri,
        "JWT_SECRET": JWT_SECRET,
        "RECEIPT_KEY": RECEIPT_KEY,
        "BCRYPT_ROUNDS": "4",
        "LOG_LEVEL": "ERROR",
        "PORT": str(port),
        "WEB_CONCURRENCY": str(WORKERS),
        "RATELIMIT_ENABLED": "false",
        "WEBHOOK_ALLOW": "127.0.0.0/8",
        # Each message is a letter of its own, so that tests can count them.
        "MAIL_LETTERS_PER_DAY": "0",
        **settings,
    }
    process = prepared.Popen(_command(application), cwd=ROOT, env=environment)
    MASTERS[port] = process.pid
    try:
        assert holds_within(START_TIMEOUT_S, lambda: process.poll() is not None or is_ready(port))
        assert process.poll() is None, "gunicorn did not start; its reason is above."
        yield port
    finally:
        process.terminate()
        process.wait(STOP_TIMEOUT_S)
        del MASTERS[port]


def workers_of(port: int) -> list[int]:
    """Return the workers of a server that this process runs."""
    return children(MASTERS[port])


def _command(application: str) -> list[str]:
    """Return the command by which the README serves a bank in production, without its settings."""
    *_, serve = commands(block("README.md", "MONGO_URI="))
    words = [word for word in serve if "=" not in word]
    assert APPLICATION in words
    return [sys.executable, "-m", *(application if word == APPLICATION else word for word in words)]


def copy_program(place: Path) -> None:
    """Make a copy of the program without its tests, for a test to change."""
    for name in ("app", "local"):
        # With its compiled modules, so that it starts faster. Other tests may be compiling at this moment.
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("*.pyc.*"))
    for name in ("config.py", "gunicorn.conf.py", "wsgi.py"):
        shutil.copy(ROOT / name, place / name)


def is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def children(pid: int) -> list[int]:
    """Return the processes that a process has started, in any of its threads."""
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        # A thread may end meanwhile, and its children then belong to another one.
        with suppress(FileNotFoundError, ProcessLookupError):
            found += [int(child) for child in file.read_text().split()]
    return found


def is_running(pid: int) -> bool:
    # A killed process whose parent has not noticed yet has no command line.
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except FileNotFoundError:
        return False
