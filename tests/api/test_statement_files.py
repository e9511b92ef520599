"""Statements as files, balances over time, and the pitfalls of browsers and programs."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from bson import Int64
from flask import Flask
from pymongo.database import Database

from app import create_app
from app.fields import rfc3339
from app.money import AMOUNT_MAX
from app.mongo import Document
from app.settings.policies import HttpPolicy
from app.statements.schemas import VerdictSchema
from app.statements.verification import compare
from config import Config
from tests.clients import InProcess
from tests.journals import lengthen
from tests.people import Bank, Person

PERIOD = "from=2020-12-01T00:00:00Z&to=2021-01-01T00:00:00Z"


@pytest.mark.parametrize(("name", "media_type"), [("csv", "text/csv; charset=utf-8"), ("pdf", "application/pdf")])
def test_a_file_is_the_statement_in_that_format(bank: Bank, name: str, media_type: str) -> None:
    asha, account = bank.customer(100)
    path, number = f"/api/accounts/{account}/statement", asha.number_of(account)

    answer = asha.get(f"{path}.{name}?{PERIOD}")

    assert (answer.status, answer.headers["content-type"]) == (200, media_type)
    assert answer.headers["content-disposition"].endswith(f"statement-{number}-2020-12-01-2021-01-01.{name}")
    assert answer.content == asha.get(f"{path}?format={name}&{PERIOD}").content
    assert asha.get(f"{path}.{name}?format=json").code == "validation_failed"
    assert bank.register().get(f"{path}.{name}").code == "account_not_found"
    assert bank.anonymous.get(f"{path}.{name}").status == 401


def test_a_csv_has_each_entrys_hash(bank: Bank) -> None:
    asha, account = bank.customer(100)
    entries = asha.get(f"/api/accounts/{account}/statement").body["entries"]

    text = asha.get(f"/api/accounts/{account}/statement.csv").content.decode("utf-8-sig")

    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["Hash"] for row in rows] == [entry["hash"] for entry in entries]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("text/csv; charset=utf-8", "text/csv; charset=utf-8"),
        ("application/pdf;version=1.7, text/csv;q=0.1", "application/pdf"),
    ],
)
def test_parameters_of_what_is_accepted_do_not_matter(bank: Bank, accept: str, media_type: str) -> None:
    asha, account = bank.customer()

    answer = asha.get(f"/api/accounts/{account}/statement", headers={"Accept": accept})

    assert answer.headers["content-type"] == media_type


def test_a_plus_sign_that_arrived_as_a_blank_is_named(bank: Bank) -> None:
    asha, account = bank.customer()

    for path, name in (("statement", "from"), ("entries", "to"), ("balance", "at"), ("balance/history", "to")):
        answer = asha.get(f"/api/accounts/{account}/{path}?{name}=2026-01-01T00:00:00+00:00")
        assert (answer.status, answer.code) == (422, "validation_failed")
        assert "%2B" in answer.body["errors"][name][0]
    assert "%2B" not in asha.get(f"/api/accounts/{account}/statement?from=yesterday+noon").content.decode()


def test_a_body_where_none_is_read_is_refused(bank: Bank) -> None:
    asha, account = bank.customer()

    for path in ("statement", "statement.csv", "entries", "balance"):
        answer = asha.call("GET", f"/api/accounts/{account}/{path}", {"from": "2020-01-01T00:00:00Z"})
        assert (answer.status, answer.code) == (422, "validation_failed"), path


def test_pages_of_other_origins_may_read_a_files_name(bank: Bank, config: Config) -> None:
    policy = HttpPolicy(ratelimit_enabled=False, cors_origins=("https://shop.example",))
    foreign = InProcess(create_app(Config(mongo=config.mongo, auth=config.auth, http=policy, log_level="ERROR")))
    asha, account = bank.customer()
    visitor = Person(foreign, asha.token)

    answer = visitor.get(f"/api/accounts/{account}/statement.csv", headers={"Origin": "https://shop.example"})

    assert "Content-Disposition" in answer.headers["access-control-expose-headers"]


def test_totals_beyond_64_bits_are_exact_in_every_format(bank: Bank, database: Database[Document]) -> None:
    asha, account = bank.customer(1)
    turnover = 2_100
    lengthen(database, account, turnover, amount=Int64(AMOUNT_MAX))
    total = turnover * AMOUNT_MAX + 1
    assert total > 2**64
    path = f"/api/accounts/{account}/statement"

    found = asha.get(path).body

    assert (found["totalCredits"], found["totalDebits"]) == (total, 0)
    assert asha.get(f"{path}.csv").status == asha.get(f"{path}.pdf").status == 200
    verdict = asha.post("/api/statements/verify", found)
    # The journal was written past the ledger, and is told to be so.
    assert (verdict.status, verdict.body["fault"]["field"]) == (200, "hash")


def test_a_verdict_on_a_total_beyond_64_bits_says_what_it_is() -> None:
    verdict = compare({"entries": [], "totalCredits": 2**63}, {"totalCredits": 2**64 + 1}, [], range(0))

    said = orjson.dumps(VerdictSchema().dump(verdict))

    assert b'"expected":18446744073709551617' in said
    same = {"entries": [], "totalCredits": 2**64 + 1}
    assert compare(same, {"totalCredits": 2**64 + 1}, [], range(0)).genuine is True


def test_the_document_says_that_totals_may_need_more_than_64_bits(bank: Bank) -> None:
    schemas = bank.anonymous.get("/api/openapi.json").body["components"]["schemas"]

    totals = [schemas["Statement"]["properties"][name] for name in ("totalCredits", "totalDebits")]
    totals += [schemas["CurrencySums"]["properties"][name] for name in ("totalCredits", "customerBalance")]
    for total in totals:
        assert (total["type"], total["format"]) == ("integer", "int64")
        assert "more than 64 bits" in total["description"]


def history(person: Person, account: str, **query: Any) -> dict[str, Any]:
    answer = person.get(f"/api/accounts/{account}/balance/history?{urlencode(query)}")
    assert answer.status == 200, answer.content
    body: dict[str, Any] = answer.body
    return body


def test_a_history_has_the_balance_at_the_begin_at_the_end_and_in_between(bank: Bank) -> None:
    asha, account = bank.customer(1_000)
    _, other = bank.customer()
    times = [asha.transfer(account, other, n).body["transaction"]["createdAt"] for n in (1, 10, 100)]
    since = datetime.fromisoformat(times[0]) - timedelta(milliseconds=5)

    found = history(asha, account, **{"from": rfc3339(since), "points": 500})

    assert set(found) == {"accountId", "currency", "points"}
    assert (found["accountId"], found["currency"]) == (account, "INR")
    moments = [point["at"] for point in found["points"]]
    assert moments == sorted(set(moments))
    assert moments[0] == rfc3339(since)
    assert 2 <= len(moments) <= 500
    assert found["points"][-1]["balance"] == 889
    for point in found["points"][:: max(1, len(moments) // 20)]:
        at = asha.get(f"/api/accounts/{account}/balance?{urlencode({'at': point['at']})}").body
        assert (point["balance"], point["final"]) == (at["balance"], at["final"])


def test_by_default_a_history_is_of_the_last_thirty_days_and_zero_before_the_account_opened(bank: Bank) -> None:
    asha, account = bank.customer(1_000)

    points = history(asha, account)["points"]

    assert len(points) == 60
    assert datetime.fromisoformat(points[-1]["at"]) - datetime.fromisoformat(points[0]["at"]) == timedelta(days=30)
    assert [point["balance"] for point in points] == [0] * 59 + [1_000]


def test_a_history_of_a_moment_is_one_point_and_none_is_of_the_future(bank: Bank) -> None:
    asha, account = bank.customer(1_000)
    moment = rfc3339(datetime.now(UTC))

    assert len(history(asha, account, **{"from": moment, "to": moment})["points"]) == 1
    ahead = history(asha, account, to=rfc3339(datetime.now(UTC) + timedelta(days=3)))["points"][-1]["at"]
    assert datetime.fromisoformat(ahead) <= datetime.now(UTC)
    assert len(history(asha, account, points=2, **{"from": "0001-01-01T00:00:00Z"})["points"]) == 2


@pytest.mark.parametrize(
    "query", ["points=1", "points=501", "points=2.0", "points=x", "from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z"]
)
def test_a_history_that_is_none_is_refused(bank: Bank, query: str) -> None:
    asha, account = bank.customer()

    answer = asha.get(f"/api/accounts/{account}/balance/history?{query}")

    assert (answer.status, answer.code, list(answer.body["errors"])) == (
        422,
        "validation_failed",
        [query.split("=")[0]],
    )


def test_the_document_names_the_files(app: Flask, bank: Bank) -> None:
    paths = bank.anonymous.get("/api/openapi.json").body["paths"]

    of_files = {name: paths[f"/api/accounts/{{accountId}}/statement.{name}"]["get"] for name in ("csv", "pdf")}
    assert list(of_files["csv"]["responses"]["200"]["content"]) == ["text/csv"]
    assert list(of_files["pdf"]["responses"]["200"]["content"]) == ["application/pdf"]
