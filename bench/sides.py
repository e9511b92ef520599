"""Servers to compare: this checkout, an earlier one, or this one with other settings, on one database server."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from bench.cases import Customer, open_accounts
from config import ROOT
from local.processes import free_port, holds_within
from tests.clients import OverHttp
from tests.people import PASSWORD, SYSTEM_EMAIL, Bank
from tests.server import JWT_SECRET, RECEIPT_KEY, children, is_ready

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Side:
    """A server with a database of its own, and its customers."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    database_uri: str
    customers: list[Customer]

    @property
    def processes(self) -> list[int]:
        """The server's own process and its workers."""
        return [self.process.pid, *children(self.process.pid)]

    def cpu_s(self) -> float:
        """Return how much processor time the server and its workers have taken."""
        return sum(map(cpu_s, self.processes))


def cpu_s(pid: int) -> float:
    """Return how much processor time a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


@contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """Have a checkout of an earlier revision for as long as the block takes."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory) / "then"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", place, revision], cwd=ROOT, check=True)
        try:
            yield place
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", place], cwd=ROOT, check=True)


@contextmanager
def served(
    name: str, admin_uri: str, *, connections: int, place: Path = ROOT, settings: Mapping[str, str] | None = None
) -> Iterator[Side]:
    """Serve a checkout on a database of its own, shaped by its own commands, with a customer for each connection."""
    address = urlsplit(admin_uri)
    port = free_port()
    uri = urlunsplit((address.scheme, address.netloc, f"/{name}", address.query, ""))
    environment = {
        **os.environ,
        "ENV_FILE": os.devnull,
        "MONGO_URI": uri,
        "JWT_SECRET": JWT_SECRET,
        "ACCESS_TOKEN_MINUTES": "600",
        "RECEIPT_KEY": RECEIPT_KEY,
        "BCRYPT_ROUNDS": "4",
        "PORT": str(port),
        "RATELIMIT_ENABLED": "false",
        "MAIL_DELIVERY": "off",
        **(settings or {}),
    }

    def flask(*arguments: str, said: str = "") -> None:
        command = [sys.executable, "-m", "flask", "--app", "wsgi", *arguments]
        subprocess.run(command, cwd=place, env=environment, input=said, text=True, capture_output=True, check=True)

    flask("db", "init")
    flask("users", "create", SYSTEM_EMAIL, "--name", "Fincore", "--role", "SYSTEM", "--password-stdin", said=PASSWORD)
    # The log, at a server's own level, is written but not kept.
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "wsgi:app"],
        cwd=place,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert holds_within(START_TIMEOUT_S, lambda: is_ready(port)), f"{name} does not start."
        client = OverHttp(port)
        customers = open_accounts(Bank(client), connections)
        client.close()
        yield Side(name, port, process, uri, customers)
    finally:
        process.terminate()
        process.wait(STOP_TIMEOUT_S)
