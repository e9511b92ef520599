"""The operator's commands in a process of their own, as an operator runs them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from config import ROOT
from tests import prepared
from tests.server import JWT_SECRET, RECEIPT_KEY


def environment(mongo_uri: str, **settings: str) -> dict[str, str]:
    """Return the environment of a command on the bank in `mongo_uri`; `settings` are further variables."""
    return {
        **os.environ,
        "ENV_FILE": os.devnull,
        "MONGO_URI": mongo_uri,
        "MONGO_TIMEOUT_MS": "20000",
        "POST_TIMEOUT_MS": "20000",
        "JWT_SECRET": JWT_SECRET,
        "RECEIPT_KEY": RECEIPT_KEY,
        "PYTHONUNBUFFERED": "1",
        **settings,
    }


@contextmanager
def flask_process(
    mongo_uri: str, *arguments: str | bytes, stdout: IO[str] | int = subprocess.PIPE, **settings: str
) -> Iterator[subprocess.Popen[str]]:
    """Run a command on the bank in `mongo_uri`; `settings` are further environment variables."""
    process = prepared.Popen(
        [sys.executable, "-m", "flask", "--app", "wsgi", *arguments],
        cwd=ROOT,
        env=environment(mongo_uri, **settings),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def failed(mongo_uri: str, *arguments: str | bytes, stdout: IO[str] | int = subprocess.PIPE, **settings: str) -> str:
    """Run a command that must end as not done, and return its message: one line without a traceback."""
    with flask_process(mongo_uri, *arguments, stdout=stdout, **settings) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 3, said
    *progress, line = said.splitlines()
    assert progress in ([], ["Verifying"])
    return line
