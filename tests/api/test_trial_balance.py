"""The trial balance: what it adds up, and how it reveals tampering."""

from typing import Any

from bson import Int64, ObjectId
from pymongo.database import Database

from app.money import AMOUNT_MAX
from app.mongo import Document
from tests.people import Bank


def trial_balance(bank: Bank) -> dict[str, Any]:
    answer = bank.system.get("/api/admin/trial-balance")
    assert answer.status == 200, answer.content
    body: dict[str, Any] = answer.body
    return body


def an_entry(database: Database[Document], of: str, **changes: Any) -> Document:
    """Return the newest entry of an account, as a forger would go on from it."""
    (newest,) = database.ledger_entries.find({"account": ObjectId(of)}).sort("sequence", -1).limit(1)
    del newest["_id"]
    return {**newest, "sequence": Int64(newest["sequence"] + 1), **changes}


def test_an_empty_bank_balances(bank: Bank) -> None:
    assert trial_balance(bank) == {"currencies": [], "balanced": True}


def test_every_currency_is_added_up(bank: Bank) -> None:
    payer, from_account = bank.customer(1_000)
    _, to_account = bank.customer(500)
    bank.customer(70, "EUR")
    bank.customer(0, "JPY")
    transaction = payer.transfer(from_account, to_account, 300).body["transaction"]["id"]
    payer.transfer(from_account, to_account, 5_000)
    bank.system.post(f"/api/transactions/{transaction}/reverse", {"idempotencyKey": "k", "reason": "x"})

    assert trial_balance(bank) == {
        "currencies": [
            {
                "currency": "EUR",
                "totalDebits": 70,
                "totalCredits": 70,
                "treasuryBalance": -70,
                "customerBalance": 70,
                "accounts": 2,
            },
            {
                "currency": "INR",
                "totalDebits": 2_100,
                "totalCredits": 2_100,
                "treasuryBalance": -1_500,
                "customerBalance": 1_500,
                "accounts": 3,
            },
            {
                "currency": "JPY",
                "totalDebits": 0,
                "totalCredits": 0,
                "treasuryBalance": 0,
                "customerBalance": 0,
                "accounts": 2,
            },
        ],
        "balanced": True,
    }


def test_money_out_of_nowhere_is_shown(bank: Bank, database: Database[Document]) -> None:
    _, account = bank.customer(100)
    forged = an_entry(database, account, type="CREDIT", amount=Int64(900), balance=Int64(1_000), transaction=ObjectId())
    database.ledger_entries.insert_one(forged)

    found = trial_balance(bank)

    assert found["balanced"] is False
    assert (found["currencies"][0]["totalDebits"], found["currencies"][0]["totalCredits"]) == (100, 1_000)


def test_a_changed_amount_is_shown_though_the_balances_were_left(bank: Bank, database: Database[Document]) -> None:
    bank.customer(100)
    database.ledger_entries.update_one({"type": "CREDIT"}, {"$set": {"amount": Int64(99)}})

    assert trial_balance(bank)["balanced"] is False


def test_a_changed_balance_is_shown_though_the_amounts_were_left(bank: Bank, database: Database[Document]) -> None:
    bank.customer(100)
    database.ledger_entries.update_one({"type": "CREDIT"}, {"$set": {"balance": Int64(101)}})

    assert trial_balance(bank)["balanced"] is False


def test_entries_of_no_account_are_shown(bank: Bank, database: Database[Document]) -> None:
    _, account = bank.customer(100)
    for nowhere in (ObjectId("0" * 23 + "1"), ObjectId("f" * 24)):
        forged = an_entry(database, account, account=nowhere, type="CREDIT", amount=Int64(5), balance=Int64(5))
        database.ledger_entries.insert_one(forged)

    found = trial_balance(bank)

    assert found["balanced"] is False
    assert [sums["currency"] for sums in found["currencies"]] == ["INR", "XXX"]
    assert found["currencies"][1]["totalCredits"] == 10


def test_sums_beyond_64_bits_are_exact(bank: Bank, database: Database[Document]) -> None:
    _, account = bank.customer(1)
    turnover = 2_100
    entry = an_entry(database, account, type="CREDIT", amount=Int64(AMOUNT_MAX))
    database.ledger_entries.insert_many(
        [{**entry, "_id": ObjectId(), "sequence": Int64(10 + n)} for n in range(turnover)]
    )

    (sums,) = trial_balance(bank)["currencies"]

    assert sums["totalCredits"] == turnover * AMOUNT_MAX + 1 > 2**64
