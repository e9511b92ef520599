"""A bank of its own for a drill: a replica set, a server or two, and a mail server. Each may be hurt."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from app.mongo import Document
from config import ROOT
from local.mongod import Mongod
from local.processes import LOOPBACK, free_port, holds_within
from local.replica_set import DATABASE_NAME, ReplicaSet, provision
from tests import prepared
from tests.clients import OverHttp
from tests.drills.proxy import Proxy, readable
from tests.faults.traffic import CONNECTION_ERRORS
from tests.mail import SmtpServer
from tests.people import PASSWORD, SYSTEM_EMAIL, Caller
from tests.server import JWT_SECRET, RECEIPT_KEY, START_TIMEOUT_S, STOP_TIMEOUT_S, children, is_ready

WORKERS = 2


class ProxiedMongod(Mongod):
    """A mongod that its clients and the other members know by its proxy's address."""

    proxy: Proxy

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.proxy.port}"


class Server:
    """A gunicorn, started again on the same port when it was killed. `place` is where its program lies."""

    def __init__(self, uri: str, place: Path = ROOT, /, *, application: str = "wsgi:app", **settings: str) -> None:
        self.port = free_port()
        self._application, self._place = application, place
        self._environment = {
            **os.environ,
            "ENV_FILE": os.devnull,
            "MONGO_URI": uri,
            "JWT_SECRET": JWT_SECRET,
            "RECEIPT_KEY": RECEIPT_KEY,
            "BCRYPT_ROUNDS": "4",
            "LOG_LEVEL": "CRITICAL",
            "PORT": str(self.port),
            "WEB_CONCURRENCY": str(WORKERS),
            "RATELIMIT_ENABLED": "false",
            "MAIL_LETTERS_PER_DAY": "0",
            **settings,
        }
        self._process: prepared.Popen | None = None

    @property
    def master(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def workers(self) -> list[int]:
        return children(self.master)

    def start(self, *, awaited: bool = True) -> None:
        command = [sys.executable, "-m", "gunicorn", "--log-level", "critical", self._application]
        self._process = prepared.Popen(command, cwd=self._place, env=self._environment)
        if awaited:
            assert holds_within(START_TIMEOUT_S, lambda: is_ready(self.port)), "gunicorn did not start."

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.master, number)

    def wait(self) -> None:
        assert self._process is not None
        self._process.wait(STOP_TIMEOUT_S)

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self.wait()

    def flask(self, *arguments: str, uri: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run one of the operator's commands on this bank, with other rights if a `uri` is given."""
        command = [sys.executable, "-m", "flask", "--app", "wsgi", *arguments]
        environment = {**self._environment, "MONGO_URI": uri or self._environment["MONGO_URI"]}
        return prepared.run(command, cwd=self._place, env=environment)


class House:
    """All that a drill may hurt."""

    def __init__(
        self, replica_set: ReplicaSet, uri: str, server: Server, smtp: SmtpServer, proxies: list[Proxy]
    ) -> None:
        self.replica_set = replica_set
        self.server = server
        self.smtp = smtp
        self.proxies = proxies
        self.uri = uri
        # Calls the one server that no drill makes unfit for use for ever.
        self.calm = Attentive(server.port)
        self.client = Spread(server.port)

    @contextmanager
    def another_host(self, **settings: str) -> Iterator[None]:
        """Let a second server, which need not be fit, have half of all requests."""
        second = Server(self.uri, application="tests.drills.launcher:app", WEB_CONCURRENCY="1", **settings)
        try:
            second.start(awaited=False)
            assert holds_within(START_TIMEOUT_S, lambda: is_alive(second.port)), "The second server did not start."
            self.client.call(self.server.port, second.port)
            yield
        finally:
            self.client.call(self.server.port)
            second.stop()

    @contextmanager
    def database(self) -> Iterator[Any]:
        """The bank's database with an administrator's rights."""
        with MongoClient[Document](self.replica_set.admin_uri, tz_aware=True) as client:
            yield client[DATABASE_NAME]


class Attentive(OverHttp):
    """Treats kept connections as clients' libraries do.

    It looks before each request whether the server has closed the connection meanwhile. If that crosses with the
    request, so that no answer comes, it sends the request once more on a new connection; its key makes that safe.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port)
        # Requests that got no answer on a kept connection.
        self.unanswered = 0

    def send(self, method: str, path: str, headers: dict[str, str], data: bytes | None) -> Any:
        connection = getattr(self._local, "connection", None)
        if connection is not None and connection.sock is not None and readable([connection.sock], timeout_s=0):
            connection.close()
            connection = self._local.connection = None
        try:
            return super().send(method, path, headers, data)
        except CONNECTION_ERRORS:
            if connection is None:
                raise
        self.unanswered += 1
        return super().send(method, path, headers, data)


class Spread:
    """Calls one server, or several in turn, as a load balancer does."""

    def __init__(self, port: int) -> None:
        self._clients: dict[int, Attentive] = {}
        self.call(port)

    @property
    def unanswered(self) -> int:
        return sum(client.unanswered for client in self._clients.values())

    def call(self, *ports: int) -> None:
        """Call these servers from now on, and no others."""
        for port in ports:
            if port not in self._clients:
                self._clients[port] = Attentive(port)
        self._called = [self._clients[port] for port in ports]

    def send(self, method: str, path: str, headers: dict[str, str], data: bytes | None) -> Any:
        return secrets.choice(self._called).send(method, path, headers, data)

    def close(self) -> None:
        for client in self._clients.values():
            client.close()


@contextmanager
def open_house(
    directory: Path,
    *,
    size: int = 1,
    is_proxied: bool = False,
    application: str = "wsgi:app",
    mails: bool = False,
    **settings: str,
) -> Iterator[House]:
    """Serve a bank on a new replica set."""
    with ExitStack() as stack:
        replica_set = ReplicaSet(directory, size)
        proxies = _put_proxies_before(replica_set) if is_proxied else []
        for proxy in proxies:
            stack.callback(proxy.close)
        stack.callback(replica_set.kill)
        replica_set.start()
        uri = provision(replica_set.admin_uri, "application-password")
        if "no_key_index" in settings.get("DRILL_BREAKAGES", ""):
            _let_keys_repeat(replica_set)
        smtp = SmtpServer()
        smtp.start()
        stack.callback(smtp.stop)
        if mails:
            settings = {"MAIL_SERVER": LOOPBACK, "MAIL_PORT": str(smtp.port), **settings}
        server = Server(uri, application=application, **settings)
        stack.callback(server.stop)
        server.start()
        house = House(replica_set, uri, server, smtp, proxies)
        stack.callback(house.client.close)
        stack.callback(house.calm.close)
        _register_system_user(house)
        yield house


def is_alive(port: int) -> bool:
    with closing(OverHttp(port)) as client, suppress(*CONNECTION_ERRORS):
        return Caller(client).get("/healthz").status == 200
    return False


def _let_keys_repeat(replica_set: ReplicaSet) -> None:
    with MongoClient[Document](replica_set.admin_uri) as client:
        keys = [("user", 1), ("idempotency_key", 1)]
        client[DATABASE_NAME].transactions.drop_index(keys)
        client[DATABASE_NAME].transactions.create_index(keys)


def _put_proxies_before(replica_set: ReplicaSet) -> list[Proxy]:
    proxies = []
    for member in replica_set.members:
        proxy = Proxy()
        proxy.target = lambda member=member: member.port  # type: ignore[misc]
        member.__class__ = ProxiedMongod
        member.proxy = proxy  # type: ignore[attr-defined]
        proxies.append(proxy)
    return proxies


def _register_system_user(house: House) -> None:
    body = {"name": "Fincore", "email": SYSTEM_EMAIL, "password": PASSWORD}
    assert Caller(house.calm).post("/api/auth/register", body).status == 201
    with house.database() as database:
        database.users.update_one({"email": SYSTEM_EMAIL}, {"$set": {"role": "SYSTEM"}})
