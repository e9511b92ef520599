"""Answers that are produced while they are sent: incomplete ones never look complete, and their number is bounded."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import structlog
from bson import ObjectId
from flask import Flask
from pymongo.database import Database
from pymongo.errors import AutoReconnect, OperationFailure

from app.http import requests, streams
from app.http.answers import BrokenOff
from app.mongo import Document
from app.runtime import heavy
from app.statements import printing, queries, service
from app.statements.press import SILENCE_MAX_S, Press
from app.telemetry import logs
from tests.clients import InProcess
from tests.journals import lengthen
from tests.logs import let_tell
from tests.people import Bank, Person
from tests.threads import at_once

FORMATS = ("json", "csv", "pdf")
ENTRIES = 2_500
EMPTY = {"from": "2020-01-01T00:00:00Z", "to": "2020-02-01T00:00:00Z", "entries": []}


@pytest.fixture
def asha(bank: Bank, database: Database[Document]) -> tuple[Person, str]:
    person, account = bank.customer(1_000)
    lengthen(database, account, ENTRIES)
    return person, f"/api/accounts/{account}/statement"


def fail_after(monkeypatch: pytest.MonkeyPatch, reads: int, error: Exception) -> None:
    """Have reading a journal fail after so many reads."""
    read_span, done = queries.read_span, 0

    def read(*args: Any) -> Iterator[Document]:
        nonlocal done
        for document in read_span(*args):
            if document["sequence"] % queries.READ_AT_ONCE == 0:
                done += 1
                if done > reads:
                    raise error
            yield document

    monkeypatch.setattr(queries, "read_span", read)


@pytest.fixture
def press_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the press's work done by threads of this process, so that a test can make it fail."""

    def send(_press: Press, order: bytes, _body: object) -> tuple[object, socket.socket]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(SILENCE_MAX_S)
        threading.Thread(target=printing.carry_out, args=(order, theirs.detach())).start()
        return object(), ours

    monkeypatch.setattr(Press, "_send", send)


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(AutoReconnect("away"), 503, "service_unavailable"), (OperationFailure("a bug"), 500, "internal_error")],
)
def test_a_fault_before_the_answer_has_begun_is_the_problem_it_is(
    asha: tuple[Person, str],
    press_here: None,
    monkeypatch: pytest.MonkeyPatch,
    format_: str,
    error: Exception,
    status: int,
    code: str,
) -> None:
    person, path = asha
    fail_after(monkeypatch, 1, error)

    answer = person.get(f"{path}?format={format_}", headers={"X-Request-ID": "of-this-request"})

    assert (answer.status, answer.code) == (status, code)
    assert answer.body["requestId"] == answer.headers["x-request-id"] == "of-this-request"
    assert ("retry-after" in answer.headers) == (status == 503)
    assert "content-disposition" not in answer.headers
    monkeypatch.undo()
    # Of the two places that a person has it took one, and that is free again.
    with heavy.documents.admit(ObjectId(person.id)):
        assert person.get(f"{path}?format={format_}").status == 200


@pytest.mark.parametrize("format_", ["json", "csv"])
def test_a_fault_after_the_answer_has_begun_breaks_it_and_is_in_the_log(
    app: Flask, asha: tuple[Person, str], press_here: None, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    person, path = asha
    monkeypatch.setattr(streams, "READY_BYTES_MAX", 1_000)
    let_tell(monkeypatch, requests)
    fail_after(monkeypatch, 2, AutoReconnect("away"))
    headers = {"Authorization": f"Bearer {person.token}", "X-Request-ID": "of-this-request"}

    with (
        structlog.testing.capture_logs([logs.add_request]) as logged,
        app.test_client().get(f"{path}?format={format_}", headers=headers) as response,
    ):
        assert response.status_code == 200
        assert response.content_length is None
        with pytest.raises(BrokenOff):
            response.get_data()

    lines = {line["event"]: line for line in logged}
    assert lines["request"]["sent"] == "in part: broken off"
    assert (lines["request"]["status"], lines["request"]["request_id"]) == (200, "of-this-request")
    assert lines["database_away"]["request_id"] == "of-this-request"


def test_a_client_that_leaves_is_told_apart_in_the_log_and_holds_no_place(
    app: Flask, asha: tuple[Person, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    person, path = asha
    monkeypatch.setattr(streams, "READY_BYTES_MAX", 1_000)
    let_tell(monkeypatch, requests)
    headers = {"Authorization": f"Bearer {person.token}"}

    with structlog.testing.capture_logs() as logged:
        for _ in range(10):
            with app.test_client().get(path, headers=headers) as response:
                assert response.status_code == 200
        assert person.get(path).content.endswith(b"]}\n")

    assert [line["sent"] for line in logged if line["event"] == "request"] == ["in part: the client left"] * 10 + [
        "all"
    ]


@pytest.mark.parametrize("format_", FORMATS)
def test_an_answer_that_is_made_in_pieces_is_the_same_as_in_one(
    app: Flask, asha: tuple[Person, str], monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    person, path = asha
    whole = person.get(f"{path}?format={format_}")
    assert int(whole.headers["content-length"]) == len(whole.content)
    monkeypatch.setattr(streams, "READY_BYTES_MAX", 1_000)
    period = f"from={person.get(path).body['from']}&to={person.get(path).body['to']}"

    pieces = person.get(f"{path}?format={format_}&{period}")

    assert "content-length" not in pieces.headers
    if format_ == "csv":
        assert pieces.content == whole.content
    elif format_ == "json":
        assert pieces.body["entries"] == whole.body["entries"]
    else:
        assert pieces.content.rstrip().endswith(b"%%EOF")


@pytest.mark.parametrize("format_", ["json", "csv"])
def test_http_1_0_gets_all_of_an_answer_with_its_length(
    app: Flask, asha: tuple[Person, str], monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    """It has no sign for the end of an answer, so a broken one would look whole."""
    person, path = asha
    monkeypatch.setattr(streams, "READY_BYTES_MAX", 1_000)

    with app.test_client().get(
        f"{path}?format={format_}",
        headers={"Authorization": f"Bearer {person.token}"},
        environ_overrides={"SERVER_PROTOCOL": "HTTP/1.0"},
    ) as response:
        assert response.content_length == len(response.get_data())


@pytest.mark.parametrize("format_", FORMATS)
def test_a_user_with_two_under_way_is_told_to_wait_and_others_are_served(
    asha: tuple[Person, str], bank: Bank, format_: str
) -> None:
    person, path = asha
    with heavy.documents.admit(ObjectId(person.id)), heavy.documents.admit(ObjectId(person.id)):
        answer = person.get(f"{path}?format={format_}")
        assert (answer.status, answer.code) == (503, "service_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert bank.system.get(f"{path}?format={format_}").status == 200
        assert person.get(f"{path}?format=json&from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z").status == 200
        verdict = person.post("/api/statements/verify", EMPTY | {"accountId": path.split("/")[3]})
        assert (verdict.status, verdict.code) == (503, "service_unavailable")
    assert person.get(f"{path}?format={format_}").status == 200


def test_too_much_of_it_is_refused_and_what_is_quick_is_not(bank: Bank, asha: tuple[Person, str]) -> None:
    person, path = asha
    admin = bank.administrator()

    with ExitStack() as others:
        for n in range(8):
            others.enter_context(heavy.documents.admit(n))
        for answer in (person.get(f"{path}?format=pdf"), admin.get("/api/admin/trial-balance")):
            assert (answer.status, answer.code) == (503, "service_unavailable")
        assert person.get("/healthz").status == 200
        assert person.get(f"{path.removesuffix('statement')}balance").status == 200
        assert bank.register().id
    assert admin.get("/api/admin/trial-balance").status == 200


def test_too_many_passwords_at_a_time_are_refused_and_nothing_else(bank: Bank) -> None:
    asha, account = bank.customer(10)
    body = {"email": asha.user["email"], "password": "a long enough password"}
    with ExitStack() as others:
        for _ in range(16):
            others.enter_context(heavy.passwords.admit())
        answer = bank.anonymous.post("/api/auth/login", body)
        assert (answer.status, answer.code) == (503, "service_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert asha.transfer(account, bank.system.get("/api/auth/me").body["user"]["id"], 1).status == 404
        assert asha.get(f"/api/accounts/{account}/statement?format=pdf").status == 200
    assert bank.anonymous.post("/api/auth/login", body).status == 200


def test_a_period_with_too_many_entries_to_compare_is_refused(
    asha: tuple[Person, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short body must not make the bank read a whole ledger."""
    person, path = asha
    statement = person.get(path).body
    short = {name: statement[name] for name in ("accountId", "from", "to")} | {"entries": []}
    assert person.post("/api/statements/verify", short).status == 200
    monkeypatch.setattr(service, "VERIFIED_ENTRIES_MAX", ENTRIES)

    answer = person.post("/api/statements/verify", short)

    assert (answer.status, answer.code, list(answer.body["errors"])) == (422, "validation_failed", ["from"])


def test_many_at_once_end_in_an_answer_or_in_a_refusal(app: Flask, asha: tuple[Person, str]) -> None:
    person, path = asha

    def ask() -> int:
        return Person(InProcess(app), person.token).get(f"{path}.pdf").status

    statuses = at_once([ask] * 12)

    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 2
    assert person.get(f"{path}.pdf").status == 200
