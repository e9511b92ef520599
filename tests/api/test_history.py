"""Histories and journals through the API: who sees which items, in which order, page by page."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from bson import ObjectId
from pymongo.database import Database

from app.fields import rfc3339
from app.mongo import Document
from app.transactions import repository
from tests.people import Bank, Person

ENTRY_MEMBERS = {
    "id", "accountId", "sequence", "type", "amount", "balanceAfter", "availableAfter", "transactionId", "counterparty",
    "description", "createdAt", "previousHash", "hash", "hashVersion", "recordHash",
}  # fmt: skip


def history(person: Person, **query: Any) -> list[dict[str, Any]]:
    answer = person.get(f"/api/transactions?{urlencode(query)}")
    assert answer.status == 200, answer.content
    transactions: list[dict[str, Any]] = answer.body["transactions"]
    return transactions


def entries(person: Person, account: str, **query: Any) -> list[dict[str, Any]]:
    answer = person.get(f"/api/accounts/{account}/entries?{urlencode(query)}")
    assert answer.status == 200, answer.content
    found: list[dict[str, Any]] = answer.body["entries"]
    return found


def amounts(transactions: list[dict[str, Any]]) -> list[int]:
    return [transaction["amount"] for transaction in transactions]


class Family(NamedTuple):
    asha: Person
    salary: str
    savings: str
    ravi: Person
    ravis: str


@pytest.fixture
def family(bank: Bank) -> Family:
    """Asha's 1,000 and Ravi's 500, of which 10 and 20 and then 30 changed their place."""
    asha, salary = bank.customer(1_000)
    savings = asha.open_account()
    ravi, ravis = bank.customer(500)
    asha.transfer(salary, savings, 10)
    asha.transfer(salary, ravis, 20)
    ravi.transfer(ravis, savings, 30)
    return Family(asha, salary, savings, ravi, ravis)


def test_the_history_is_the_users_own_newest_first(bank: Bank, family: Family) -> None:
    asha, _, _, ravi, _ = family
    stranger, _ = bank.customer(77)

    assert amounts(history(asha)) == [30, 20, 10, 1_000]
    assert amounts(history(ravi)) == [30, 20, 500]
    assert amounts(history(stranger)) == [77]
    assert history(bank.register()) == []


def test_the_history_filters(family: Family) -> None:
    asha, salary, savings, _, ravis = family
    asha.transfer(salary, ravis, 99_999)

    assert amounts(history(asha, account=savings)) == [30, 10]
    assert amounts(history(asha, account=salary, direction="out", status="COMPLETED")) == [20, 10]
    assert amounts(history(asha, account=salary, direction="in")) == [1_000]
    # Between own accounts, money goes out of the user and comes in.
    assert amounts(history(asha, direction="in")) == [30, 10, 1_000]
    assert amounts(history(asha, direction="out")) == [99_999, 20, 10]
    assert amounts(history(asha, kind="FUNDING")) == [1_000]
    assert amounts(history(asha, status="FAILED")) == [99_999]
    assert amounts(history(asha, kind="REVERSAL")) == []


def test_a_period_includes_its_begin_and_excludes_its_end(bank: Bank) -> None:
    asha, account = bank.customer(100)
    _, other = bank.customer()
    times = [asha.transfer(account, other, n).body["transaction"]["createdAt"] for n in (1, 2, 3)]
    assert len(set(times)) == 3

    assert amounts(history(asha, **{"from": times[1]})) == [3, 2]
    assert amounts(history(asha, to=times[1])) == [1, 100]
    assert amounts(history(asha, **{"from": times[0], "to": times[2]})) == [2, 1]
    assert [e["amount"] for e in entries(asha, account, **{"from": times[0], "to": times[2]})] == [2, 1]
    # Half a millisecond later, the entry of that millisecond is over.
    later = times[1].replace("Z", "5Z")
    assert amounts(history(asha, **{"from": later})) == [3]
    assert [e["amount"] for e in entries(asha, account, **{"from": later})] == [3]
    assert amounts(history(asha, **{"from": "9999-12-31T23:59:59.9999Z", "to": "0001-01-01T00:00:00Z"})) == []


def test_a_declined_transfer_is_in_its_initiators_history_alone(bank: Bank) -> None:
    payer, poor = bank.customer(5)
    payee, account = bank.customer()
    assert payer.transfer(poor, account, 6).status == 422

    assert amounts(history(payer, status="FAILED")) == [6]
    assert history(payee) == []
    assert history(payee, status="FAILED") == []
    assert amounts(history(bank.administrator(), account=account)) == [6]


def test_declined_ones_are_in_their_place_among_the_others_page_by_page(bank: Bank) -> None:
    asha, account = bank.customer(100)
    stranger, foreign = bank.customer()
    second = asha.open_account()
    for amount in (1, 2_000, 2, 4_000, 3):
        asha.transfer(account, second, amount)
        assert stranger.transfer(foreign, account, 9).status == 422

    for name, value in (("account", account), ("kind", "TRANSFER"), ("direction", "out")):
        seen: list[int] = []
        query = {name: value, "limit": "2"}
        while query.get("cursor", "") is not None:
            page = asha.get(f"/api/transactions?{urlencode(query)}").body
            seen += amounts(page["transactions"])
            query["cursor"] = page["nextCursor"]
        assert seen == [3, 4_000, 2, 2_000, 1] + [100] * (name == "account")
    assert amounts(history(bank.administrator(), account=account)) == [9, 3, 9, 4_000, 9, 2, 9, 2_000, 9, 1, 100]


def test_the_key_is_its_initiators_alone(bank: Bank) -> None:
    payer, from_account = bank.customer(5)
    payee, to_account = bank.customer()
    payer.transfer(from_account, to_account, 5, "my-own-key")

    assert history(payer)[0]["idempotencyKey"] == "my-own-key"
    assert history(payee)[0]["idempotencyKey"] is None


@pytest.mark.parametrize("name", ["account", "id"])
def test_a_foreign_account_answers_as_a_missing_one(bank: Bank, name: str) -> None:
    person = bank.register()
    _, foreign = bank.customer()

    for account in (foreign, "0" * 24, str(ObjectId())):
        for path in (f"/api/transactions?account={account}", f"/api/accounts/{account}/entries"):
            answer = person.get(path)
            assert (answer.status, answer.code) == (404, "account_not_found")


def test_walking_to_the_end_sees_every_item_once_while_new_ones_arrive(bank: Bank) -> None:
    asha, first = bank.customer(1_000)
    second = asha.open_account()
    for n in range(12):
        asha.transfer(first, second, n + 1)

    for path, name in (("/api/transactions", "transactions"), (f"/api/accounts/{first}/entries", "entries")):
        before = [item["id"] for item in asha.get(f"{path}?limit=200").body[name]]
        seen: list[str] = []
        cursor = None
        while True:
            page = asha.get(f"{path}?limit=5" + (f"&cursor={cursor}" if cursor else "")).body
            seen += [item["id"] for item in page[name]]
            asha.transfer(first, second, 1)
            cursor = page["nextCursor"]
            if cursor is None:
                break
        assert seen == before


def test_the_history_of_more_accounts_than_one_query_merges_is_whole(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "MERGED_ACCOUNTS_MAX", 2)
    asha, first = bank.customer(100)
    accounts = [first, *(asha.open_account() for _ in range(4))]
    for n, account in enumerate(accounts[1:], 1):
        asha.transfer(first, account, n)

    assert amounts(history(asha)) == [4, 3, 2, 1, 100]
    page = asha.get("/api/transactions?limit=2").body
    assert amounts(page["transactions"]) == [4, 3]
    assert amounts(history(asha, limit=2, cursor=page["nextCursor"])) == [2, 1]


def test_entries_are_newest_first_and_chained(bank: Bank) -> None:
    asha, account = bank.customer(100)
    _, other = bank.customer()
    sent = asha.transfer(account, other, 30, description="Rent").body["transaction"]

    found = entries(asha, account)

    assert [set(entry) for entry in found] == [ENTRY_MEMBERS] * 3
    assert [(e["sequence"], e["type"], e["amount"], e["balanceAfter"], e["availableAfter"]) for e in found] == [
        (2, "DEBIT", 30, 70, 70),
        (1, "CREDIT", 100, 100, 100),
        (0, "STATUS", 0, 0, 0),
    ]
    assert (found[0]["transactionId"], found[0]["counterparty"], found[0]["description"]) == (sent["id"], other, "Rent")
    assert found[0]["previousHash"] == found[1]["hash"]
    assert found[2]["previousHash"] == "0" * 64
    assert [e["sequence"] for e in entries(asha, account, type="CREDIT")] == [1]


@pytest.mark.parametrize("path", ["/api/transactions", "/api/accounts/{account}/entries"])
def test_what_a_list_cannot_answer_is_refused(bank: Bank, path: str) -> None:
    asha, account = bank.customer(100)
    _, other = bank.customer()
    asha.transfer(account, other, 1)
    path = path.format(account=account)
    cursor = asha.get(f"{path}?limit=1").body["nextCursor"]

    def code(query: str) -> tuple[int, str | None]:
        answer = asha.get(f"{path}?{query}")
        return answer.status, answer.code

    assert asha.get(f"{path}?limit=1&cursor={cursor}").status == 200
    for query in ("limit=0", "limit=201", "limit=ten", "from=yesterday", "to=2026-11-22", "unknown=1", "type=x&kind=x"):
        assert code(query) == (422, "validation_failed"), query
    for query in ("cursor=", "cursor=forged", f"cursor={cursor}A", f"cursor={cursor}&from=2026-01-01T00:00:00Z"):
        assert code(query) == (400, "invalid_cursor"), query
    assert bank.anonymous.get(path).status == 401


def test_a_cursor_of_another_account_or_user_is_refused(bank: Bank) -> None:
    asha, account = bank.customer(100)
    second = asha.open_account()
    asha.transfer(account, second, 1)
    ravi = bank.register()
    entries_cursor = asha.get(f"/api/accounts/{account}/entries?limit=1").body["nextCursor"]
    history_cursor = asha.get("/api/transactions?limit=1").body["nextCursor"]

    assert asha.get(f"/api/accounts/{second}/entries?cursor={entries_cursor}").code == "invalid_cursor"
    assert asha.get(f"/api/transactions?cursor={entries_cursor}").code == "invalid_cursor"
    assert ravi.get(f"/api/transactions?cursor={history_cursor}").code == "invalid_cursor"


def test_an_admin_reads_any_account_and_transaction_while_he_is_one(bank: Bank, database: Database[Document]) -> None:
    person, account = bank.customer(100)
    transaction = history(person)[0]
    admin = bank.administrator()
    paths = [
        f"/api/accounts/{account}",
        f"/api/accounts/{account}/balance",
        f"/api/accounts/{account}/entries",
        f"/api/accounts/{account}/statement",
        f"/api/transactions?account={account}",
        f"/api/transactions/{transaction['id']}",
        f"/api/accounts/{transaction['fromAccount']}/entries",
    ]

    assert [admin.get(path).status for path in paths] == [200] * len(paths)
    assert bank.system.get(paths[0]).status == 200
    database.users.update_one({"_id": ObjectId(admin.id)}, {"$set": {"role": "USER"}})
    assert [admin.get(path).status for path in paths] == [404] * len(paths)


def test_a_balance_at_a_time_is_what_the_newest_entry_until_then_says(bank: Bank) -> None:
    asha, account = bank.customer(100)
    _, other = bank.customer()
    times = [asha.transfer(account, other, n).body["transaction"]["createdAt"] for n in (1, 2, 3)]

    def balance_at(moment: str) -> tuple[int, int]:
        answer = asha.get(f"/api/accounts/{account}/balance?{urlencode({'at': moment})}")
        assert answer.status == 200, answer.content
        assert answer.body["asOf"] == moment
        return answer.body["balance"], answer.body["sequence"]

    assert [balance_at(moment) for moment in times] == [(99, 2), (97, 3), (94, 4)]
    before = rfc3339(datetime.fromisoformat(times[2]) - timedelta(milliseconds=1))
    assert balance_at(before) == (97, 3)


def test_entries_of_one_millisecond_all_count_for_a_balance_then(bank: Bank, database: Database[Document]) -> None:
    asha, account = bank.customer(100)
    head = database.ledger_entries.find_one({"account": ObjectId(account)}, sort=[("sequence", -1)])
    assert head is not None
    # Another host's clock is ahead: what follows is written with its time, not with an earlier one.
    ahead = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=10)
    database.ledger_entries.update_one({"_id": head["_id"]}, {"$set": {"created_at": ahead}})
    _, other = bank.customer()
    sent = [asha.transfer(account, other, n).body["transaction"]["createdAt"] for n in (1, 2)]
    assert sent == [rfc3339(ahead)] * 2

    statement = asha.get(f"/api/accounts/{account}/statement").body

    assert (statement["closingBalance"], statement["lastSequence"]) == (97, 3)
    assert amounts(history(asha, **{"from": rfc3339(ahead)})) == [2, 1]


@pytest.mark.parametrize("moment", ["1999-12-31T00:00:00Z", "2999-12-31T00:00:00Z", "0001-01-01T00:00:00Z", "now", ""])
def test_a_balance_before_the_account_or_in_the_future_is_refused(bank: Bank, moment: str) -> None:
    asha, account = bank.customer(100)

    answer = asha.get(f"/api/accounts/{account}/balance?at={moment}")

    assert (answer.status, answer.code, list(answer.body["errors"])) == (422, "validation_failed", ["at"])
