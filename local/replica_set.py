"""A MongoDB replica set on this machine, for `make run` and the tests.

The servers listen on the loopback address only. They end with the process that started them,
even if it is killed. To be exact, a server ends with the *thread* that started it, so start
servers from the main thread.
"""

import secrets
import time
from pathlib import Path
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit, urlunsplit

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from app.mongo.migrations.run import ensure_schema
from app.mongo.schema import ROLE
from local.mongod import MONGOD_CACHE_GB, REPLICA_SET_NAME, Document, Mongod
from local.mongod_binary import EmbeddedError, find_mongod
from local.private import keep_secret, private_directory
from local.processes import POLL_S, holds_within

ADMIN_USER = "admin"
APP_USER = "fincore"
DATABASE_NAME = "fincore"

ELECTION_TIMEOUT_MS = 2_000
HEARTBEAT_INTERVAL_MS = 500
PRIMARY_TIMEOUT_S = 30.0

_ALREADY_INITIALIZED, _NOT_YET_INITIALIZED = 23, 94
_USER_EXISTS = 51003


class ReplicaSet:
    """A replica set of mongods on this machine that keeps its data, key and administrator's password in `directory`.

    One member is enough for everything but failovers. Raises EmbeddedError if no mongod here can run.
    """

    def __init__(self, directory: Path, size: int = 1, *, cache_gb: float = MONGOD_CACHE_GB) -> None:
        self.directory = directory.resolve()
        private_directory(self.directory)
        self._password_file = self.directory / "admin_password"
        self._password = keep_secret(self._password_file, lambda: secrets.token_hex(24))
        key_file = self.directory / "key"
        keep_secret(key_file, lambda: secrets.token_hex(32))
        self.binary = find_mongod(self.directory)
        self.members = [
            Mongod(self.directory / f"member-{number}", binary=self.binary, key_file=key_file, cache_gb=cache_gb)
            for number in range(size)
        ]

    @property
    def admin_uri(self) -> str:
        """The address of the whole set, with an administrator's name and password."""
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
        """Wait until the launched members listen, and make them a set with an administrator unless they are one."""
        for member in self.members:
            member.await_listening()
        self._agree_on_members()
        self._ensure_administrator(self.primary())
        if not holds_within(PRIMARY_TIMEOUT_S, lambda: all(map(_is_healthy, self.members))):
            raise EmbeddedError(f"The members in {self.directory} do not follow the primary.")

    def primary(self, timeout_s: float = PRIMARY_TIMEOUT_S) -> Mongod:
        """Return the primary, after an election if necessary; raises EmbeddedError if there is none in time."""
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
        """Kill all members, as a power failure would."""
        for member in self.members:
            member.kill()

    def _admin(self, member: Mongod) -> MongoClient[Document]:
        return member.client(username=ADMIN_USER, password=self._password, authSource="admin")

    def _ensure_administrator(self, primary: Mongod) -> None:
        with primary.system_client() as client:
            try:
                client.admin.command("createUser", ADMIN_USER, pwd=self._password, roles=["root"])
            except OperationFailure as error:
                if error.code != _USER_EXISTS:
                    raise
        with self._admin(primary) as client:
            try:
                client.admin.command("ping")
            except OperationFailure as error:
                raise EmbeddedError(
                    f"The password in {self._password_file} is not the administrator's in {self.directory}. "
                    "Bring the right file back, or remove the directory to start again."
                ) from error

    def _agree_on_members(self) -> None:
        # A new set must be initiated; a set whose ports changed must be given its new addresses. The member's own data
        # tells which, because its answer to `hello` is the same in both cases, and for a moment after any start.
        members = [{"_id": number, "host": member.address} for number, member in enumerate(self.members)]
        addresses = {member.address for member in self.members}
        deadline = time.monotonic() + PRIMARY_TIMEOUT_S
        while set(self.members[0].hello().get("hosts", ())) != addresses:
            if time.monotonic() > deadline:
                raise EmbeddedError(f"The members in {self.directory} do not become a replica set.")
            if self.members[0].recorded_members() is None:
                self._initiate(members)
            else:
                self._readdress(members)
            time.sleep(POLL_S)

    def _initiate(self, members: list[Document]) -> None:
        settings = {"electionTimeoutMillis": ELECTION_TIMEOUT_MS, "heartbeatIntervalMillis": HEARTBEAT_INTERVAL_MS}
        new = {"_id": REPLICA_SET_NAME, "members": members, "settings": settings}
        try:
            with self.members[0].system_client() as client:
                client.admin.command("replSetInitiate", new)
        except OperationFailure as error:
            if error.code not in (_ALREADY_INITIALIZED, _NOT_YET_INITIALIZED):
                raise

    def _readdress(self, members: list[Document]) -> None:
        hosts = [member["host"] for member in members]
        stale = [member for member in self.members if member.recorded_members() not in (None, hosts)]
        for member in stale:
            member.record_members(members)
        if stale:
            for member in self.members:
                member.kill()
                member.start()


def provision(admin_uri: str, password: str, database_name: str = DATABASE_NAME) -> str:
    """Create or update the schema and the application's user, and return the application's MONGO_URI."""
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
