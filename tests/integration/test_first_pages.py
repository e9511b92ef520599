"""First pages of histories that share a query are the same as pages that are read alone, and cost no more."""

from collections.abc import Callable
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from app.http.compiled import dumper_of
from app.ledger.documents import members_of
from app.mongo import Document
from app.transactions import pages
from app.transactions.repository import first_page
from app.transactions.schemas import TransactionSchema
from tests.asked import commands
from tests.people import Bank, Person
from tests.threads import at_once

DECLINED = 4
SHOW = dumper_of(TransactionSchema())


@pytest.fixture
def customers(bank: Bank) -> list[tuple[Person, list[str]]]:
    """Two who pay each other and themselves, some of it in vain, and one who has nothing to show."""
    asha, salary = bank.customer(1_000)
    savings = asha.open_account()
    ravi, ravis = bank.customer(500)
    for n in range(DECLINED):
        asha.transfer(salary, ravis, 10 + n)
        assert asha.transfer(salary, ravis, 5_000 + n).status == 422
        ravi.transfer(ravis, savings, 20 + n)
    assert ravi.transfer(ravis, salary, 6_000).status == 422
    asha.transfer(salary, savings, 30)
    return [(asha, [salary]), (asha, [salary, savings]), (ravi, [ravis]), bank_customer(bank)]


def bank_customer(bank: Bank) -> tuple[Person, list[str]]:
    person, account = bank.customer()
    return person, [account]


def asked(customers: list[tuple[Person, list[str]]], limit: int) -> list[pages.Page]:
    return [
        first_page([ObjectId(account) for account in accounts], user=ObjectId(person.id), limit=limit)
        for person, accounts in customers
    ]


def shown(found: list[Document], limit: int) -> list[dict[str, Any]]:
    return [SHOW(members_of(document)) for document in found[:limit]]


def test_pages_that_share_a_query_are_the_pages_alone(customers: list[tuple[Person, list[str]]]) -> None:
    # With few items a page, what was declined does not fit, and some page must be read again by itself.
    for limit in (1, 2, 3, 5, 50):
        alone = [shown(pages.find([page])[page], limit) for page in asked(customers, limit)]
        assert alone[3] == []
        together = asked(customers, limit)
        found = pages.find(together)
        assert [shown(found.get(page) or pages.find([page])[page], limit) for page in together] == alone


def test_a_shared_query_reads_the_pages_and_nothing_else(
    bank: Bank, customers: list[tuple[Person, list[str]]], database: Database[Document]
) -> None:
    _, (salary,) = customers[0]
    stranger, poor = bank.customer()
    vain = {"fromAccount": poor, "toAccount": salary, "amount": 1}
    batch = {"idempotencyKey": "vain", "atomic": False, "transfers": [vain] * 100}
    assert stranger.post("/api/transactions/batch", batch).status == 201

    together = asked(customers, 50)
    with commands(database) as sent:
        found = pages.find(together)

    (only,) = sent
    assert "COLLSCAN" not in only["planSummary"]
    assert not only.get("hasSortStage")
    count = sum(len(documents) for documents in found.values())
    assert only["docsExamined"] <= count
    # Each walk looks at one key behind its end, in each account.
    assert only["keysExamined"] <= 2 * count + 12


def test_somebody_with_many_declines_makes_nobody_wait_for_the_pages_of_others(
    bank: Bank, customers: list[tuple[Person, list[str]]], database: Database[Document]
) -> None:
    person, poor = bank.customer()
    vain = {"fromAccount": poor, "toAccount": customers[0][1][0], "amount": 1}
    batch = {"idempotencyKey": "vain", "atomic": False, "transfers": [vain] * 100}
    assert person.post("/api/transactions/batch", batch).status == 201

    together = asked([*customers, (person, [poor])], 3)
    with commands(database) as sent:
        found = pages.find(together)

    # One query for all. Each of those whose page reaches further reads it alone, in their own thread.
    assert len(sent) == 1
    assert [page in found for page in together] == [False, False, False, False, True]
    assert shown(pages.read(together[0]), 3) == shown(pages.find([together[0]])[together[0]], 3)


def test_a_record_that_was_written_over_spoils_no_page_but_its_owners(
    customers: list[tuple[Person, list[str]]], admin_database: Database[Document]
) -> None:
    _, (ravis,) = customers[2]
    alone = [pages.find([page])[page] for page in asked(customers, 50)]
    forged = {"from_account": ObjectId(ravis), "to_account": {"$ne": ObjectId(customers[0][1][0])}}
    admin_database.command(
        "update",
        "transactions",
        updates=[{"q": forged, "u": {"$set": {"from_account": b"x"}}}],
        bypassDocumentValidation=True,
    )

    pages_of = asked([customers[0], customers[2], customers[3]], 50)
    read = [shown(pages.find(pages_of).get(page) or pages.read(page), 50) for page in (pages_of[0], pages_of[2])]

    assert read == [shown(alone[0], 50), shown(alone[3], 50)]


@pytest.mark.parametrize("limit", [3, 8, 50])
def test_whoever_asks_at_the_same_moment_gets_their_own_page_and_cursor(
    customers: list[tuple[Person, list[str]]], limit: int
) -> None:
    paths = [f"/api/transactions?account={accounts[0]}&limit={limit}" for _, accounts in customers]
    alone = [person.get(path).body for (person, _), path in zip(customers, paths, strict=True)]

    def asking(person: Person, path: str) -> Callable[[], Document]:
        return lambda: person.get(path).body

    asks = [asking(person, path) for (person, _), path in zip(customers, paths, strict=True)] * 4
    assert at_once(asks) == alone * 4
