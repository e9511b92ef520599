"""Reading heads costs one seek for each account, however long its journal is."""

from collections.abc import Iterator
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from app.ledger.repository import find_funds, find_pipeline, head_pipeline
from app.mongo import Document
from tests.asked import commands
from tests.people import Bank

TRANSFERS = 30


@pytest.fixture
def accounts(bank: Bank) -> list[ObjectId]:
    """Two accounts with long journals, and one that was just opened."""
    payer, from_account = bank.customer(1_000)
    _, to_account = bank.customer()
    _, unused = bank.customer()
    for _ in range(TRANSFERS):
        assert payer.transfer(from_account, to_account, 1).status == 201
    return [ObjectId(account) for account in (from_account, to_account, unused)]


def stages(plan: Any) -> Iterator[str]:
    """Yield the name of each stage of a plan, from its last to its first."""
    if isinstance(plan, dict):
        if isinstance(plan.get("stage"), str):
            yield plan["stage"]
        for part in plan.values():
            yield from stages(part)
    elif isinstance(plan, list):
        for part in plan:
            yield from stages(part)


def explain(database: Database[Document], accounts: list[ObjectId]) -> Document:
    command = {"aggregate": "ledger_entries", "pipeline": head_pipeline(accounts), "cursor": {}}
    return database.command("explain", command, verbosity="executionStats")


@pytest.mark.parametrize("others", [0, 200])
def test_heads_are_answered_by_a_distinct_scan(
    database: Database[Document], accounts: list[ObjectId], others: int
) -> None:
    first, *rest = explain(database, accounts + [ObjectId() for _ in range(others)])["stages"]

    query = list(stages(first["$cursor"]["queryPlanner"]["winningPlan"]))
    assert "DISTINCT_SCAN" in query
    assert not {"COLLSCAN", "SORT"} & set(query)
    assert [set(stage) & {"$sort", "$group"} for stage in rest] == [set()]


def test_heads_cost_the_same_whatever_the_length_of_the_journals(
    database: Database[Document], accounts: list[ObjectId]
) -> None:
    cost = explain(database, accounts)["stages"][0]["$cursor"]["executionStats"]

    # A seek finds the first entry of an account and another one sees that the account is done.
    assert cost["totalKeysExamined"] <= 2 * len(accounts)
    assert cost["totalDocsExamined"] <= len(accounts)


def test_what_a_block_meets_is_read_from_indexes_alone(database: Database[Document], accounts: list[ObjectId]) -> None:
    keys = [(ObjectId(), f"key-{number}") for number in range(5)]
    stages = find_pipeline(accounts, keys=keys, ids=[ObjectId()], known=())
    command = {"aggregate": "schema", "pipeline": stages, "cursor": {}}

    plan = database.command("explain", command, verbosity="executionStats")["stages"]

    lookups = {stage["$lookup"]["as"]: stage for stage in plan if "$lookup" in stage}
    assert lookups.keys() == {"records", "accounts", "heads", "firsts"}
    # A look-up that read a whole collection would have used no index.
    assert [int(lookup["collectionScans"]) for lookup in lookups.values()] == [0, 0, 0, 0]
    assert lookups["heads"]["totalKeysExamined"] <= 2 * len(accounts)
    assert lookups["heads"]["totalDocsExamined"] <= len(accounts)
    assert lookups["firsts"]["totalDocsExamined"] <= len(accounts)
    assert lookups["records"]["totalDocsExamined"] == 0


@pytest.mark.usefixtures("database")
def test_funds_are_those_of_the_newest_entries(accounts: list[ObjectId]) -> None:
    funds = find_funds([*accounts, ObjectId()])

    found = {account: (each.sequence, each.balance) for account, each in funds.items()}
    expected = [(TRANSFERS + 1, 1_000 - TRANSFERS), (TRANSFERS, TRANSFERS), (0, 0)]
    assert found == dict(zip(accounts, expected, strict=True))


def test_what_decides_about_money_is_read_in_the_block_that_moves_it(bank: Bank, database: Database[Document]) -> None:
    payer, account = bank.customer(100)
    another = payer.open_account()
    with commands(database) as sent:
        assert payer.transfer(account, another, 1).status == 201
        assert payer.post("/api/accounts/create", {"currency": "INR"}).status == 201

    def of(collection: str) -> list[tuple[Any, Any]]:
        """Return the session and the number of the block of each read or insert in a collection."""
        inside = [each["command"] for each in sent if each["ns"] == f"{database.name}.{collection}"]
        return [(command["lsid"], command.get("txnNumber")) for command in inside]

    # The state before a posting, and the time of an account's first entry.
    assert of("schema") == of("ledger_entries")
    assert len(of("schema")) == 2
    assert None not in {number for _, number in of("schema")}
