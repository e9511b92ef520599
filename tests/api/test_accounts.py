"""Accounts: opening, finding and renaming one's own, and reading what they hold."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId
from flask import Flask
from pymongo.database import Database

from app.accounts import service
from app.ledger.records import treasury_id
from app.mongo import Document
from tests.clients import Answer, InProcess
from tests.people import Bank, Person

ACCOUNT_MEMBERS = {"id", "number", "name", "currency", "status", "createdAt"}
BALANCE_MEMBERS = {"accountId", "currency", "balance", "availableBalance", "sequence", "asOf"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

# The calls that name an account.
CALLS: dict[str, Callable[[Person, str], Answer]] = {
    "get": lambda person, account: person.get(f"/api/accounts/{account}"),
    "rename": lambda person, account: person.call("PATCH", f"/api/accounts/{account}", {"name": "Mine"}),
    "balance": lambda person, account: person.get(f"/api/accounts/{account}/balance"),
}


def without_request_id(answer: Answer) -> dict[str, Any]:
    return {name: value for name, value in answer.body.items() if name != "requestId"}


def moment(text: str) -> datetime:
    assert TIME.fullmatch(text)
    return datetime.fromisoformat(text)


def test_opening_an_account_answers_it(bank: Bank) -> None:
    person = bank.register()

    answer = person.post("/api/accounts/create", {"currency": "EUR", "name": "Savings"})

    assert answer.status == 201
    assert set(answer.body) == {"account"}
    account = answer.body["account"]
    assert set(account) == ACCOUNT_MEMBERS
    assert (account["name"], account["currency"], account["status"]) == ("Savings", "EUR", "ACTIVE")
    assert re.fullmatch(r"[0-9a-f]{24}", account["id"])
    assert abs((datetime.now(UTC) - moment(account["createdAt"])).total_seconds()) < 60


@pytest.mark.parametrize("body", [{}, {"currency": None, "name": None}], ids=["left out", "null"])
def test_an_account_is_in_the_default_currency_and_without_a_name_unless_told_otherwise(
    bank: Bank, body: dict[str, None]
) -> None:
    answer = bank.register().post("/api/accounts/create", body)

    assert answer.status == 201
    assert (answer.body["account"]["currency"], answer.body["account"]["name"]) == ("INR", None)


def test_an_account_opens_with_the_first_entry_of_its_journal(bank: Bank, database: Database[Document]) -> None:
    _, account = bank.customer()

    (entry,) = database.ledger_entries.find({"account": ObjectId(account)})

    assert (entry["sequence"], entry["type"], entry["description"]) == (0, "STATUS", "ACTIVE")
    assert (entry["amount"], entry["balance"], entry["held"]) == (0, 0, 0)


def test_first_accounts_in_a_currency_that_race_share_one_treasury(app: Flask, bank: Bank) -> None:
    token = bank.register().token

    def open_account(_: int) -> str:
        return Person(InProcess(app), token).open_account("JPY")

    with ThreadPoolExecutor(6) as pool:
        accounts = set(pool.map(open_account, range(6)))

    assert len(accounts) == 6
    payers = {bank.fund(account, 100).body["transaction"]["fromAccount"] for account in accounts}
    assert payers == {str(treasury_id("JPY"))}


def test_a_user_has_only_so_many_accounts(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "ACCOUNTS_PER_USER_MAX", 3)
    person, account = bank.customer()
    person.open_account("EUR")
    third = person.open_account()
    assert person.post(f"/api/accounts/{third}/close").status == 200

    refused = person.post("/api/accounts/create", {"currency": "SEK"})

    assert (refused.status, refused.code) == (422, "validation_failed")
    assert refused.body["errors"] == {
        "body": ["A user has at most 3 accounts, closed ones included. Use one that is open."]
    }
    assert len(person.get("/api/accounts").body["accounts"]) == 3
    trial = bank.system.get("/api/admin/trial-balance").body["currencies"]
    assert "SEK" not in {row["currency"] for row in trial}, "Nor was a treasury opened."
    # Others are not affected, nor is what the user has.
    assert bank.register().open_account()
    assert bank.fund(account, 1).status == 201


def test_the_list_has_ones_own_accounts_with_their_balances_oldest_first(bank: Bank) -> None:
    person = bank.register()
    bank.customer(1_000)
    first, second = person.open_account("INR", "First"), person.open_account("EUR", "Second")
    bank.fund(second, 250)

    answer = person.get("/api/accounts")

    assert answer.status == 200
    assert set(answer.body) == {"accounts"}
    accounts = answer.body["accounts"]
    assert all(set(account) == ACCOUNT_MEMBERS | {"balance", "availableBalance"} for account in accounts)
    listed = [(a["id"], a["name"], a["currency"], a["balance"], a["availableBalance"]) for a in accounts]
    assert listed == [(first, "First", "INR", 0, 0), (second, "Second", "EUR", 250, 250)]


def test_the_list_of_who_has_no_account_is_empty(bank: Bank) -> None:
    assert bank.register().get("/api/accounts").body == {"accounts": []}


def test_treasuries_are_in_nobodys_list(bank: Bank) -> None:
    person, account = bank.customer(1_000)

    assert [listed["id"] for listed in person.get("/api/accounts").body["accounts"]] == [account]
    assert bank.system.get("/api/accounts").body == {"accounts": []}


def test_an_account_is_answered_as_it_was_opened(bank: Bank) -> None:
    person = bank.register()
    opened = person.post("/api/accounts/create", {"currency": "KWD", "name": "₹ & 東京"}).body

    answer = person.get(f"/api/accounts/{opened['account']['id']}")

    assert (answer.status, answer.body) == (200, opened)


def test_an_id_may_be_written_in_capitals(bank: Bank) -> None:
    person, account = bank.customer()

    assert person.get(f"/api/accounts/{account.upper()}").body["account"]["id"] == account


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_what_is_not_ones_own_answers_exactly_as_what_is_missing(bank: Bank, call: Callable[..., Answer]) -> None:
    _, foreign = bank.customer(1_000)
    person, _ = bank.customer()

    missing = call(person, str(ObjectId()))

    assert (missing.status, missing.code) == (404, "account_not_found")
    for account in (foreign, str(treasury_id("INR")), "no-id", "0" * 23, "0" * 25, "%00", "%24ne", "creat"):
        answer = call(person, account)
        assert answer.status == 404, account
        assert without_request_id(answer) == without_request_id(missing), account


def test_renaming_changes_the_name_and_nothing_else(bank: Bank) -> None:
    person, account = bank.customer(500)
    before = person.get("/api/accounts").body["accounts"][0]

    answer = person.call("PATCH", f"/api/accounts/{account}", {"name": "Holidays"})

    assert answer.status == 200
    assert set(answer.body) == {"account"}
    assert set(answer.body["account"]) == ACCOUNT_MEMBERS
    assert answer.body["account"]["name"] == "Holidays"
    assert person.get("/api/accounts").body["accounts"] == [{**before, "name": "Holidays"}]


def test_nobody_renames_what_is_not_theirs(bank: Bank) -> None:
    owner, account = bank.customer()
    stranger = bank.register()

    stranger.call("PATCH", f"/api/accounts/{account}", {"name": "Mine"})
    bank.system.call("PATCH", f"/api/accounts/{account}", {"name": "Ours"})

    assert owner.get(f"/api/accounts/{account}").body["account"]["name"] is None


def test_a_new_account_holds_nothing(bank: Bank) -> None:
    person, account = bank.customer()
    before = datetime.now(UTC)

    answer = person.get(f"/api/accounts/{account}/balance")

    assert answer.status == 200
    assert set(answer.body) == BALANCE_MEMBERS
    assert (answer.body["accountId"], answer.body["currency"]) == (account, "INR")
    assert (answer.body["balance"], answer.body["availableBalance"], answer.body["sequence"]) == (0, 0, 0)
    assert -0.001 <= (moment(answer.body["asOf"]) - before).total_seconds() < 60


def test_a_balance_is_what_the_newest_entry_says(bank: Bank) -> None:
    payer, from_account = bank.customer(1_000)
    _, to_account = bank.customer()
    payer.transfer(from_account, to_account, 300)
    payer.transfer(from_account, to_account, 50)

    answer = payer.get(f"/api/accounts/{from_account}/balance")

    assert (answer.body["balance"], answer.body["availableBalance"], answer.body["sequence"]) == (650, 650, 3)


def test_a_declined_transfer_leaves_balance_and_sequence_as_they_were(bank: Bank) -> None:
    payer, from_account = bank.customer(100)
    _, to_account = bank.customer()

    payer.transfer(from_account, to_account, 101)

    balance = payer.get(f"/api/accounts/{from_account}/balance").body
    assert (balance["balance"], balance["sequence"]) == (100, 1)
