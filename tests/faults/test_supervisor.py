"""`make run`: it stops everything that it started, however it ends, and says why when it cannot start."""

import contextlib
import http.client
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pymongo import MongoClient

from app.mongo import Document
from config import ROOT
from local.processes import LOOPBACK, free_port, holds_within
from local.replica_set import ReplicaSet

START_TIMEOUT_S = 120.0
END_TIMEOUT_S = 60.0
READY = "Ctrl-C stops it."
# What only its command line has; names turn up in paths, too.
MONGOD = "--dbpath"
DELIVERER = "deliver\0--loop"
SUPERVISOR = [sys.executable, "-m", "local.supervisor"]
# A parent that does nothing else, as `make run` is one.
SHELL = ["/bin/sh", "-c", f"{shlex.join(SUPERVISOR)} --with-parent $$; exit"]


@dataclass
class Run:
    """A start of Fincore, in a process group of its own."""

    process: subprocess.Popen[bytes]
    data_dir: Path
    port: int
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text()

    def is_ready(self) -> bool:
        return READY in self.said and self.readiness() == 200

    def readiness(self) -> int | None:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=10)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()

    def metrics(self) -> str:
        with contextlib.closing(http.client.HTTPConnection(LOOPBACK, self.port, timeout=10)) as connection:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()

    def pids(self, program: str = "") -> list[int]:
        """The processes of this run that have `program` on their command line."""
        settings = {f"DATA_DIR={self.data_dir}".encode(), f"PORT={self.port}".encode()}
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                environment, command = (place / "environ").read_bytes(), (place / "cmdline").read_bytes()
            except OSError:
                continue
            if settings <= set(environment.split(b"\0")) and program.encode() in command:
                found.append(int(place.name))
        return found

    def ended(self) -> int:
        """Wait until the process and all that it started have ended, and return its exit code."""
        code = self.process.wait(END_TIMEOUT_S)
        assert holds_within(END_TIMEOUT_S, lambda: not self.pids()), self.pids()
        return code


@contextmanager
def launcher(directory: Path) -> Iterator[Callable[..., Run]]:
    """Starts Fincore without waiting for it, on the same data each time unless told otherwise."""
    runs: list[Run] = []

    def start(command: list[str] = SUPERVISOR, cwd: Path = ROOT, **settings: str) -> Run:
        port = free_port()
        environment = {
            **os.environ,
            **dict.fromkeys(("MONGO_URI", "JWT_SECRET", "MAIL_SERVER", "EMAIL_USER", "SYSTEM_PASSWORD"), ""),
            "ENV_FILE": os.devnull,
            "DATA_DIR": str(directory / "var"),
            "PORT": str(port),
            "BCRYPT_ROUNDS": "4",
            "WEB_CONCURRENCY": "1",
            "LOG_LEVEL": "ERROR",
            "PYTHONPATH": str(ROOT),
            **settings,
        }
        log = directory / f"run-{len(runs)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=cwd, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        runs.append(Run(process, Path(environment["DATA_DIR"]), int(environment["PORT"]), log))
        return runs[-1]

    yield start
    for run in runs:
        for pid in run.pids():
            os.kill(pid, signal.SIGKILL)
        run.process.wait(END_TIMEOUT_S)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Starts Fincore without waiting for it, on the same data each time unless told otherwise."""
    with launcher(tmp_path) as launch:
        yield launch


def when_ready(run: Run) -> Run:
    """Wait until it serves."""
    assert holds_within(START_TIMEOUT_S, lambda: run.process.poll() is not None or run.is_ready()), run.said
    assert run.process.poll() is None, run.said
    return run


@pytest.fixture
def serve(launch: Callable[..., Run]) -> Callable[..., Run]:
    """Starts Fincore and waits until it serves."""
    return lambda *arguments, **settings: when_ready(launch(*arguments, **settings))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A Fincore for tests that leave it serving, on a data directory whose name a shell has to quote."""
    directory = tmp_path_factory.mktemp("running")
    with launcher(directory) as launch:
        yield when_ready(launch(DATA_DIR=str(directory / "it's my data $HOME")))


def environment_file(run: Run) -> dict[str, str]:
    """What an operator's shell has after reading the file that `make run` wrote."""
    path = run.data_dir / "fincore.env"
    assert path.stat().st_mode & 0o777 == 0o600
    done = subprocess.run(["/bin/sh", "-c", f". {path}; env"], env={}, capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


def test_a_second_start_finds_what_the_first_made_and_says_no_secret_again(serve: Callable[..., Run]) -> None:
    first = serve()
    made = environment_file(first)
    found = re.search(r"password (\S+)", first.said)
    assert found is not None
    stop(first)

    second = serve(SYSTEM_PASSWORD="another password")
    kept = environment_file(second)
    stop(second)
    third = serve(SYSTEM_PASSWORD=found[1])

    # Wherever it lies in a working tree, git takes nothing of it.
    assert (third.data_dir / ".gitignore").read_text() == "*\n"
    assert made["PUBLIC_URL"] == f"http://{LOOPBACK}:{first.port}", "Letters lead there."
    secrets = {made[name] for name in ("MONGO_URI", "JWT_SECRET")}
    assert secrets == {kept[name] for name in ("MONGO_URI", "JWT_SECRET")}
    assert "SYSTEM_PASSWORD has no effect" in second.said, "It came too late."
    assert "another password" not in second.said.replace("has another password", "")
    assert "password" not in third.said
    assert not any(secret in run.said for secret in secrets for run in (first, second, third))
    with MongoClient[Document](kept["MONGO_URI"], tz_aware=True) as client:
        assert client.get_default_database()["users"].count_documents({"role": "SYSTEM"}) == 1


def stop(run: Run) -> None:
    run.process.send_signal(signal.SIGTERM)
    assert run.ended() == 0


def test_the_printed_commands_can_be_typed_as_they_are(running: Run) -> None:
    (line,) = [line for line in running.said.splitlines() if line.lstrip().startswith("Commands")]

    command = line.split(maxsplit=1)[1].replace("--help", "users list --json")
    done = subprocess.run(["/bin/sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert '"role":"SYSTEM"' in done.stdout


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_process_group_stops_all(serve: Callable[..., Run], signal_number: signal.Signals) -> None:
    # Tests under nohup ignore SIGHUP, and what they start would, too, as it should.
    usual = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        run = serve()
    finally:
        signal.signal(signal.SIGHUP, usual)

    # More than once, as impatient people press Ctrl-C.
    for _ in range(3):
        os.killpg(run.process.pid, signal_number)

    assert run.ended() == 0
    assert "Traceback" not in run.said


def test_a_stop_during_the_start_leaves_nothing(launch: Callable[..., Run]) -> None:
    run = launch()
    assert holds_within(START_TIMEOUT_S, lambda: bool(run.pids(MONGOD)))

    run.process.send_signal(signal.SIGTERM)

    assert run.ended() == 0


def test_the_supervisor_killed_takes_all_with_it_and_a_new_start_succeeds_at_once(serve: Callable[..., Run]) -> None:
    run = serve()
    run.process.kill()

    again = serve(PORT=str(run.port))

    assert again.readiness() == 200
    assert "password" not in again.said


def test_everything_stops_when_the_parent_is_killed(serve: Callable[..., Run]) -> None:
    run = serve(SHELL)

    run.process.kill()

    run.ended()
    assert "Stopped." in run.said


def test_sigterm_to_make_alone_stops_all(launch: Callable[..., Run], tmp_path: Path) -> None:
    # The recipe of the Makefile, with this Python instead of an installed .venv.
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    run = launch(["make", "run", "INSTALLED="], cwd=tmp_path)
    assert holds_within(START_TIMEOUT_S, lambda: run.process.poll() is not None or run.is_ready()), run.said

    run.process.send_signal(signal.SIGTERM)

    run.ended()
    assert "Stopped." in run.said


def test_mongod_is_started_again_when_it_dies(running: Run) -> None:
    (mongod,) = running.pids(MONGOD)

    os.kill(mongod, signal.SIGKILL)

    assert holds_within(
        START_TIMEOUT_S, lambda: running.pids(MONGOD) not in ([], [mongod]) and running.readiness() == 200
    )
    assert "mongod ended unexpectedly" in running.said


def test_mail_has_a_process_of_its_own_which_is_started_again_when_it_dies(running: Run) -> None:
    # It is started last, and has its name only once it has left the supervisor's program.
    assert holds_within(START_TIMEOUT_S, lambda: len(running.pids(DELIVERER)) == 1)
    (deliverer,) = running.pids(DELIVERER)
    assert holds_within(START_TIMEOUT_S, lambda: os.getpriority(os.PRIO_PROCESS, deliverer) > 0), "Requests go first."

    os.kill(deliverer, signal.SIGKILL)
    register(running)

    assert holds_within(START_TIMEOUT_S, lambda: running.pids(DELIVERER) not in ([], [deliverer]))
    assert holds_within(START_TIMEOUT_S, lambda: len(list((running.data_dir / "mail" / "new").iterdir())) == 1)
    assert "The deliverer of mail ended unexpectedly" in running.said
    assert holds_within(START_TIMEOUT_S, lambda: 'fincore_letters_total{outcome="sent"}' in running.metrics())
    assert Path((running.data_dir / "counts").read_text()).is_dir()


def test_with_wrong_mail_settings_the_bank_runs_and_no_deliverer(serve: Callable[..., Run]) -> None:
    run = serve(MAIL_SERVER=LOOPBACK, MAIL_PORT="none")

    assert run.pids(DELIVERER) == []
    assert "waits, because its settings are wrong" in run.said


def register(run: Run) -> None:
    connection = http.client.HTTPConnection(LOOPBACK, run.port, timeout=30)
    body = '{"name": "Asha", "email": "asha@fincore.example", "password": "monsoon over the hills"}'
    connection.request("POST", "/api/auth/register", body, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 201
    connection.close()


def test_all_stops_with_an_error_when_gunicorn_dies(serve: Callable[..., Run]) -> None:
    run = serve()

    os.kill(int((run.data_dir / "gunicorn.pid").read_text()), signal.SIGKILL)

    assert run.ended() == 1
    assert "gunicorn ended unexpectedly" in run.said


def test_a_taken_port_is_named_before_anything_starts(launch: Callable[..., Run]) -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        run = launch(PORT=str(port))

        assert run.ended() == 1
    assert f"Port {port} is taken" in run.said
    assert not (run.data_dir / "mongo").exists()


def test_the_process_that_has_the_data_directory_is_named(running: Run, launch: Callable[..., Run]) -> None:
    second = launch(DATA_DIR=str(running.data_dir))

    assert second.process.wait(START_TIMEOUT_S) == 1
    assert f"Process {running.process.pid} already runs Fincore" in second.said
    assert holds_within(START_TIMEOUT_S, lambda: running.readiness() == 200)


def test_a_data_directory_that_cannot_be_written_is_named(launch: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    run = launch(DATA_DIR=str(tmp_path / "file" / "var"))

    assert run.ended() == 1
    assert "cannot be used (Not a directory)" in run.said


def test_a_data_directory_that_others_may_write_is_refused_in_one_line(
    launch: Callable[..., Run], tmp_path: Path
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)

    run = launch(DATA_DIR=str(tmp_path / "open"))

    assert run.ended() == 1
    assert len(run.said.splitlines()) == 1
    assert f"Others may write in {tmp_path / 'open'}" in run.said
    assert list((tmp_path / "open").iterdir()) == []


def test_a_planted_secret_is_refused_in_one_line(launch: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "var").mkdir(mode=0o700)
    (tmp_path / "planted").write_text("6f1d3c5b7a9e2048" * 6)
    (tmp_path / "var" / "jwt_secret").symlink_to(tmp_path / "planted")

    run = launch()

    assert run.ended() == 1
    assert run.said.splitlines()[-1].endswith("jwt_secret is a link, and Fincore makes none. Remove it.")
    assert "Traceback" not in run.said


def test_the_project_itself_is_no_data_directory(launch: Callable[..., Run]) -> None:
    run = launch(DATA_DIR=".")

    assert run.process.wait(END_TIMEOUT_S) == 1
    assert "holds Fincore itself" in run.said


def test_bad_settings_are_all_named(launch: Callable[..., Run]) -> None:
    run = launch(SYSTEM_EMAIL="system", SYSTEM_PASSWORD="Password1", JWT_SECRET="short", MONGO_URI="localhost")

    assert run.ended() == 1
    assert all(name in run.said for name in ("SYSTEM_EMAIL", "SYSTEM_PASSWORD", "JWT_SECRET", "MONGO_URI"))
    assert "Traceback" not in run.said


def test_a_standalone_server_is_refused(launch: Callable[..., Run], replica_set: ReplicaSet, tmp_path: Path) -> None:
    port = free_port()
    options = ["--port", str(port), "--dbpath", str(tmp_path), "--bind_ip", LOOPBACK, "--nounixsocket"]
    standalone = subprocess.Popen([str(replica_set.binary), *options], stdout=subprocess.DEVNULL)
    try:
        # The supervisor waits some seconds for its server, and this one starts beside other tests.
        with MongoClient[Document](LOOPBACK, port, serverSelectionTimeoutMS=int(START_TIMEOUT_S * 1_000)) as client:
            client.admin.command("ping")
        for query in ("", "?replicaSet=rs0"):
            run = launch(MONGO_URI=f"mongodb://{LOOPBACK}:{port}/fincore{query}")
            assert run.ended() == 1
            assert "standalone" in run.said
    finally:
        standalone.kill()
        standalone.wait()


def test_a_given_replica_set_is_used_and_given_the_schema(serve: Callable[..., Run], replica_set: ReplicaSet) -> None:
    # By an administrator's address, of a database that nobody has prepared.
    uri = replica_set.admin_uri.replace("/?", "/given?")

    run = serve(MONGO_URI=uri)

    assert run.pids(MONGOD) == []
    with MongoClient[Document](uri) as client:
        client.drop_database("given")
