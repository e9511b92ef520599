"""One MongoDB replica set for each test worker, and one bank on it, emptied after each test."""

import gc
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory

import pytest
from flask import Flask
from hypothesis import HealthCheck, settings
from pymongo import MongoClient
from pymongo.database import Database

from app import create_app, mongo
from app.auth.service import ensure_system_user
from app.mongo import Document
from app.mongo import client as mongo_client
from app.settings.policies import AuthPolicy, HttpPolicy, MongoPolicy
from app.statements.press import press
from config import Config
from local import processes
from local.processes import holds_within
from local.replica_set import DATABASE_NAME, ReplicaSet, provision
from tests.again import empty
from tests.beside import Beside, server_beside
from tests.clients import InProcess, OverHttp
from tests.people import PASSWORD, SYSTEM_EMAIL, Bank
from tests.prepared import prepared
from tests.server import JWT_SECRET, RECEIPT_KEY, children

BCRYPT_ROUNDS_CHEAPEST = 4
# The server that the tests of this process share, once there is one.
BESIDE: list[Beside] = []
# As the application made it for the first test of this process. Later tests have it again.
SYSTEM_USER: Document = {}
AUTH = AuthPolicy(JWT_SECRET, bcrypt_rounds=BCRYPT_ROUNDS_CHEAPEST, delays_guesses=False)
MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 4 * 1024**3
END_TIMEOUT_S = 60.0
# With the database. A machine that is busy with tests may stall for some seconds.
PATIENCE_MS = 20_000
DAY_S = 24 * 3600
# Longer than the tests take that look at what they did today, or this month.
BEFORE_MIDNIGHT_S = 20.0
# The servers that tests run are called otherwise in the database's profile, and do things in the background.
APP_NAME = "fincore-tests"


# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def own_ports() -> tuple[int, int]:
    """Return the first and the last port of this test worker's own.

    A server starts on a port that was free a moment ago. No other worker may have chosen it meanwhile.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    count = (processes.PORT_MAX + 1 - processes.PORT_MIN) // workers
    return processes.PORT_MIN + number * count, processes.PORT_MIN + (number + 1) * count - 1


processes.PORT_MIN, processes.PORT_MAX = own_ports()


# Where the tests are that take long, each for itself or all together.
LONG = (
    "tests/drills/",
    "tests/faults/",
    "tests/security/test_machine_attacker.py",
    "tests/integration/test_benchmarks.py",
    "tests/api/test_generated_clients.py",
    "tests/integration/test_local_servers.py",
)


def pytest_configure() -> None:
    # A shell lets what it starts in the background ignore Ctrl-C, and so would all that the tests start and interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let each test worker begin with some of what takes long, so that none is left alone with it in the end.

    The tests are shared out in as many equal parts as there are workers, and who has none left takes from the end of
    another's part.
    """
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    modules: dict[str, list[pytest.Item]] = {}
    for item in items:
        modules.setdefault(item.nodeid.partition("::")[0], []).append(item)
    long = [modules.pop(name) for part in LONG for name in list(modules) if name.startswith(part)]
    begins = [[item for module in long[number::workers] for item in module] for number in range(workers)]
    rest = [item for module in modules.values() for item in module]
    items.clear()
    for number, begin in enumerate(begins):
        left = sum(map(len, begins[number:])) + len(rest)
        count = max(left // (workers - number) - len(begin), 0)
        items += begin + rest[:count]
        del rest[:count]


def pytest_collection_finish() -> None:
    # What was collected stays; the collector need not go through it again and again.
    gc.freeze()


@pytest.fixture(autouse=True)
def _leaves_no_process() -> Iterator[None]:
    """Fail a test that leaves a process behind: it would take its time from all others, and change what they see."""
    before = {pid: command_of(pid) for pid in children(os.getpid())}
    yield

    def left() -> dict[int, str]:
        # These stay: the press, the process from which others are started, and what counts Python's own shared
        # resources. A server of several tests may have been started again.
        stay = {press.pid, prepared.pid}
        new = {pid: command_of(pid) for pid in children(os.getpid()) if pid not in before and pid not in stay}
        kept = set(before.values())
        return {pid: line for pid, line in new.items() if line not in kept and "resource_tracker" not in line}

    assert holds_within(END_TIMEOUT_S, lambda: not left()), left()


def command_of(pid: int) -> str:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        # What is started from the prepared process has its command line, and a name of its own.
        return f"{Path(f'/proc/{pid}/comm').read_text()} {line}"
    except FileNotFoundError:
        return ""


@pytest.fixture(scope="session")
def replica_set() -> Iterator[ReplicaSet]:
    # In memory where there is room: what has to survive a power failure is tested on replica sets of its own.
    memory = MEMORY if MEMORY.is_dir() and disk_usage(MEMORY).free > MEMORY_BYTES_MIN else None
    with TemporaryDirectory(prefix="fincore-tests-", dir=memory, ignore_cleanup_errors=True) as directory:
        replica_set = ReplicaSet(Path(directory))
        replica_set.start()
        with MongoClient[Document](replica_set.admin_uri) as admin:
            # Once a minute it would remove what has expired by the dates in the tests, which stay while time goes on.
            admin.admin.command({"setParameter": 1, "ttlMonitorEnabled": False})
        yield replica_set
        replica_set.stop()


@pytest.fixture(scope="session")
def mongo_uri(replica_set: ReplicaSet) -> str:
    """The application's own address of the database, with its restricted role."""
    return provision(replica_set.admin_uri, "application-password")


@pytest.fixture(scope="session")
def admin_database(replica_set: ReplicaSet, mongo_uri: str) -> Iterator[Database[Document]]:
    """The database with an administrator's rights, for emptying it, looking into it and tampering with it."""
    with MongoClient[Document](replica_set.admin_uri, tz_aware=True) as client:
        yield client[DATABASE_NAME]


@pytest.fixture(scope="session")
def config(mongo_uri: str) -> Config:
    return Config(
        mongo=MongoPolicy(mongo_uri, timeout_ms=PATIENCE_MS),
        auth=AUTH,
        http=HttpPolicy(ratelimit_enabled=False),
        log_level="ERROR",
        receipt_key=RECEIPT_KEY,
    )


@pytest.fixture(scope="session")
def app(config: Config) -> Iterator[Flask]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mongo_client, "APP_NAME", APP_NAME)
        yield create_app(config)
        press.close()
        mongo.close()


@contextmanager
def only_the_system_user(admin_database: Database[Document]) -> Iterator[Database[Document]]:
    """Have a bank without customers, which needs the application, and empty it afterwards."""
    if SYSTEM_USER:
        admin_database.users.insert_one(dict(SYSTEM_USER))
    else:
        ensure_system_user(email=SYSTEM_EMAIL, password=PASSWORD, policy=AUTH)
        SYSTEM_USER.update(admin_database.users.find_one({"email": SYSTEM_EMAIL}) or {})
    yield admin_database
    empty(admin_database)


@pytest.fixture
def database(app: Flask, admin_database: Database[Document]) -> Iterator[Database[Document]]:
    """The bank's database, empty but for the system user, with an administrator's rights."""
    with only_the_system_user(admin_database) as database:
        yield database


@pytest.fixture
def bank(app: Flask, database: Database[Document]) -> Bank:
    """The bank in this process, without a server."""
    return Bank(InProcess(app))


@pytest.fixture(scope="session")
def server_port(
    mongo_uri: str, admin_database: Database[Document], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The port of a gunicorn with two workers, which do something in the background only in tests that use it."""
    gate = tmp_path_factory.mktemp("server") / "gate"
    patience = {"MONGO_TIMEOUT_MS": str(PATIENCE_MS), "POST_TIMEOUT_MS": str(PATIENCE_MS)}
    with server_beside(mongo_uri, gate, partial(empty, admin_database), **patience) as beside:
        BESIDE.append(beside)
        yield beside.port
        BESIDE.clear()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Function) -> None:
    """Begin no test just before a day ends, and let the server that the tests share rest while it is not used."""
    left_s = DAY_S - time.time() % DAY_S
    if left_s < BEFORE_MIDNIGHT_S:
        time.sleep(left_s)
    for beside in BESIDE:
        if "server_port" in item.fixturenames:
            beside.go_on()
        else:
            beside.rest()


@pytest.fixture
def live_bank(server_port: int, database: Database[Document]) -> Iterator[Bank]:
    """The bank behind gunicorn."""
    client = OverHttp(server_port)
    yield Bank(client)
    client.close()
