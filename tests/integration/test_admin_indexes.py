"""The indexes that keep administrators' lists cheap, and the rights that keep the audit log honest."""

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database
from pymongo.errors import OperationFailure

from app import mongo
from app.admin import repository
from app.admin.service import search_for
from app.mongo import Document
from app.mongo.lists import Position, newest_first
from tests.people import Bank

AT = datetime(2026, 11, 1, tzinfo=UTC)


def winning_stages(plan: Any) -> set[str]:
    """Return the names of all stages in a plan."""
    if isinstance(plan, dict):
        stages = {plan["stage"]} if "stage" in plan else set()
        return stages.union(*(winning_stages(value) for value in plan.values()))
    return set().union(*(winning_stages(value) for value in plan)) if isinstance(plan, list) else set()


def explain(database: Database[Document], collection: str, query: Document, order: Any) -> Any:
    return database[collection].find(query).sort(order).limit(51).explain()


@pytest.mark.parametrize("text", ["as", "a.b*c+(d)[e]", "user-7@fin", "ß ö", "a" * 24])
@pytest.mark.parametrize("after", [None, ["id"], ["name", "asha", ObjectId("a" * 24)], ["email", "asha@fincore"]])
def test_a_search_reads_ranges_of_an_index_and_sorts_nothing(
    database: Database[Document], text: str, after: list[Any] | None
) -> None:
    database.users.insert_many(
        {
            "_id": ObjectId(),
            "email": f"user-{n}@fincore.example",
            "name": "n",
            "name_key": f"user {n}",
            "password_hash": "x",
            "role": "USER",
            "created_at": ObjectId().generation_time,
        }
        for n in range(200)
    )

    for query, order in repository.search_ranges(search_for(text), after):
        explained = explain(database, "users", query, order)
        stages = winning_stages(explained["queryPlanner"]["winningPlan"])
        assert not stages & {"COLLSCAN", "SORT"}, query
        assert explained["executionStats"]["totalKeysExamined"] <= 15, query


@pytest.mark.parametrize(
    ("collection", "query"),
    [
        ("users", {}),
        ("accounts", {}),
        ("accounts", {"user": ObjectId()}),
        ("accounts", {"status": "FROZEN"}),
        ("accounts", {"currency": "EUR", "kind": "CUSTOMER"}),
        ("audit_log", {}),
        ("audit_log", {"subject": ObjectId()}),
        ("audit_log", {"actor": "cli:root", "subject": ObjectId()}),
    ],
)
@pytest.mark.parametrize("after", [None, (AT, ObjectId())])
def test_a_page_is_a_seek_in_an_index(
    database: Database[Document], collection: str, query: Document, after: Position | None
) -> None:
    time = "at" if collection == "audit_log" else "created_at"
    among, _ = repository._divided(query, ("user", "status", "currency", "kind", "subject", "actor"), time, after)
    explained = explain(database, collection, among, newest_first(time))

    stages = winning_stages(explained["queryPlanner"]["winningPlan"])
    assert "IXSCAN" in stages
    assert not stages & {"COLLSCAN", "SORT"}


def test_the_application_can_add_to_the_audit_log_and_never_change_it(bank: Bank, database: Database[Document]) -> None:
    bank.administrator()
    audit_log = mongo.database().audit_log

    for change in (
        lambda: audit_log.update_one({}, {"$set": {"actor": "nobody"}}),
        lambda: audit_log.delete_many({}),
        lambda: audit_log.drop(),
    ):
        with pytest.raises(OperationFailure) as refused:
            change()
        assert refused.value.code == 13
    assert database.audit_log.count_documents({"actor": ObjectId(bank.system.id)}) == 1
