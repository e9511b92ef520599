"""Problem documents: one shape for every refusal, with a request id, and a page for every code."""

import re
from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus

import pytest
import structlog
from bson import Int64, ObjectId
from pymongo.database import Database

from app import ledger, mongo
from app.auth.roles import roles_of
from app.errors import PROBLEMS
from app.http import problems
from app.mongo import Document
from app.settings.policies import MongoPolicy
from app.telemetry import logs
from config import Config
from tests.clients import Answer
from tests.commands import WITNESSES
from tests.logs import let_tell
from tests.people import Bank

MEMBERS = {"type", "title", "status", "detail", "code", "requestId"}
MADE_REQUEST_ID = re.compile(r"[0-9a-f]{32}")


def test_a_problem_says_what_it_is_in_one_shape(bank: Bank) -> None:
    answer = bank.anonymous.get("/api/accounts")

    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.body) == MEMBERS
    assert answer.body["type"] == "/problems/token_missing"
    assert answer.body["title"] == PROBLEMS["token_missing"].title
    assert answer.body["status"] == answer.status == 401
    assert answer.body["code"] == "token_missing"
    assert answer.body["requestId"] == answer.headers["x-request-id"]


def test_a_refused_body_names_each_field_with_its_reasons(bank: Bank) -> None:
    answer = bank.anonymous.post("/api/auth/register", {"name": "", "email": "asha", "shoeSize": 42})

    assert set(answer.body) == MEMBERS | {"errors"}
    assert set(answer.body["errors"]) == {"name", "email", "password", "shoeSize"}
    for messages in answer.body["errors"].values():
        assert messages
        assert all(isinstance(message, str) and message for message in messages)


@pytest.mark.parametrize("code", PROBLEMS)
def test_every_code_has_a_page_that_explains_it(bank: Bank, code: str) -> None:
    problem = PROBLEMS[code]

    answer = bank.anonymous.get(f"/problems/{code}")

    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = answer.content.decode()
    assert problem.code == code
    assert f"<h1>{problem.title}</h1>" in page
    assert f"<code>{code}</code>" in page
    assert str(problem.status) in page
    assert len(problem.__doc__ or "") > 20


def test_every_refusal_has_a_code_and_a_status_of_its_own() -> None:
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in PROBLEMS)
    assert all(HTTPStatus(problem.status) >= HTTPStatus.BAD_REQUEST for problem in PROBLEMS.values())
    assert len({problem.title for problem in PROBLEMS.values()}) == len(PROBLEMS)


@pytest.mark.parametrize(
    "path",
    [
        "/problems/no_such_code", "/problems/", "/api/nothing", "/api/accounts/", "/etc/passwd", "/api//accounts",
        "//api/accounts", "/api/accounts//", "/api/docs/", "//healthz",
    ],
)  # fmt: skip
def test_an_address_where_nothing_lives_is_not_found(bank: Bank, path: str) -> None:
    answer = bank.anonymous.get(f"http://localhost{path}")

    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/api/accounts", {"GET", "HEAD", "OPTIONS"}),
        ("GET", "/api/auth/login", {"POST", "OPTIONS"}),
        ("PUT", "/api/accounts/" + "0" * 24, {"GET", "HEAD", "PATCH", "OPTIONS"}),
        ("POST", "/healthz", {"GET", "HEAD", "OPTIONS"}),
        ("TRACE", "/api/openapi.json", {"GET", "HEAD", "OPTIONS"}),
        ("DELETE", "/api/transactions/" + "0" * 24, {"GET", "HEAD", "OPTIONS"}),
        ("GET", "/api/accounts/create", {"POST", "OPTIONS"}),
        ("HEAD", "/api/accounts/create", {"POST", "OPTIONS"}),
        ("PATCH", "/api/accounts/create", {"POST", "OPTIONS"}),
        ("DELETE", "/api/accounts/create", {"POST", "OPTIONS"}),
        ("GET", "/api/transactions/create", {"POST", "OPTIONS"}),
        ("GET", "/api/transactions/hold?x=1", {"POST", "OPTIONS"}),
        ("GET", "/api/transactions/batch", {"POST", "OPTIONS"}),
        ("GET", "/api/transactions/initial-funds", {"POST", "OPTIONS"}),
        ("PUT", "/api/transactions/initial-funds", {"POST", "OPTIONS"}),
    ],
)
def test_another_method_is_told_which_are_allowed(bank: Bank, method: str, path: str, allowed: set[str]) -> None:
    answer = bank.anonymous.call(method, path)

    assert answer.status == 405
    assert method == "HEAD" or answer.code == "method_not_allowed"
    assert set(answer.headers["allow"].split(", ")) == allowed


def test_what_is_neither_an_id_nor_a_call_is_looked_for_in_vain(bank: Bank) -> None:
    assert bank.system.get("/api/accounts/creat").code == "account_not_found"
    assert bank.system.get("/api/transactions/create/receipt").code == "transaction_not_found"


@pytest.mark.parametrize("request_id", ["a", "A.b-c_9", "x" * 64, "0b5c1f9c7d2e4a61b3f8a9c0d1e2f3a4"])
@pytest.mark.parametrize("path", ["/healthz", "/api/accounts", "/nothing"])
def test_a_sane_request_id_is_echoed(bank: Bank, path: str, request_id: str) -> None:
    answer = bank.anonymous.get(path, headers={"X-Request-ID": request_id})

    assert answer.headers["x-request-id"] == request_id
    if answer.code:
        assert answer.body["requestId"] == request_id


@pytest.mark.parametrize("request_id", ["", "x" * 65, "a b", "a,b", "<script>", "ÿ", "a\tb", "../..", "%0a"])
def test_any_other_request_id_is_replaced(bank: Bank, request_id: str) -> None:
    answer = bank.anonymous.get("/api/accounts", headers={"X-Request-ID": request_id})

    assert MADE_REQUEST_ID.fullmatch(answer.headers["x-request-id"])
    assert answer.body["requestId"] == answer.headers["x-request-id"]


def test_every_request_without_an_id_gets_its_own(bank: Bank) -> None:
    ids = {bank.anonymous.get("/healthz").headers["x-request-id"] for _ in range(5)}

    assert len(ids) == 5


def test_answers_of_the_api_are_kept_by_no_cache_and_sniffed_by_no_browser(bank: Bank) -> None:
    for answer in (bank.system.get("/api/accounts"), bank.anonymous.get("/api/accounts"), bank.system.get("/api/x")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_bug_is_logged_under_its_request_id_and_not_shown(
    bank: Bank, database: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    let_tell(monkeypatch, problems)
    person, account = bank.customer(100)
    # An account without a journal cannot be: no code of ours leaves one behind.
    database.ledger_entries.delete_many({"account": ObjectId(account)})

    with structlog.testing.capture_logs([logs.add_request]) as logged:
        answer = person.get(f"/api/accounts/{account}/balance", headers={"X-Request-ID": "bug-1"})

    assert (answer.status, answer.code) == (500, "internal_error")
    assert set(answer.body) == MEMBERS
    assert answer.body["detail"] == PROBLEMS["internal_error"].advice
    assert [(event["event"], event["request_id"]) for event in logged if event["log_level"] == "error"] == [
        ("bug", "bug-1")
    ]


@pytest.fixture
def unreachable_database(bank: Bank, config: Config) -> Iterator[None]:
    """The bank, open as ever, while its database cannot be reached."""
    mongo.connect(MongoPolicy("mongodb://127.0.0.1:9/fincore?replicaSet=rs0", timeout_ms=200))
    yield
    mongo.connect(config.mongo)


@pytest.mark.usefixtures("unreachable_database")
@pytest.mark.parametrize("path", ["/readyz", "/api/accounts"])
def test_an_outage_of_the_database_is_told_with_when_to_come_back(bank: Bank, path: str) -> None:
    answer = bank.system.get(path)

    assert (answer.status, answer.code) == (503, "service_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert b"127.0.0.1" not in answer.content


@pytest.mark.usefixtures("unreachable_database")
def test_a_login_during_an_outage_is_not_told_that_the_password_is_wrong(bank: Bank) -> None:
    answer = bank.anonymous.post("/api/auth/login", {"email": "asha@fincore.example", "password": "whatever it is"})

    assert (answer.status, answer.code) == (503, "service_unavailable")


@pytest.fixture
def hurried_ledger(config: Config) -> Iterator[None]:
    """A ledger that gives up on contention after 300 ms."""
    ledger.configure(replace(config.ledger, timeout_ms=300), witnesses=WITNESSES, roles=roles_of)
    yield
    ledger.configure(config.ledger, witnesses=WITNESSES, roles=roles_of)


@pytest.mark.usefixtures("hurried_ledger")
def test_contention_that_does_not_end_is_told_as_that_and_the_same_key_settles_it(
    bank: Bank, database: Database[Document]
) -> None:
    payer, from_account = bank.customer(100)
    _, to_account = bank.customer()
    head = database.ledger_entries.find_one({"account": ObjectId(from_account)}, sort=[("sequence", -1)]) or {}
    successor = {**head, "_id": ObjectId(), "sequence": Int64(head["sequence"] + 1)}

    def transfer() -> Answer:
        return payer.transfer(from_account, to_account, 60, "rent-1")

    with database.client.start_session() as session, session.start_transaction():
        database.ledger_entries.insert_one(successor, session=session)
        busy = transfer()
        session.abort_transaction()

    assert (busy.status, busy.code) == (503, "ledger_busy")
    assert int(busy.headers["retry-after"]) >= 1
    assert (transfer().status, payer.balance(from_account)) == (201, 40)
