"""How the database answers reads: by its own profile, from an index, at the same cost however much there is."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from app.mongo import Document, lists
from tests.again import again
from tests.asked import commands
from tests.people import Bank, Person

PAGES = 20
LIMIT = 3
PROFILED = ("transactions", "ledger_entries")


@contextmanager
def profiled(database: Database[Document]) -> Iterator[list[Document]]:
    """Collect what the database did with the bank's lists while the block ran."""
    done: list[Document] = []
    with commands(database) as sent:
        yield done
    done += [each for each in sent if each["ns"].partition(".")[2] in PROFILED]


@pytest.fixture
def long_history(bank: Bank, database: Database[Document]) -> dict[str, Any]:
    history = again(database, bank, make_long_history)
    # MongoDB remembers plans that suited the data of other tests. They stay when their documents are removed.
    for name in PROFILED:
        database.command("planCacheClear", name)
    return history


def make_long_history(bank: Bank) -> dict[str, Any]:
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
        assert sum(operation.get(cost, 0) for operation in done) <= 10 * LIMIT, done


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


def walked(person: Person, path: str, name: str) -> tuple[list[str], int]:
    """Follow a list to its end; return the ids in it, and how many pages there were."""
    found, pages, cursor = [], 0, ""
    while True:
        page = person.get(f"{path}&limit={LIMIT}{cursor}").body
        found += [item["id"] for item in page[name]]
        pages += 1
        if page["nextCursor"] is None:
            return found, pages
        cursor = f"&cursor={page['nextCursor']}"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/transactions?kind=HOLD", "transactions"),
        ("/api/transactions?kind=FUNDING", "transactions"),
        ("/api/transactions?direction=in", "transactions"),
        ("/api/transactions?status=PENDING&account={account}", "transactions"),
        ("/api/transactions?status=FAILED&direction=in", "transactions"),
        ("/api/accounts/{account}/entries?type=HOLD", "entries"),
        ("/api/accounts/{account}/entries?type=CREDIT", "entries"),
        ("/api/accounts/{account}/entries?type=CREDIT&from=2020-01-01T00:00:00Z", "entries"),
    ],
)
def test_a_filter_bounds_what_a_page_looks_at_and_misses_nothing(
    long_history: dict[str, Any], database: Database[Document], monkeypatch: pytest.MonkeyPatch, path: str, name: str
) -> None:
    person, account = long_history["person"], long_history["account"]
    path, payee = path.format(account=account), person.open_account()
    person.post(
        "/api/transactions/hold", {"fromAccount": account, "toAccount": payee, "amount": 1, "idempotencyKey": "h"}
    )
    for _ in range(12):
        person.transfer(account, payee, 1)
        person.transfer(payee, account, 2)
    whole, _ = walked(person, path, name)
    most = 10
    monkeypatch.setattr(lists, "SEARCHED_MAX", most)

    with profiled(database) as done:
        assert walked(person, path, name)[0] == whole

    assert len(whole) == len(set(whole))
    for operation in done:
        # The index's keys for each of three accounts are merged, and one more is looked at in each.
        assert operation.get("docsExamined", 0) <= most + LIMIT, operation
        assert operation.get("keysExamined", 0) <= 2 * most + 10, operation


@pytest.mark.parametrize(
    ("path", "name"),
    [("/api/admin/accounts?status=ACTIVE&kind=TREASURY", "accounts"), ("/api/admin/audit-log?{audit}", "records")],
)
def test_an_administrators_filters_bound_what_a_page_looks_at(
    bank: Bank, database: Database[Document], monkeypatch: pytest.MonkeyPatch, path: str, name: str
) -> None:
    person, account = bank.customer(1)
    other = bank.administrator()
    for n in range(15):
        admin = other if n == 3 else bank.system
        for status in ("FROZEN", "ACTIVE"):
            admin.patch(f"/api/admin/accounts/{account}/status", {"status": status, "reason": "x"})
        person.open_account()
    path = path.format(audit=f"subject={account}&actor={other.id}")
    whole, _ = walked(bank.system, path, name)
    assert whole
    monkeypatch.setattr(lists, "SEARCHED_MAX", 6)

    database.command("profile", 2)
    again, pages = walked(bank.system, path, name)
    database.command("profile", 0)
    read = {"ns": {"$in": [f"{database.name}.accounts", f"{database.name}.audit_log"]}}
    done = list(database["system.profile"].find(read))
    database.drop_collection("system.profile")

    assert again == whole
    assert pages > 1
    assert max(operation.get("docsExamined", 0) for operation in done) <= 6 + LIMIT


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
