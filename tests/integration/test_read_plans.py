"""How the database answers the reads: by its own profile, from an index, at the same cost however much there is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from app.mongo import Document
from tests.people import Bank

PAGES = 20
LIMIT = 3
PROFILED = ("transactions", "ledger_entries")
# Servers that other tests left running sweep overdue holds in the same database, whenever their time comes.
NOT_A_SWEEP = {"command.filter.expires_at": {"$exists": False}}


@contextmanager
def profiled(database: Database[Document]) -> Iterator[list[Document]]:
    """Collect what the database did for the bank while the block ran."""
    database.command("profile", 2)
    done: list[Document] = []
    try:
        yield done
    finally:
        database.command("profile", 0)
        read = {"ns": {"$in": [f"{database.name}.{name}" for name in PROFILED]}}
        done += database["system.profile"].find({**read, **NOT_A_SWEEP})
        database.drop_collection("system.profile")


@pytest.fixture
def long_history(bank: Bank) -> dict[str, Any]:
    asha, first = bank.customer(10_000)
    second = asha.open_account()
    ravi, other = bank.customer(1_000)
    for n in range(PAGES * LIMIT):
        asha.transfer(first, (second, other)[n % 2], n + 1)
        ravi.transfer(other, second, 1)
    return {"person": asha, "account": first}


QUERIES = [
    "/api/transactions?limit=3",
    "/api/transactions?limit=3&account={account}",
    "/api/transactions?limit=3&direction=in&status=COMPLETED&kind=TRANSFER",
    "/api/transactions?limit=3&status=PENDING",
    "/api/transactions?limit=3&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z",
    "/api/accounts/{account}/entries?limit=3",
    "/api/accounts/{account}/entries?limit=3&type=DEBIT",
    "/api/accounts/{account}/entries?limit=3&from=2020-01-01T00:00:00Z&to=2100-01-01T00:00:00Z",
    "/api/accounts/{account}/balance",
    "/api/accounts/{account}/balance?at={now}",
    "/api/accounts/{account}/statement",
]


def test_every_read_is_answered_from_an_index_in_its_order(
    long_history: dict[str, Any], database: Database[Document]
) -> None:
    person, account = long_history["person"], long_history["account"]
    now = person.get(f"/api/accounts/{account}/entries?limit=1").body["entries"][0]["createdAt"]

    with profiled(database) as done:
        for query in QUERIES:
            answer = person.get(query.format(account=account, now=now))
            assert answer.status == 200, answer.content

    assert len(done) >= len(QUERIES)
    for operation in done:
        assert "COLLSCAN" not in operation["planSummary"], operation
        assert not operation.get("hasSortStage"), operation


@pytest.mark.parametrize(
    "path",
    [
        "/api/transactions?limit=3",
        "/api/transactions?limit=3&account={account}",
        "/api/accounts/{account}/entries?limit=3",
    ],
)
def test_a_late_page_examines_no_more_than_the_first(
    long_history: dict[str, Any], database: Database[Document], path: str
) -> None:
    person = long_history["person"]
    path = path.format(account=long_history["account"])
    cursor, examined = None, []
    for _ in range(PAGES - 1):
        with profiled(database) as done:
            page = person.get(path + (f"&cursor={cursor}" if cursor else "")).body
        cursor = page["nextCursor"]
        assert cursor is not None
        examined.append(sum(operation.get("keysExamined", 0) for operation in done))

    assert max(examined) <= examined[0] + 2
    assert max(examined) <= 6 * LIMIT


@pytest.mark.parametrize("query", ["", "&account={account}", "&status=COMPLETED", "&status=FAILED", "&direction=in"])
def test_what_strangers_tried_in_vain_costs_a_page_nothing(
    long_history: dict[str, Any], bank: Bank, database: Database[Document], query: str
) -> None:
    person, account = long_history["person"], long_history["account"]
    path = f"/api/transactions?limit={LIMIT}" + query.format(account=account)
    stranger, poor = bank.customer()
    vain = {"fromAccount": poor, "toAccount": account, "amount": 1}
    batch = {"idempotencyKey": "vain", "atomic": False, "transfers": [vain] * 100}
    before = person.get(path).body
    assert stranger.post("/api/transactions/batch", batch).status == 201
    assert database.transactions.count_documents({"accounts": ObjectId(account), "status": "FAILED"}) == 100

    with profiled(database) as done:
        assert person.get(path).body["transactions"] == before["transactions"]

    for cost in ("keysExamined", "docsExamined"):
        assert sum(operation.get(cost, 0) for operation in done) <= 6 * LIMIT, done


@pytest.mark.parametrize("query", ["", "&status=FAILED"])
def test_ones_own_declines_of_other_accounts_cost_a_page_of_this_one_nothing(
    bank: Bank, database: Database[Document], query: str
) -> None:
    person, account = bank.customer(100)
    poor, payee = person.open_account(), bank.customer()[1]
    assert person.transfer(account, payee, 101).status == 422
    for _ in range(10):
        assert person.transfer(poor, payee, 1).status == 422

    with profiled(database) as done:
        page = person.get(f"/api/transactions?limit={LIMIT}&account={account}{query}").body

    assert page["transactions"][0]["amount"] == 101
    assert sum(operation.get("docsExamined", 0) for operation in done) <= LIMIT


def test_a_balance_at_a_time_is_a_seek_for_the_head_and_one_for_the_time(
    long_history: dict[str, Any], database: Database[Document]
) -> None:
    person, account = long_history["person"], long_history["account"]
    entries = list(database.ledger_entries.find({"account": ObjectId(account)}).sort("sequence", 1))
    middle = entries[len(entries) // 2]["created_at"].isoformat().replace("+00:00", "Z")

    with profiled(database) as done:
        assert person.get(f"/api/accounts/{account}/balance?at={middle}").status == 200

    # The head says whether anything can still join that time. Its scan looks at one key more, to see that it is done.
    assert [(operation["keysExamined"], operation["docsExamined"]) for operation in done] == [(2, 1), (1, 1)]
