"""A new bank for the walks of generated clients, as `make run` starts it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from config import ROOT
from local.processes import LOOPBACK, free_port, holds_within

SYSTEM_PASSWORD = "a password for walks only"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0
_READY = "Fincore is ready."


class NoBank(Exception):
    """The bank did not start; the text is its output."""


@contextmanager
def running_bank() -> Iterator[str]:
    """Serve a new bank until the block ends, and yield its address. Raises NoBank."""
    with TemporaryDirectory(prefix="fincore-clients-") as directory:
        port, said = free_port(), Path(directory) / "said"
        # None of the caller's settings, because they may name a bank that has customers.
        settings = {"ENV_FILE": os.devnull, "DATA_DIR": f"{directory}/var", "PORT": str(port), "LOG_LEVEL": "ERROR"}
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        with said.open("wb") as output:
            bank = subprocess.Popen(
                [sys.executable, "-m", "local.supervisor", "--with-parent", str(os.getpid())],
                cwd=ROOT,
                env={**environment, **settings, "SYSTEM_PASSWORD": SYSTEM_PASSWORD},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            holds_within(START_TIMEOUT_S, lambda: bank.poll() is not None or _READY in said.read_text())
            if bank.poll() is not None or _READY not in said.read_text():
                raise NoBank(said.read_text())
            yield f"http://{LOOPBACK}:{port}"
        finally:
            bank.terminate()
            bank.wait(STOP_TIMEOUT_S)
