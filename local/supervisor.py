"""Starts, watches and stops everything that Fincore needs on this machine. `make run` runs it.

`python -m local.supervisor [--with-parent PID]` exits with 0 when it is stopped by Ctrl-C, SIGTERM or SIGHUP, and with
1 when it cannot start or when something ends that it cannot restart.
"""

import argparse
import contextlib
import fcntl
import http.client
import os
import secrets
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

import config
from app import mongo
from app.auth.service import NotTheSystemUser, ensure_system_user, has_password
from app.mongo import new_client
from app.mongo.migrations.run import ensure_schema
from app.mongo.readiness import NotReady, Standalone, check_database
from app.runtime.leash import end_with
from local import counts
from local.mail_catcher import MailCatcher
from local.mongod import Mongod
from local.mongod_binary import EmbeddedError
from local.private import NotPrivate, keep_secret, open_private, private_directory, write_private
from local.processes import LOOPBACK, end, end_leftover, free_port, is_port_free, spawn
from local.replica_set import DATABASE_NAME, ReplicaSet, provision
from local.restarts import Restarts

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SYSTEM_PASSWORD_BYTES = 15
MONGO_URI_TIMEOUT_MS = 5_000
READY_TIMEOUT_S = 60.0
READY_POLL_S = 0.05
READY_ANSWER_TIMEOUT_S = 10.0
WATCH_INTERVAL_S = 0.5
# Longer than the graceful_timeout in gunicorn.conf.py.
GUNICORN_STOP_TIMEOUT_S = 35.0
# Longer than one message may take.
DELIVERER_STOP_TIMEOUT_S = 20.0


class SupervisorError(Exception):
    """Fincore cannot run here; the text says why and what to do."""


class StopRequested(BaseException):
    """Somebody asked this process to stop."""


class Supervisor:
    """The servers of one data directory."""

    def __init__(self, local: config.LocalConfig) -> None:
        self._local = local
        self._data_dir = local.data_dir.resolve()
        self._gunicorn_pid_file = self._data_dir / "gunicorn.pid"
        self._environment_file = self._data_dir / "fincore.env"
        self._counts_record: Path | None = None
        self._port = local.server.port or free_port()
        self._lock: TextIO | None = None
        self._replica_set: ReplicaSet | None = None
        self._mail_catcher: MailCatcher | None = None
        self._gunicorn: subprocess.Popen[bytes] | None = None
        self._deliverer: subprocess.Popen[bytes] | None = None
        self._mongod_restarts = Restarts()
        self._deliverer_restarts = Restarts()

    def run(self) -> NoReturn:
        """Start everything, print where it is, and watch over it until an exception is raised."""
        self._take_data_dir()
        self._take_port()
        mongo_uri = self._local.mongo_uri
        if mongo_uri is None:
            mongo_uri = self._start_mongod()
        else:
            _prepare_given(mongo_uri)
        secrets_kept = {"JWT_SECRET": self._jwt_secret(), "RECEIPT_KEY": self._receipt_key()}
        places = {"WEBHOOK_ALLOW": self._local.webhook_allow, "PUBLIC_URL": self._public_url()}
        self._export({"MONGO_URI": mongo_uri, **secrets_kept, **places, **self._mail()})
        self._make_system_user()
        self._share_counts()
        self._start_gunicorn()
        self._start_deliverer()
        _say(self._guide())
        while True:
            time.sleep(WATCH_INTERVAL_S)
            self._watch()

    def stop(self) -> None:
        """Stop all servers, gunicorn first."""
        for process, name, timeout_s in (
            (self._gunicorn, "gunicorn", GUNICORN_STOP_TIMEOUT_S),
            (self._deliverer, "The deliverer of mail", DELIVERER_STOP_TIMEOUT_S),
        ):
            if process is not None and not end(process, timeout_s):
                _say(f"{name} did not end in time and was killed.")
        if self._mail_catcher is not None:
            self._mail_catcher.stop()
        if self._replica_set is not None:
            self._replica_set.stop()
        if self._counts_record is not None:
            counts.remove(self._counts_record)

    def _take_data_dir(self) -> None:
        if config.ROOT.is_relative_to(self._data_dir):
            raise SupervisorError(
                f"The data directory {self._data_dir} holds Fincore itself. Choose another: make run DATA_DIR=var"
            )
        try:
            private_directory(self._local.data_dir)
            self._keep_out_of_git()
            self._lock = os.fdopen(open_private(self._data_dir / "lock", os.O_RDWR | os.O_CREAT), "r+")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            assert self._lock is not None
            raise SupervisorError(
                f"Process {self._lock.read().strip()} already runs Fincore on {self._data_dir}. Stop it, or choose "
                f"another directory and port: make run DATA_DIR=... PORT=..."
            ) from None
        except OSError as error:
            raise SupervisorError(
                f"The data directory {self._data_dir} cannot be used ({error.strerror}). Choose one that you can "
                "write to: make run DATA_DIR=..."
            ) from error
        self._lock.seek(0)
        self._lock.truncate()
        self._lock.write(f"{os.getpid()}\n")
        self._lock.flush()

    def _keep_out_of_git(self) -> None:
        # The directory may lie in a working tree, where `git add .` would add secrets and data.
        is_new = not any(self._data_dir.iterdir())
        if is_new or self._environment_file.exists():
            write_private(self._data_dir / ".gitignore", "*\n")

    def _take_port(self) -> None:
        if end_leftover(self._gunicorn_pid_file, str(self._gunicorn_pid_file), GUNICORN_STOP_TIMEOUT_S):
            _say("Ended the server that an earlier run left behind.")
        self._gunicorn_pid_file.unlink(missing_ok=True)
        host = self._local.server.host
        try:
            is_free = is_port_free(self._port, host)
        except OSError as error:
            raise SupervisorError(
                f"Fincore cannot listen on {host}, port {self._port} ({error.strerror}). Choose another port: "
                "make run PORT=8000"
            ) from error
        if not is_free:
            raise SupervisorError(
                f"Port {self._port} is taken by another program. Stop that one, or choose another port: "
                f"make run PORT={self._port + 1}"
            )

    def _start_mongod(self) -> str:
        directory = self._data_dir / "mongo"
        self._replica_set = ReplicaSet(directory)
        self._replica_set.start()
        return provision(
            self._replica_set.admin_uri, keep_secret(directory / "app_password", lambda: secrets.token_hex(24))
        )

    def _jwt_secret(self) -> str:
        # In hex, so that it cannot contain a word that makes it look like a placeholder.
        return self._local.jwt_secret or keep_secret(self._data_dir / "jwt_secret", lambda: secrets.token_hex(48))

    def _receipt_key(self) -> str:
        return self._local.receipt_key or keep_secret(self._data_dir / "receipt_key", lambda: secrets.token_hex(32))

    def _mail(self) -> dict[str, str]:
        if self._local.mail.keys() & {"MAIL_SERVER", "EMAIL_USER"}:
            return self._local.mail
        self._mail_catcher = MailCatcher(self._data_dir / "mail")
        self._mail_catcher.start()
        address = {"MAIL_SERVER": LOOPBACK, "MAIL_PORT": str(self._mail_catcher.port)}
        address |= {"MAIL_USE_TLS": "false", "MAIL_USE_SSL": "false"}
        return {**self._local.mail, **address}

    def _export(self, variables: dict[str, str]) -> None:
        config.export({**variables, "PORT": str(self._port)})
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
        write_private(self._environment_file, "".join(lines))

    def _make_system_user(self) -> None:
        settings = config.load()
        password = self._local.system_password or secrets.token_urlsafe(SYSTEM_PASSWORD_BYTES)
        mongo.connect(settings.mongo)
        try:
            is_new = ensure_system_user(email=self._local.system_email, password=password, policy=settings.auth)
            is_taken = is_new or has_password(self._local.system_email, password)
        except NotTheSystemUser as error:
            raise SupervisorError(f"SYSTEM_EMAIL: {error} Name another address.") from error
        finally:
            mongo.close()
        if self._local.system_password is not None and not is_taken:
            _say(
                f"SYSTEM_PASSWORD has no effect: {self._local.system_email} has another password already. "
                "Change it with PUT /api/auth/password."
            )
        if is_new and self._local.system_password is None:
            _say(f"System user {self._local.system_email} has the password {password} (shown only now; keep it).")

    def _share_counts(self) -> None:
        # Not in the file of settings, because each command would leave its counts there.
        if self._local.server.metrics_dir is None:
            self._counts_record = self._data_dir / "counts"
            config.export({"PROMETHEUS_MULTIPROC_DIR": str(counts.make(self._counts_record))})

    def _start_gunicorn(self) -> None:
        configuration, pid_file = str(config.ROOT / "gunicorn.conf.py"), str(self._gunicorn_pid_file)
        self._gunicorn = spawn(
            [sys.executable, "-m", "gunicorn", "--config", configuration, "--pid", pid_file, "wsgi:app"],
            cwd=config.ROOT,
        )
        deadline = time.monotonic() + READY_TIMEOUT_S
        while (answer := self._readiness()) != "200 OK":
            self._watch()
            if time.monotonic() > deadline:
                raise SupervisorError(f"Fincore is not ready after {READY_TIMEOUT_S:.0f} s: /readyz says {answer}.")
            time.sleep(READY_POLL_S)

    def _readiness(self) -> str:
        connection = http.client.HTTPConnection(self._client_host(), self._port, timeout=READY_ANSWER_TIMEOUT_S)
        with contextlib.closing(connection):
            try:
                connection.request("GET", "/readyz")
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                return f"nothing ({error})"
        return f"{response.status} {response.reason}"

    def _watch(self) -> None:
        assert self._gunicorn is not None
        code = self._gunicorn.poll()
        if code is not None:
            raise SupervisorError(f"gunicorn ended unexpectedly (exit code {code}); its reason is above.")
        for member in self._replica_set.members if self._replica_set is not None else ():
            if member.pid is None:
                self._revive(member)
        if self._deliverer is not None and self._deliverer.poll() is not None and self._deliverer_restarts.are_due():
            _say("The deliverer of mail ended unexpectedly. Starting it again.")
            self._start_deliverer()

    def _start_deliverer(self) -> None:
        # With wrong settings it would end at once, so it is not started. Mail waits then, as the guide says.
        if config.load_mail().problem is None:
            command = [sys.executable, "-m", "flask", "--app", "wsgi", "mail", "deliver", "--loop"]
            self._deliverer = spawn(command, cwd=config.ROOT)

    def _revive(self, mongod: Mongod) -> None:
        if not self._mongod_restarts.are_due():
            return
        _say("mongod ended unexpectedly. Starting it again.")
        try:
            mongod.start()
        except EmbeddedError as error:
            _say(f"{error} Trying again in {self._mongod_restarts.pause_s:.0f} s.")

    def _client_host(self) -> str:
        # If the server listens on every address, a client on this machine uses the loopback address.
        host = self._local.server.host
        return {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)  # noqa: S104 (compared, not listened on)

    def _url(self) -> str:
        host = self._client_host()
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}"

    def _public_url(self) -> str:
        is_here = self._client_host() in config.LOOPBACK_HOSTS
        return self._local.public_url or (self._url() if is_here else "")

    def _guide(self) -> str:
        flask_path = Path(sys.executable).with_name("flask")
        rows = {
            "Page": self._url(),
            "API": f"{self._url()}/api/docs",
            "System user": self._local.system_email,
            "Data": _shown(self._data_dir),
            "Mail": f"through {self._local.mail.get('MAIL_SERVER', 'the server of EMAIL_USER')}",
        }
        if self._mail_catcher is not None:
            rows["Mail"] = f"{_shown(self._mail_catcher.directory)} (a maildir; nothing is sent)"
        problem = config.load_mail().problem
        if problem is not None:
            rows["Mail"] = f"waits, because its settings are wrong. {problem}"
        if self._replica_set is not None:
            rows["MongoDB log"] = _shown(self._replica_set.members[0].log_path)
        environment, flask = (shlex.quote(_shown(path)) for path in (self._environment_file, flask_path))
        rows["Commands"] = f". {environment} && {flask} --app wsgi --help"
        lines = [f"  {name:<12} {value}" for name, value in rows.items()]
        return "\n".join(["Fincore is ready. Ctrl-C stops it.", *lines])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until asked to stop, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m local.supervisor", description=__doc__)
    parser.add_argument("--with-parent", type=int, metavar="PID", help="stop when this parent process ends")
    parent_pid = parser.parse_args(arguments).with_parent
    for number in STOP_SIGNALS:
        # A parent such as nohup may have made us ignore SIGHUP or SIGTERM on purpose. Ctrl-C works in any case.
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _request_stop)
    try:
        if parent_pid is not None:
            end_with(parent_pid)
        _run(Supervisor(config.load_local()))
    except StopRequested:
        _say("Stopped.")
    except (SupervisorError, EmbeddedError, NotPrivate, config.ConfigError, NotReady, PyMongoError, OSError) as error:
        sys.stderr.write(f"fincore: {error}\n")
        return 1
    return 0


def _run(supervisor: Supervisor) -> NoReturn:
    try:
        supervisor.run()
    finally:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        supervisor.stop()


def _request_stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (as signal handlers are called)
    # Ignore further signals, because they must not interrupt the stop.
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise StopRequested


def _prepare_given(uri: str) -> None:
    # If the replica set lacks the schema, it is made here, provided that the user in the URI has the rights.
    try:
        try:
            check_database(uri, timeout_ms=MONGO_URI_TIMEOUT_MS)
        except Standalone:
            raise
        except NotReady:
            with (
                contextlib.suppress(OperationFailure, ConnectionFailure),
                new_client(uri, timeout_ms=MONGO_URI_TIMEOUT_MS) as client,
            ):
                ensure_schema(client.get_default_database(DATABASE_NAME))
            check_database(uri, timeout_ms=MONGO_URI_TIMEOUT_MS)
    except ConnectionFailure as error:
        reason = str(error).partition(", Timeout:")[0]
        raise SupervisorError(f"The MongoDB of MONGO_URI cannot be reached: {reason}") from error
    except PyMongoError as error:
        reason = str(error).partition(", full error")[0]
        raise SupervisorError(f"MONGO_URI cannot be used: {reason}") from error


def _shown(path: Path) -> str:
    # Relative to the current directory if the path lies in it.
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _say(text: str) -> None:
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except OSError:
        # The reader is gone, for example a pager that was closed. Write to nowhere from now on, and carry on.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
