"""The process that draws up statements: it is not the worker, and a lost one is replaced."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from bson import ObjectId
from flask import Flask
from pymongo.database import Database

from app.http import problems, streams
from app.http.answers import BrokenOff
from app.mongo import Document
from app.runtime import heavy
from app.statements import press as press_module
from app.statements import service
from app.statements.press import press
from app.statements.queries import READ_AT_ONCE
from config import Config
from local.processes import free_port, holds_within
from tests.clients import Answer
from tests.journals import lengthen
from tests.people import Bank, Person

# One pause while it is drawn, and one before.
ENTRIES = READ_AT_ONCE + 1
WAIT_S = 60.0
HEADERS = {"X-Request-ID": "of-this-request"}


@pytest.fixture
def asha(bank: Bank, database: Database[Document]) -> tuple[Person, str]:
    person, account = bank.customer(1_000)
    lengthen(database, account, ENTRIES)
    return person, f"/api/accounts/{account}/statement.pdf"


@pytest.fixture
def usual(config: Config) -> Iterator[None]:
    """Have the press of all tests again afterwards."""
    yield
    press.configure(config.mongo)


def in_the_middle(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> None:
    """Do something to the press while it draws the next document, once."""
    pause = heavy.Work.pause
    pids: list[int] = []

    def interrupted(self: heavy.Work) -> None:
        if not pids:
            pids.append(press_pid())
            act(pids[0])
        pause(self)

    monkeypatch.setattr(heavy.Work, "pause", interrupted)


def press_pid() -> int:
    assert press.pid is not None
    return press.pid


def is_a_problem(answer: Answer, status: int, code: str) -> bool:
    ids = {answer.body["requestId"], answer.headers["x-request-id"]}
    return (answer.status, answer.code, ids) == (status, code, {"of-this-request"})


def test_the_process_leaves_no_files_of_counters_behind(
    asha: tuple[Person, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    person, path = asha
    press.close()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))

    assert person.get(path).status == 200

    assert b"PROMETHEUS_MULTIPROC_DIR" not in Path(f"/proc/{press_pid()}/environ").read_bytes()
    assert not [*tmp_path.iterdir()]


def test_a_pdf_is_drawn_by_another_process_which_lets_others_go_first(asha: tuple[Person, str], config: Config) -> None:
    person, path = asha
    press.close()

    assert person.get(path).content.startswith(b"%PDF")

    drawer = press_pid()
    assert drawer != os.getpid()
    assert os.getpriority(os.PRIO_PROCESS, drawer) > os.getpriority(os.PRIO_PROCESS, 0)
    # Everybody on the machine can read it.
    assert config.mongo.uri.encode() not in Path(f"/proc/{drawer}/cmdline").read_bytes()
    # It stays for the next one.
    assert person.get(path).status == 200
    assert press_pid() == drawer


def test_who_waits_for_a_press_that_is_killed_is_told_to_come_back_and_the_next_one_is_served(
    asha: tuple[Person, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    person, path = asha
    whole = person.get(path).content
    killed = press_pid()
    in_the_middle(monkeypatch, lambda pid: os.kill(pid, signal.SIGKILL))

    answer = person.get(path, headers=HEADERS)

    assert is_a_problem(answer, 503, "service_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "content-disposition" not in answer.headers
    again = person.get(path)
    assert (again.status, len(again.content) > len(whole) // 2, press_pid() != killed) == (200, True, True)
    # Its place is free again.
    assert [person.get(path).status for _ in range(3)] == [200] * 3


def test_a_press_that_was_killed_while_it_had_nothing_to_do_is_nobodys_affair(asha: tuple[Person, str]) -> None:
    person, path = asha
    assert person.get(path).status == 200
    killed = press_pid()
    os.kill(killed, signal.SIGKILL)

    assert person.get(path).status == 200
    assert press_pid() != killed


def test_a_press_that_hangs_is_replaced(asha: tuple[Person, str], monkeypatch: pytest.MonkeyPatch) -> None:
    person, path = asha
    assert person.get(path).status == 200
    monkeypatch.setattr(press_module, "SILENCE_MAX_S", 0.5)
    in_the_middle(monkeypatch, lambda pid: os.kill(pid, signal.SIGSTOP))

    assert is_a_problem(person.get(path, headers=HEADERS), 503, "service_unavailable")

    monkeypatch.undo()
    assert person.get(path).status == 200


def test_a_press_whose_database_is_away_says_so(asha: tuple[Person, str], config: Config, usual: None) -> None:
    person, path = asha
    press.configure(replace(config.mongo, uri=f"mongodb://127.0.0.1:{free_port()}/fincore", timeout_ms=300))

    answer = person.get(path, headers=HEADERS)

    assert is_a_problem(answer, 503, "service_unavailable")
    assert "retry-after" in answer.headers


def test_a_bug_in_the_press_is_in_the_log_with_its_trace(
    asha: tuple[Person, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    person, path = asha
    order = press_module.statement_order
    monkeypatch.setattr(press_module, "statement_order", lambda form, of: order(form, replace(of, account={})))
    monkeypatch.setattr(problems, "log", structlog.wrap_logger(None))

    with structlog.testing.capture_logs() as logged:
        answer = person.get(path, headers=HEADERS)

    assert is_a_problem(answer, 500, "internal_error")
    (bug,) = (line for line in logged if line["event"] == "bug")
    assert "KeyError: '_id'" in str(bug["exc_info"])
    monkeypatch.undo()
    assert [person.get(path).status for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("format_", ["csv", "json"])
def test_a_press_that_is_killed_in_the_middle_of_a_long_answer_breaks_it(
    app: Flask, asha: tuple[Person, str], monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    person, path = asha
    monkeypatch.setattr(streams, "READY_BYTES_MAX", 1_000)
    path = f"{path.removesuffix('.pdf')}?format={format_}"
    with app.test_client().get(path, headers={"Authorization": f"Bearer {person.token}"}) as response:
        assert response.status_code == 200
        assert response.content_length is None
        os.kill(press_pid(), signal.SIGKILL)
        with pytest.raises(BrokenOff):
            response.get_data()

    assert person.get(path).status == 200


def test_a_press_waits_for_a_slow_reader_and_stops_when_there_is_none(
    app: Flask, bank: Bank, database: Database[Document]
) -> None:
    person, account = bank.customer(1_000)
    lengthen(database, account, 10 * READ_AT_ONCE)
    period = service.find_period(ObjectId(account), ObjectId(person.id))
    reads: list[None] = []
    assert len(b"".join(press.statement("csv", period, lambda: reads.append(None)))) > 1_000_000
    assert len(reads) == 11
    before = threads_of(press_pid())

    begun = [press.statement("csv", period, lambda: reads.append(None)) for _ in range(5)]
    reads.clear()
    for pieces in begun:
        next(pieces)
    assert len(reads) == 5
    for pieces in begun:
        pieces.close()

    assert holds_within(WAIT_S, lambda: threads_of(press_pid()) <= before)


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
