"""One mongod process on this machine, with access control on, that ends with the thread that started it."""

import contextlib
import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from local.mongod_binary import EmbeddedError, missing_library
from local.private import open_private, private_subdirectory, read_private, write_private
from local.processes import LOOPBACK, end, end_leftover, free_port, holds_within, is_port_free, spawn

REPLICA_SET_NAME = "rs0"

MONGOD_CACHE_GB = 0.5
MONGOD_OPLOG_MB = 512
MONGOD_JOURNAL_FILE_MB = 20
MONGOD_LOG_BYTES_MAX = 10 * 1024**2
# How long a primary keeps serving after SIGTERM. MongoDB's default is 15 s, for the sake of remote clients.
MONGOD_DRAIN_MS = 100
# How long an atomic block keeps its documents locked if its client could not abort it. MongoDB's default is 60 s. Our
# blocks take at most MONGO_TIMEOUT_MS, whose default is half of this.
MONGOD_BLOCK_LIFETIME_S = 8
MONGOD_START_TIMEOUT_S = 60.0
MONGOD_STOP_TIMEOUT_S = 30.0
COMMAND_TIMEOUT_MS = 5_000

Document = dict[str, Any]


class Mongod:
    """One mongod process, a member of a replica set, with access control on.

    Its port is chosen at the first start and kept in its directory, because members know each other by their addresses.
    """

    def __init__(self, directory: Path, *, binary: Path, key_file: Path, cache_gb: float = MONGOD_CACHE_GB) -> None:
        self.data_dir = directory / "data"
        self.log_path = directory / "mongod.log"
        self._binary = binary
        self._key_file = key_file
        self._cache_gb = cache_gb
        self._port_file = directory / "port"
        self._process: subprocess.Popen[bytes] | None = None
        self._log_offset = 0
        self.port = int(read_private(self._port_file)) if self._port_file.exists() else 0

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id, or None if it is not running."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def launch(self, *, may_move: bool = False) -> None:
        """Start the process without waiting until it listens. First end one that an earlier run left on this data.

        If its port is taken, it chooses another one if it `may_move`, and raises EmbeddedError if not.
        """
        assert self.pid is None, "It is running already."
        for place in (self.data_dir.parent, self.data_dir):
            private_subdirectory(place)
        end_leftover(self.data_dir / "mongod.lock", str(self.data_dir), MONGOD_STOP_TIMEOUT_S)
        if not self.port or not is_port_free(self.port):
            if self.port and not may_move:
                raise EmbeddedError(f"Another program took port {self.port}, where the other members seek this mongod.")
            self.port = free_port()
            write_private(self._port_file, str(self.port))
        if self.log_path.exists() and self.log_path.stat().st_size > MONGOD_LOG_BYTES_MAX:
            self.log_path.replace(self.log_path.with_suffix(".old.log"))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with open(open_private(self.log_path, flags), "ab") as log:
            self._log_offset = log.tell()
            self._process = spawn(self._command(), output=log)

    def start(self) -> None:
        """Start the process and wait until it listens; raises EmbeddedError with mongod's reason if it does not."""
        self.launch()
        self.await_listening()

    def await_listening(self) -> None:
        """Wait until the launched process takes connections; raises EmbeddedError if it ends instead."""
        if not holds_within(MONGOD_START_TIMEOUT_S, lambda: self.pid is None or _is_listening(self.port)):
            raise EmbeddedError(f"mongod does not listen after {MONGOD_START_TIMEOUT_S:.0f} s; see {self.log_path}.")
        if self.pid is None:
            raise EmbeddedError(f"mongod did not start. {self._last_words()} Its log is {self.log_path}.")

    def stop(self, timeout_s: float = MONGOD_STOP_TIMEOUT_S) -> None:
        """End the process: cleanly, or by killing it after `timeout_s`. Does nothing if it is not running."""
        if self._process is not None:
            end(self._process, timeout_s)

    def kill(self) -> None:
        """Kill the process, as a power failure would. Does nothing if it is not running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def client(self, **options: Any) -> MongoClient[Document]:
        """Return a client of this member alone, whatever its state. The caller closes it."""
        return MongoClient(LOOPBACK, self.port, directConnection=True, timeoutMS=COMMAND_TIMEOUT_MS, **options)

    def system_client(self) -> MongoClient[Document]:
        """Return a client with the internal rights of members, which the shared key gives. The caller closes it."""
        return self.client(username="__system", password=read_private(self._key_file), authSource="local")

    def hello(self) -> Document:
        """Return the member's answer to `hello`, which tells its role in the set; {} if it does not answer."""
        with contextlib.suppress(PyMongoError), self.client() as client:
            return client.admin.command("hello")
        return {}

    def recorded_members(self) -> list[str] | None:
        """Return the set's addresses from the member's own data, or None if it was never in a set."""
        with self.system_client() as client:
            known = client.local["system.replset"].find_one()
        return None if known is None else [member["host"] for member in known["members"]]

    def record_members(self, members: list[Document]) -> None:
        """Write the set's new addresses into the member's own data, to be read at its next start.

        This does by hand what a forced `replSetReconfig` does. The command itself first connects to every old address,
        and a program that took one of these ports may keep it waiting for half a minute.
        """
        with self.system_client() as client:
            client.local["system.replset"].update_one({}, {"$set": {"members": members}, "$inc": {"version": 1}})
            # fsync, because no write concern waits for the journal after a write to `local`.
            client.admin.command("fsync")

    def _command(self) -> list[str]:
        options = {
            "--bind_ip": LOOPBACK,
            "--port": self.port,
            "--dbpath": self.data_dir,
            "--replSet": REPLICA_SET_NAME,
            "--keyFile": self._key_file,
            "--oplogSize": MONGOD_OPLOG_MB,
            "--wiredTigerCacheSizeGB": self._cache_gb,
            "--wiredTigerEngineConfigString": f"log=(file_max={MONGOD_JOURNAL_FILE_MB}MB)",
        }
        parameters = {
            "diagnosticDataCollectionEnabled": "false",
            # By default, anybody on this machine can create the first user.
            "enableLocalhostAuthBypass": "false",
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
        # The log is JSON lines, but a bad option or a missing library is reported in plain text.
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


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
        return True
    except OSError:
        return False
