"""A MongoDB replica set on this machine, for `make run` and the tests.

Everything listens on the loopback address only and ends with the process that
started it, even when that is killed. To be exact, a server ends with the
*thread* that started it, so start servers from the main thread.
"""

import contextlib
import json
import secrets
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit, urlunsplit

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from app.mongo.schema import ROLE, ensure_schema
from local.mongod_binary import EmbeddedError, find_mongod, missing_library
from local.processes import (
    LOOPBACK,
    POLL_S,
    end,
    end_leftover,
    free_port,
    holds_within,
    is_port_free,
    keep_secret,
    spawn,
    write_private,
)

REPLICA_SET_NAME = "rs0"
ADMIN_USER = "admin"
APP_USER = "fincore"
DATABASE_NAME = "fincore"

MONGOD_CACHE_GB = 0.5
MONGOD_OPLOG_MB = 512
MONGOD_JOURNAL_FILE_MB = 20
MONGOD_LOG_BYTES_MAX = 10 * 1024**2
# How long a signalled primary serves on for the sake of clients elsewhere; 15 s if nothing is said.
MONGOD_DRAIN_MS = 100
# A block whose client could not even abort it keeps what it wrote locked so long; 60 s if nothing is said. Ours take no
# longer than MONGO_TIMEOUT_MS, which is half of this unless somebody raised it.
MONGOD_BLOCK_LIFETIME_S = 8
MONGOD_START_TIMEOUT_S = 60.0
MONGOD_STOP_TIMEOUT_S = 30.0
ELECTION_TIMEOUT_MS = 2_000
HEARTBEAT_INTERVAL_MS = 500
PRIMARY_TIMEOUT_S = 30.0
COMMAND_TIMEOUT_MS = 5_000

_UNAUTHORIZED, _ALREADY_INITIALIZED, _NOT_YET_INITIALIZED = 13, 23, 94
_USER_EXISTS = 51003

Document = dict[str, Any]


class Mongod:
    """One mongod process, a member of a replica set, with access control on.

    Its port is chosen at the first start and kept in its directory, because members know each other by address.
    """

    def __init__(self, directory: Path, *, binary: Path, key_file: Path) -> None:
        self.data_dir = directory / "data"
        self.log_path = directory / "mongod.log"
        self._binary = binary
        self._key_file = key_file
        self._port_file = directory / "port"
        self._process: subprocess.Popen[bytes] | None = None
        self._log_offset = 0
        self.port = int(self._port_file.read_text()) if self._port_file.exists() else 0

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id, or None while it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def launch(self, *, may_move: bool = False) -> None:
        """Start the process without waiting until it listens, ending one that an earlier run left on this data.

        If its port is taken it chooses another, or raises EmbeddedError unless it `may_move`.
        """
        assert self.pid is None, "It runs already."
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        end_leftover(self.data_dir / "mongod.lock", str(self.data_dir), MONGOD_STOP_TIMEOUT_S)
        if not self.port or not is_port_free(self.port):
            if self.port and not may_move:
                raise EmbeddedError(f"Another program took port {self.port}, at which the others know this mongod.")
            self.port = free_port()
            write_private(self._port_file, str(self.port))
        if self.log_path.exists() and self.log_path.stat().st_size > MONGOD_LOG_BYTES_MAX:
            self.log_path.replace(self.log_path.with_suffix(".old.log"))
        with self.log_path.open("ab") as log:
            self._log_offset = log.tell()
            self._process = spawn(self._command(), output=log)

    def start(self) -> None:
        """Start the process and wait until it listens; raises EmbeddedError with its own reason if it does not."""
        self.launch()
        self.await_listening()

    def await_listening(self) -> None:
        """Wait until the launched process takes connections; raises EmbeddedError if it ends instead."""
        if not holds_within(MONGOD_START_TIMEOUT_S, lambda: self.pid is None or _is_listening(self.port)):
            raise EmbeddedError(f"mongod does not listen after {MONGOD_START_TIMEOUT_S:.0f} s; see {self.log_path}.")
        if self.pid is None:
            raise EmbeddedError(f"mongod did not start. {self._last_words()} Its log is {self.log_path}.")

    def stop(self, timeout_s: float = MONGOD_STOP_TIMEOUT_S) -> None:
        """End the process, cleanly if that takes no longer than `timeout_s`. Does nothing if it does not run."""
        if self._process is not None:
            end(self._process, timeout_s)

    def kill(self) -> None:
        """End the process like a power failure. Does nothing if it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def client(self, **options: Any) -> MongoClient[Document]:
        """Return a client of this member alone, whatever its state. The caller closes it."""
        return MongoClient(LOOPBACK, self.port, directConnection=True, timeoutMS=COMMAND_TIMEOUT_MS, **options)

    def hello(self) -> Document:
        """Return what the member says of its place in the set; nothing if it does not answer."""
        with contextlib.suppress(PyMongoError), self.client() as client:
            return client.admin.command("hello")
        return {}

    def record_members(self, members: list[Document]) -> bool:
        """Write the set's new addresses into the member's own data, to be read at its next start.

        Returns whether it knew other ones. This is a forced reconfiguration by hand: the command waits until the
        member has asked at every old address whether that is itself, and the program that took its port may keep it
        waiting for half a minute.
        """
        system = {"username": "__system", "password": self._key_file.read_text(), "authSource": "local"}
        with self.client(**system) as client:
            configurations = client.local["system.replset"]
            known = configurations.find_one() or {"members": members}
            if [member["host"] for member in known["members"]] == [member["host"] for member in members]:
                return False
            configurations.update_one({}, {"$set": {"members": members}, "$inc": {"version": 1}})
            # No write concern waits for the journal after a write to `local`.
            client.admin.command("fsync")
            return True

    def _command(self) -> list[str]:
        options = {
            "--bind_ip": LOOPBACK,
            "--port": self.port,
            "--dbpath": self.data_dir,
            "--replSet": REPLICA_SET_NAME,
            "--keyFile": self._key_file,
            "--oplogSize": MONGOD_OPLOG_MB,
            "--wiredTigerCacheSizeGB": MONGOD_CACHE_GB,
            "--wiredTigerEngineConfigString": f"log=(file_max={MONGOD_JOURNAL_FILE_MB}MB)",
        }
        parameters = {
            "diagnosticDataCollectionEnabled": "false",
            "shutdownTimeoutMillisForSignaledShutdown": MONGOD_DRAIN_MS,
            "transactionLifetimeLimitSeconds": MONGOD_BLOCK_LIFETIME_S,
        }
        command = [str(self._binary), "--quiet", "--nounixsocket"]
        for name, value in options.items():
            command += [name, str(value)]
        for name, value in parameters.items():
            command += ["--setParameter", f"{name}={value}"]
        return command

    def _last_words(self) -> str:
        # The log is JSON lines, but a bad option or a missing library is told in plain text.
        with self.log_path.open("rb") as log:
            log.seek(self._log_offset)
            lines = log.read().decode(errors="replace").splitlines()
        for line in reversed(lines):
            if not line.startswith("{"):
                return missing_library(line) or line
            entry = json.loads(line)
            if entry["s"] in ("E", "F") and "error" in entry.get("attr", {}):
                return f"{entry['msg']}: {entry['attr']['error']}."
        return "It gave no reason."


class ReplicaSet:
    """A replica set of mongods on this machine that keeps its data, key and administrator's password in `directory`.

    One member does for everything but failovers. Raises EmbeddedError if there is no mongod that runs.
    """

    def __init__(self, directory: Path, size: int = 1) -> None:
        self.directory = directory.resolve()
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._password_file = self.directory / "admin_password"
        self._password = keep_secret(self._password_file, lambda: secrets.token_hex(24))
        key_file = self.directory / "key"
        keep_secret(key_file, lambda: secrets.token_hex(32))
        self.binary = find_mongod(self.directory)
        self.members = [
            Mongod(self.directory / f"member-{number}", binary=self.binary, key_file=key_file) for number in range(size)
        ]

    @property
    def admin_uri(self) -> str:
        """The whole set's address with the rights of an administrator."""
        hosts = ",".join(member.address for member in self.members)
        return f"mongodb://{ADMIN_USER}:{self._password}@{hosts}/?replicaSet={REPLICA_SET_NAME}&authSource=admin"

    def start(self) -> None:
        """Start the members and return once one is primary and the others follow it."""
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Start the members' processes without waiting for them."""
        for member in self.members:
            member.launch(may_move=True)

    def await_ready(self) -> None:
        """Wait for the launched members and make them a set with an administrator, unless they are one already."""
        for member in self.members:
            member.await_listening()
        self._agree_on_members()
        self._ensure_administrator(self.primary())
        if not holds_within(PRIMARY_TIMEOUT_S, lambda: all(map(_is_healthy, self.members))):
            raise EmbeddedError(f"The members in {self.directory} do not follow the primary.")

    def primary(self, timeout_s: float = PRIMARY_TIMEOUT_S) -> Mongod:
        """Return the member that is primary, waiting for an election if need be; raises EmbeddedError without one."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for member in self.members:
                if member.pid is not None and member.hello().get("isWritablePrimary"):
                    return member
            time.sleep(POLL_S)
        raise EmbeddedError(f"The replica set in {self.directory} has no primary.")

    def stop(self) -> None:
        """End all members cleanly."""
        for member in self.members:
            member.stop()

    def kill(self) -> None:
        """End all members like a power failure."""
        for member in self.members:
            member.kill()

    def _admin(self, member: Mongod) -> MongoClient[Document]:
        return member.client(username=ADMIN_USER, password=self._password, authSource="admin")

    def _ensure_administrator(self, primary: Mongod) -> None:
        with primary.client() as client:
            # Allowed without a login, from this machine, as long as there is no user at all.
            try:
                client.admin.command("createUser", ADMIN_USER, pwd=self._password, roles=["root"])
            except OperationFailure as error:
                if error.code not in (_UNAUTHORIZED, _USER_EXISTS):
                    raise
        with self._admin(primary) as client:
            try:
                client.admin.command("ping")
            except OperationFailure as error:
                raise EmbeddedError(
                    f"The data in {self.directory} has another administrator's password than {self._password_file}. "
                    "Bring the right file back, or remove the directory to begin anew."
                ) from error

    def _agree_on_members(self) -> None:
        # A new set has to be made, one whose ports changed has to be told. A member looks the same in both cases, and
        # for a moment after any start, so both are tried until it says that it is in a set at these addresses.
        members = [{"_id": number, "host": member.address} for number, member in enumerate(self.members)]
        addresses = {member.address for member in self.members}
        settings = {"electionTimeoutMillis": ELECTION_TIMEOUT_MS, "heartbeatIntervalMillis": HEARTBEAT_INTERVAL_MS}
        deadline = time.monotonic() + PRIMARY_TIMEOUT_S
        while set(self.members[0].hello().get("hosts", ())) != addresses:
            if time.monotonic() > deadline:
                raise EmbeddedError(f"The members in {self.directory} do not become a replica set.")
            try:
                with self.members[0].client() as client:
                    new = {"_id": REPLICA_SET_NAME, "members": members, "settings": settings}
                    client.admin.command("replSetInitiate", new)
            except OperationFailure as error:
                if error.code not in (_UNAUTHORIZED, _ALREADY_INITIALIZED, _NOT_YET_INITIALIZED):
                    raise
                self._readdress(members)
            time.sleep(POLL_S)

    def _readdress(self, members: list[Document]) -> None:
        changed = [member.record_members(members) for member in self.members]
        if any(changed):
            for member in self.members:
                member.kill()
                member.start()


def provision(admin_uri: str, password: str, database_name: str = DATABASE_NAME) -> str:
    """Make or bring up to date the schema and the application's user, and return the application's MONGO_URI."""
    with MongoClient[Document](admin_uri, timeoutMS=int(PRIMARY_TIMEOUT_S * 1000)) as client:
        database = client[database_name]
        ensure_schema(database)
        known = database.command("usersInfo", APP_USER)["users"]
        database.command("updateUser" if known else "createUser", APP_USER, pwd=password, roles=[ROLE])
    address = urlsplit(admin_uri)
    hosts = address.netloc.rpartition("@")[2]
    options = urlencode([(name, value) for name, value in parse_qsl(address.query) if name.lower() != "authsource"])
    return urlunsplit((address.scheme, f"{APP_USER}:{quote_plus(password)}@{hosts}", f"/{database_name}", options, ""))


def _is_healthy(member: Mongod) -> bool:
    state = member.hello()
    return bool(state.get("isWritablePrimary") or state.get("secondary"))


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
        return True
    except OSError:
        return False
