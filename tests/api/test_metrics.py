"""What Prometheus scrapes: who gets it, that it counts correctly under several workers, and that it stays small."""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families
from pymongo import MongoClient
from pymongo.database import Database

from app import create_app, mongo
from app.mongo import Document, pools
from app.telemetry import files, metrics
from config import ROOT, Config
from local.processes import holds_within
from tests.clients import Answer, InProcess, OverHttp
from tests.people import Bank, new_key
from tests.server import START_TIMEOUT_S, WORKERS, is_ready, is_running, running_server, workers_of

TOKEN = "cM4vX8qT1nZ6bK3wR9yL5jH2fD7gS0pA-metrics"


def read(answer: Answer) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the value of each series."""
    assert answer.status == 200, answer.content
    families = text_string_to_metric_families(answer.content.decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(answer: Answer, name: str, **labels: str) -> float:
    return read(answer).get((name, frozenset(labels.items())), 0.0)


def served_health(answer: Answer) -> float:
    return value(answer, "fincore_http_requests_total", route="/healthz", method="GET", status="200")


def scrape(port: int) -> Answer:
    with closing(OverHttp(port)) as client:
        return client.send("GET", "/metrics", {}, None)


def ask_health(port: int) -> None:
    """Ask on a connection of its own, so that any worker may answer."""
    with closing(OverHttp(port)) as client:
        assert client.send("GET", "/healthz", {}, None).status == 200


def is_of_our_server(place: Path) -> bool:
    """Tell whether a worker counts there whose server this process started. Others may run on this machine."""
    pids = {int(re.sub(r".*\D", "", file.stem)) for file in place.glob("counter_*.db")}
    return any(parent_of(parent_of(pid)) == os.getpid() for pid in pids)


def parent_of(pid: int) -> int:
    try:
        return int(re.findall(r"^PPid:\s+(\d+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)[0])
    except OSError:
        return 0


def test_a_caller_on_this_machine_reads_the_measures(bank: Bank) -> None:
    answer = bank.anonymous.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert value(answer, "fincore_database_up") == 1


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP", "X-Forwarded-Proto"])
def test_a_request_through_a_proxy_never_counts_as_local(bank: Bank, header: str) -> None:
    answer = bank.client.send("GET", "/metrics", {header: "127.0.0.1"}, None)

    assert answer.code == "not_found"


@pytest.fixture
def with_token(config: Config, bank: Bank) -> Iterator[Flask]:
    app = create_app(replace(config, metrics_token=TOKEN))
    yield app
    mongo.connect(config.mongo)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        ("Bearer wrong", 404),
        (TOKEN, 404),
        ("Bearer é", 404),
        (None, 404),
    ],
)
def test_another_machine_needs_the_token(with_token: Flask, header: str | None, status: int) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = InProcess(with_token, "192.0.2.7").send("GET", "/metrics", headers, None)

    assert answer.status == status
    assert answer.code == (None if status == 200 else "not_found")


def test_without_a_token_in_the_settings_no_other_machine_gets_in(app: Flask, bank: Bank) -> None:
    for header in ("Bearer ", "Bearer None", "Bearer"):
        answer = InProcess(app, "192.0.2.7").send("GET", "/metrics", {"Authorization": header}, None)
        assert answer.code == "not_found"


def test_a_transfer_is_counted_by_its_outcome(bank: Bank) -> None:
    before = bank.anonymous.get("/metrics")
    asha, account = bank.customer(100)
    other = asha.open_account()
    key = new_key()
    asha.transfer(account, other, 60, key)
    asha.transfer(account, other, 60, key)
    asha.transfer(account, other, 60)
    after = bank.anonymous.get("/metrics")

    for outcome in ("posted", "replayed", "declined"):
        labels = {"kind": "transfer", "outcome": outcome}
        assert value(after, "fincore_postings_total", **labels) - value(before, "fincore_postings_total", **labels) == 1
    reason = {"reason": "insufficient_funds"}
    assert value(after, "fincore_declines_total", **reason) - value(before, "fincore_declines_total", **reason) == 1


def test_what_clients_choose_makes_no_series(bank: Bank) -> None:
    person, account = bank.customer(1)
    bank.anonymous.get("/metrics")
    before = len(read(bank.anonymous.get("/metrics")))
    for n in range(3):
        bank.anonymous.get(f"/nothing/{n}")
        bank.client.send(f"METHOD{n}", "/api/accounts", {}, None)
        person.get(f"/api/accounts/{n:024x}")
    once = len(read(bank.anonymous.get("/metrics")))
    for n in range(3, 9):
        bank.anonymous.get(f"/nothing/{n}")
        bank.client.send(f"METHOD{n}", "/api/accounts", {}, None)
        person.get(f"/api/accounts/{n:024x}")
    again = bank.anonymous.get("/metrics")

    assert before < once == len(read(again))
    assert account not in again.content.decode()


def test_a_hold_and_a_letter_that_wait_are_seen(bank: Bank) -> None:
    asha, account = bank.customer(10)
    _, other = bank.customer()
    body = {"fromAccount": account, "toAccount": other, "amount": 1, "idempotencyKey": new_key()}
    assert asha.post("/api/transactions/hold", body).status == 201

    answer = bank.anonymous.get("/metrics")
    assert value(answer, "fincore_holds", state="open") == 1
    assert value(answer, "fincore_holds", state="overdue") == 0
    assert value(answer, "fincore_outbox_messages", state="pending") >= 1


def test_a_letter_that_was_put_off_is_not_late(bank: Bank, database: Database[Document]) -> None:
    bank.customer()
    now = datetime.now(UTC)
    database.outbox.update_many({}, {"$set": {"deferred": True, "next_attempt_at": now + timedelta(hours=9)}})

    answer = bank.anonymous.get("/metrics")
    assert value(answer, "fincore_outbox_messages", state="deferred") == database.outbox.count_documents({}) > 0
    assert value(answer, "fincore_outbox_messages", state="pending") == 0
    assert value(answer, "fincore_outbox_oldest_age_seconds") == 0
    assert value(answer, "fincore_outbox_overdue_seconds") == 0


def test_a_letter_that_nobody_tries_is_late(bank: Bank, database: Database[Document]) -> None:
    bank.customer()
    due_at = datetime.now(UTC) - timedelta(hours=1)
    database.outbox.update_one({}, {"$set": {"next_attempt_at": due_at}})

    answer = bank.anonymous.get("/metrics")
    assert 3_600 <= value(answer, "fincore_outbox_overdue_seconds") < 3_700


def test_connections_are_counted_and_how_many_were_in_use_at_once(bank: Bank, mongo_uri: str) -> None:
    watch = pools.PoolWatch()
    with MongoClient[Document](mongo_uri, event_listeners=[watch]) as client:
        client.get_default_database().users.find_one()
        watch.note()
        answer = bank.anonymous.get("/metrics")
        assert value(answer, "fincore_mongo_connections") >= 1
        assert value(answer, "fincore_mongo_connections_taken") == 1
        watch.note()
        assert value(bank.anonymous.get("/metrics"), "fincore_mongo_connections_taken") == 0
    watch.note()
    assert value(bank.anonymous.get("/metrics"), "fincore_mongo_connections") == 0


def test_each_measure_is_taken_somewhere() -> None:
    named = {name for name, made in vars(metrics).items() if isinstance(made, MetricWrapperBase)}
    code = [file.read_text() for file in (ROOT / "app").rglob("*.py") if file.name != "metrics.py"]

    assert named
    assert {name for name in named if not any(re.search(rf"\b{name}\b", text) for text in code)} == set()


def test_only_what_ended_processes_of_this_host_counted_is_swept_away(tmp_path: Path) -> None:
    own, ended, elsewhere = files.name_of(os.getpid()), files.name_of(2**22 + 1), f"elsewhere-{2**22 + 1}"
    kinds = ("counter", "gauge_livesum", "gauge_max")
    for name in (own, ended, elsewhere):
        for kind in kinds:
            (tmp_path / f"{kind}_{name}.db").touch()

    def left(name: str) -> set[str]:
        return {file.name.removesuffix(f"_{name}.db") for file in tmp_path.glob(f"*_{name}.db")}

    files.sweep(tmp_path, present_only=True)
    assert left(ended) == {"counter", "gauge_max"}

    files.sweep(tmp_path)
    assert (left(own), left(ended), left(elsewhere)) == (set(kinds), set(), set(kinds))


def test_several_workers_count_as_one_and_none_is_named(live_bank: Bank, server_port: int) -> None:
    before = served_health(live_bank.anonymous.get("/metrics"))
    for _ in range(5 * WORKERS):
        ask_health(server_port)

    after = live_bank.anonymous.get("/metrics")
    assert served_health(after) - before == 5 * WORKERS
    assert b'pid="' not in after.content


def place_of_counts(port: int) -> Path:
    """Return where the workers of a server of this test keep what they count: they have mapped its files."""
    maps = [Path(f"/proc/{worker}/maps").read_text() for worker in workers_of(port)]
    (place,) = {Path(found).parent for text in maps for found in re.findall(r"/\S*/fincore-metrics-\S+\.db", text)}
    return place


def test_what_a_worker_counted_outlives_it_and_the_place_goes_with_the_server(mongo_uri: str, bank: Bank) -> None:
    with running_server(mongo_uri) as port:
        place = place_of_counts(port)
        for _ in range(20):
            ask_health(port)
        counted = served_health(scrape(port))
        workers = {int(file.stem.rpartition("-")[2]) for file in place.glob("counter_*.db")}
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        assert holds_within(START_TIMEOUT_S, lambda: not any(map(is_running, workers)) and is_ready(port))
        assert served_health(scrape(port)) == counted >= 20
        assert not [file for pid in workers for file in place.glob(f"gauge_live*-{pid}.db")]
    assert not place.exists()
