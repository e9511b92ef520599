"""Statements: the same period as JSON and CSV."""

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.fields import rfc3339
from app.money import decimal_text
from tests.people import Bank, Person

FORMULA_BEGINNINGS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
MEMBERS = {
    "accountId", "number", "name", "currency", "from", "to", "openingBalance", "totalCredits", "totalDebits",
    "closingBalance", "firstSequence", "lastSequence", "lastHash", "entries",
}  # fmt: skip


def statement(person: Person, account: str, **query: Any) -> dict[str, Any]:
    answer = person.get(f"/api/accounts/{account}/statement?{urlencode(query)}")
    assert answer.status == 200, answer.content
    body: dict[str, Any] = answer.body
    return body


def csv_rows(person: Person, account: str) -> list[dict[str, str]]:
    answer = person.get(f"/api/accounts/{account}/statement?format=csv")
    assert answer.status == 200, answer.content
    assert answer.content.count(b"\n") == answer.content.count(b"\r\n")
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))


def test_a_statement_is_what_happened_this_month(bank: Bank) -> None:
    asha, account = bank.customer(1_000)
    _, other = bank.customer()
    asha.transfer(account, other, 400, description="Rent")

    found = statement(asha, account)

    assert set(found) == MEMBERS
    assert found["from"] == rfc3339(datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0))
    assert (found["openingBalance"], found["closingBalance"]) == (0, 600)
    assert (found["totalCredits"], found["totalDebits"]) == (1_000, 400)
    assert (found["firstSequence"], found["lastSequence"]) == (0, 2)
    assert [entry["sequence"] for entry in found["entries"]] == [0, 1, 2]
    assert found["lastHash"] == found["entries"][-1]["hash"]
    newest_first = asha.get(f"/api/accounts/{account}/entries").body["entries"]
    assert found["entries"] == newest_first[::-1]


def test_a_period_without_entries_carries_its_balance_over(bank: Bank) -> None:
    asha, account = bank.customer(1_000)
    last = statement(asha, account)["entries"][-1]
    later = rfc3339(datetime.fromisoformat(last["createdAt"]) + timedelta(milliseconds=1))

    after = statement(asha, account, **{"from": later})
    before = statement(asha, account, **{"from": "2020-01-01T00:00:00Z", "to": "2020-02-01T00:00:00Z"})

    assert (after["openingBalance"], after["closingBalance"], after["entries"]) == (1_000, 1_000, [])
    assert (after["firstSequence"], after["lastSequence"], after["lastHash"]) == (None, None, last["hash"])
    assert (before["openingBalance"], before["closingBalance"], before["lastHash"]) == (0, 0, None)


def test_a_period_until_the_future_ends_now(bank: Bank) -> None:
    asha, account = bank.customer(1_000)
    tomorrow = rfc3339(datetime.now(UTC) + timedelta(days=1))

    found = statement(asha, account, to=tomorrow)

    assert found["lastSequence"] == 1
    assert datetime.fromisoformat(found["to"]) <= datetime.now(UTC) + timedelta(milliseconds=1)


def test_only_an_end_means_the_month_that_ends_there(bank: Bank) -> None:
    asha, account = bank.customer(1_000)

    assert statement(asha, account, to="2026-03-01T00:00:00Z")["from"] == "2026-02-01T00:00:00.000Z"
    assert statement(asha, account, to="0001-01-01T00:00:00Z")["from"] == "0001-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    "query",
    [
        "from=2025-01-01T00:00:00Z&to=2026-01-03T00:00:00Z",
        "from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z",
        "from=2999-02-01T00:00:00Z",
        "from=0001-01-01T00:00:00Z",
        "from=yesterday",
        "format=xml",
        "format=",
        "unknown=1",
    ],
)
def test_a_period_or_format_that_is_none_is_refused(bank: Bank, query: str) -> None:
    asha, account = bank.customer()

    answer = asha.get(f"/api/accounts/{account}/statement?{query}")

    assert (answer.status, answer.code) == (422, "validation_failed")
    assert list(answer.body["errors"]) == [query.split("=")[0]]


def test_a_whole_leap_year_fits(bank: Bank) -> None:
    asha, account = bank.customer()

    assert statement(asha, account, **{"from": "2024-01-01T00:00:00Z", "to": "2025-01-01T00:00:00Z"})["entries"] == []


def test_a_foreign_account_has_no_statement(bank: Bank) -> None:
    _, account = bank.customer()

    for missing in (account, str(ObjectId()), "nonsense"):
        answer = bank.register().get(f"/api/accounts/{missing}/statement")
        assert (answer.status, answer.code) == (404, "account_not_found")


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("text/csv", "text/csv; charset=utf-8"),
        ("application/pdf", "application/pdf"),
        ("text/csv;q=0.5, application/pdf", "application/pdf"),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("image/png", "application/json"),
        ("", "application/json"),
    ],
)
def test_the_format_is_what_is_accepted(bank: Bank, accept: str, content_type: str) -> None:
    asha, account = bank.customer()
    path = f"/api/accounts/{account}/statement"

    assert asha.get(path, headers={"Accept": accept}).headers["content-type"] == content_type
    assert asha.get(f"{path}?format=json", headers={"Accept": accept}).headers["content-type"] == "application/json"


def test_a_csv_has_decimal_amounts_and_plain_times(bank: Bank) -> None:
    asha, account = bank.customer(123_456)
    payee, other = bank.customer()
    sent = asha.transfer(account, other, 7, description='He said "rent", ₹ and\u00a0more').body["transaction"]

    opened, credit, debit = csv_rows(asha, account)

    assert (opened["Type"], opened["Description"], opened["Debit"]) == ("STATUS", "ACTIVE", "")
    assert (credit["Credit"], credit["Debit"], credit["Balance"]) == ("1234.56", "", "1234.56")
    assert (debit["Debit"], debit["Credit"], debit["Balance"], debit["Currency"]) == ("0.07", "", "1234.49", "INR")
    assert debit["Description"] == 'He said "rent", ₹ and\u00a0more'
    assert (debit["Transaction"], debit["Counterparty"]) == (sent["id"], payee.number_of(other))
    assert f"{debit['Date (UTC)']}T{debit['Time (UTC)']}Z" == sent["createdAt"]


@pytest.mark.parametrize(
    ("description", "shown"),
    [
        *(
            (text, f"'{text}")
            for text in ("=1+1", "+1", "-1", "@SUM(A1)", " =1+1", "\u00a0=1", "＝1+1", "＋1", "－1", "＠x")
        ),
        ("a;=1+1;b", "a;'=1+1;b"),
        ("a; =1+1", "a;' =1+1"),
        ("a;\u00a0＝1;-2;+3|@x", "a;'\u00a0＝1;'-2;'+3|'@x"),
        ('a;"=1+1"', 'a;\'"=1+1"'),
        ('a";" "=1+1"', 'a";\'" "=1+1"'),
        (";;=1", ";;'=1"),
        ("=1;=1", "'=1;'=1"),
    ],
)
def test_no_description_becomes_a_formula_whatever_separates_the_cells(
    bank: Bank, description: str, shown: str
) -> None:
    asha, account = bank.customer(10)
    _, other = bank.customer()
    asha.transfer(account, other, 1, description=description)

    assert csv_rows(asha, account)[-1]["Description"] == shown
    text = asha.get(f"/api/accounts/{account}/statement?format=csv").content.decode("utf-8-sig")
    for separator in ",;|\t":
        for cells in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            assert not [cell for cell in cells if cell.strip().startswith(FORMULA_BEGINNINGS)]


@pytest.mark.parametrize("description", ["Rent = 5", "a;b", "Lunch, -10 %", "10|20", 'He said "-5"', "1+1=2; e=mc²"])
def test_a_description_without_a_formula_stays_as_it_is(bank: Bank, description: str) -> None:
    asha, account = bank.customer(10)
    _, other = bank.customer()
    asha.transfer(account, other, 1, description=description)

    assert csv_rows(asha, account)[-1]["Description"] == description


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [(0, "INR", "0.00"), (5, "INR", "0.05"), (-5, "INR", "-0.05"), (-12_345, "KWD", "-12.345"), (7, "JPY", "7"),
     (9_007_199_254_740_991, "EUR", "90071992547409.91")],
)  # fmt: skip
def test_an_amount_is_written_digit_for_digit(amount: int, currency: str, text: str) -> None:
    assert decimal_text(amount, currency) == text


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moves=st.lists(st.tuples(st.booleans(), st.integers(1, 1_000)), min_size=1, max_size=12),
    data=st.data(),
)
def test_the_sums_of_any_period_add_up(bank: Bank, moves: list[tuple[bool, int]], data: st.DataObject) -> None:
    asha, account = bank.customer(500)
    other = asha.open_account()
    for is_out, amount in moves:
        payer, payee = (account, other) if is_out else (other, account)
        asha.transfer(payer, payee, amount)
    whole = statement(asha, account)
    times = sorted({entry["createdAt"] for entry in whole["entries"]})
    first, last = sorted((data.draw(st.sampled_from(times)), data.draw(st.sampled_from(times))))

    part = statement(asha, account, **{"from": first, "to": last})
    rest = statement(asha, account, **{"from": last})

    for found in (whole, part, rest):
        credited = sum(entry["amount"] for entry in found["entries"] if entry["type"] == "CREDIT")
        debited = sum(entry["amount"] for entry in found["entries"] if entry["type"] == "DEBIT")
        assert (found["totalCredits"], found["totalDebits"]) == (credited, debited)
        assert found["closingBalance"] == found["openingBalance"] + credited - debited
        assert found["closingBalance"] >= 0
    assert part["entries"] == [entry for entry in whole["entries"] if first <= entry["createdAt"] < last]
    assert rest["openingBalance"] == part["closingBalance"]
    assert rest["closingBalance"] == whole["closingBalance"]
    assert part["entries"] + rest["entries"] == [e for e in whole["entries"] if e["createdAt"] >= first]
