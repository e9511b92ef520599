"""Moving money through the API: the answers, the records, and who may see them."""

import re
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from app import ledger
from app.acts import Act
from app.ledger.commands import ChangeStatus
from app.ledger.records import AccountStatus, treasury_id
from app.money import AMOUNT_MAX
from app.mongo import Document
from tests.clients import Answer
from tests.people import Bank, Person, new_key

TRANSACTION_MEMBERS = {
    "id", "kind", "status", "fromAccount", "toAccount", "amount", "heldAmount", "currency", "description", "metadata",
    "idempotencyKey", "failure", "createdAt", "completedAt", "reverses", "reversedBy", "expiresAt",
}  # fmt: skip
PROBLEM_MEMBERS = {"type", "title", "status", "detail", "code", "requestId"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def without_request_id(answer: Answer) -> dict[str, Any]:
    return {name: value for name, value in answer.body.items() if name != "requestId"}


def freeze(account: str) -> None:
    command = ChangeStatus(account=ObjectId(account), status=AccountStatus.FROZEN, act=Act("bank", "Suspicion"))
    ledger.post([command])[0].raise_error()


def seen_by(person: Person, transaction_id: str) -> dict[str, Any]:
    answer = person.get(f"/api/transactions/{transaction_id}")
    assert (answer.status, set(answer.body)) == (200, {"transaction"})
    transaction: dict[str, Any] = answer.body["transaction"]
    return transaction


def test_a_transfer_moves_money_and_answers_its_record(bank: Bank) -> None:
    payer, from_account = bank.customer(1_000)
    payee, to_account = bank.customer()

    answer = payer.transfer(from_account, to_account, 400, "rent-1", description="Rent", metadata={"invoice": "7"})

    assert answer.status == 201
    assert set(answer.body) == {"message", "transaction"}
    transaction = answer.body["transaction"]
    assert set(transaction) == TRANSACTION_MEMBERS
    assert (transaction["kind"], transaction["status"], transaction["currency"]) == ("TRANSFER", "COMPLETED", "INR")
    assert (transaction["fromAccount"], transaction["toAccount"]) == (from_account, to_account)
    assert (transaction["amount"], transaction["heldAmount"]) == (400, None)
    assert (transaction["description"], transaction["metadata"]) == ("Rent", {"invoice": "7"})
    assert transaction["idempotencyKey"] == "rent-1"
    assert re.fullmatch(r"[0-9a-f]{24}", transaction["id"])
    assert TIME.fullmatch(transaction["createdAt"])
    assert transaction["completedAt"] == transaction["createdAt"]
    assert [transaction[name] for name in ("failure", "reverses", "reversedBy", "expiresAt")] == [None] * 4
    assert payer.balance(from_account) == 600
    assert payee.balance(to_account) == 400


def test_description_and_metadata_may_be_left_out(bank: Bank) -> None:
    payer, from_account = bank.customer(1)
    _, to_account = bank.customer()

    transaction = payer.transfer(from_account, to_account, 1).body["transaction"]

    assert (transaction["description"], transaction["metadata"]) == (None, None)


@pytest.mark.parametrize("amount", [1, 500, AMOUNT_MAX - 1, AMOUNT_MAX])
def test_every_amount_moves_exactly(bank: Bank, amount: int) -> None:
    payer, from_account = bank.customer(amount)
    payee, to_account = bank.customer()

    answer = payer.transfer(from_account, to_account, amount)

    assert answer.status == 201
    assert answer.body["transaction"]["amount"] == amount
    assert (payer.balance(from_account), payee.balance(to_account)) == (0, amount)


def test_money_moves_between_accounts_of_one_user(bank: Bank) -> None:
    person, first = bank.customer(100)
    second = person.open_account()

    assert person.transfer(first, second, 60).status == 201
    assert (person.balance(first), person.balance(second)) == (40, 60)


def test_a_transfer_is_a_debit_and_a_credit_of_the_same_amount(bank: Bank, database: Database[Document]) -> None:
    payer, from_account = bank.customer(100)
    _, to_account = bank.customer()

    transaction = payer.transfer(from_account, to_account, 60).body["transaction"]

    entries = list(database.ledger_entries.find({"transaction": ObjectId(transaction["id"])}))
    assert {(str(entry["account"]), entry["type"], entry["amount"]) for entry in entries} == {
        (from_account, "DEBIT", 60),
        (to_account, "CREDIT", 60),
    }


def test_more_than_is_available_is_declined_and_recorded_as_failed(bank: Bank) -> None:
    payer, from_account = bank.customer(100)
    payee, to_account = bank.customer()

    answer = payer.transfer(from_account, to_account, 101, "too-much")

    assert (answer.status, answer.code) == (422, "insufficient_funds")
    assert set(answer.body) == PROBLEM_MEMBERS | {"transactionId"}
    transaction = seen_by(payer, answer.body["transactionId"])
    assert set(transaction) == TRANSACTION_MEMBERS
    assert (transaction["status"], transaction["amount"], transaction["completedAt"]) == ("FAILED", 101, None)
    assert transaction["failure"] == {"code": "insufficient_funds", "detail": answer.body["detail"]}
    assert (payer.balance(from_account), payee.balance(to_account)) == (100, 0)


def test_a_frozen_payer_is_declined_and_recorded_as_failed(bank: Bank) -> None:
    payer, from_account = bank.customer(100)
    _, to_account = bank.customer()
    freeze(from_account)

    answer = payer.transfer(from_account, to_account, 50)

    assert (answer.status, answer.code) == (422, "account_not_active")
    assert seen_by(payer, answer.body["transactionId"])["failure"]["code"] == "account_not_active"
    assert payer.balance(from_account) == 100


def test_a_frozen_payee_is_declined_without_saying_what_it_is(bank: Bank) -> None:
    payer, from_account = bank.customer(100)
    _, to_account = bank.customer()
    freeze(to_account)

    answer = payer.transfer(from_account, to_account, 50)

    assert (answer.status, answer.code) == (422, "account_not_active")
    assert b"FROZEN" not in answer.content
    assert payer.balance(from_account) == 100


def test_no_balance_passes_the_limit(bank: Bank) -> None:
    person, account = bank.customer(AMOUNT_MAX)
    body = {"toAccount": account, "amount": 1, "idempotencyKey": new_key()}

    answer = bank.system.post("/api/transactions/initial-funds", body)

    assert (answer.status, answer.code) == (422, "balance_limit_exceeded")
    assert seen_by(bank.system, answer.body["transactionId"])["status"] == "FAILED"
    assert person.balance(account) == AMOUNT_MAX


def test_no_treasury_issues_more_than_the_limit(bank: Bank) -> None:
    bank.customer(AMOUNT_MAX)
    person, account = bank.customer()
    body = {"toAccount": account, "amount": 1, "idempotencyKey": new_key()}

    answer = bank.system.post("/api/transactions/initial-funds", body)

    assert (answer.status, answer.code) == (422, "balance_limit_exceeded")
    assert person.balance(account) == 0


def test_accounts_in_different_currencies_do_not_trade(bank: Bank, database: Database[Document]) -> None:
    payer, rupees = bank.customer(100, "INR")
    _, euros = bank.customer(0, "EUR")
    recorded = database.transactions.count_documents({})

    answer = payer.transfer(rupees, euros, 50)

    assert (answer.status, answer.code) == (422, "currency_mismatch")
    assert set(answer.body) == PROBLEM_MEMBERS
    assert database.transactions.count_documents({}) == recorded


def test_an_account_does_not_pay_itself(bank: Bank) -> None:
    payer, account = bank.customer(100)

    answer = payer.transfer(account, account.upper(), 50)

    assert (answer.status, answer.code) == (422, "same_account")
    assert payer.balance(account) == 100


def test_only_ones_own_account_pays(bank: Bank, database: Database[Document]) -> None:
    owner, foreign = bank.customer(100)
    thief, account = bank.customer()
    recorded = database.transactions.count_documents({})

    missing = thief.transfer(str(ObjectId()), account, 50)

    assert (missing.status, missing.code) == (404, "account_not_found")
    for payer in (foreign, str(treasury_id("INR")), "0" * 24):
        assert without_request_id(thief.transfer(payer, account, 50)) == without_request_id(missing)
    for payer in (foreign, str(treasury_id("INR"))):
        assert without_request_id(bank.system.transfer(payer, account, 50)) == without_request_id(missing)
    assert (owner.balance(foreign), thief.balance(account)) == (100, 0)
    assert database.transactions.count_documents({}) == recorded


def test_the_payee_must_be_a_customers_account(bank: Bank) -> None:
    payer, account = bank.customer(100)

    missing = payer.transfer(account, str(ObjectId()), 50)
    treasury = payer.transfer(account, str(treasury_id("INR")), 50)

    assert (missing.status, missing.code) == (404, "account_not_found")
    assert without_request_id(treasury) == without_request_id(missing)
    assert payer.balance(account) == 100


def test_initial_funds_come_from_the_currencys_treasury(bank: Bank, database: Database[Document]) -> None:
    person, account = bank.customer(0, "EUR")
    body = {"toAccount": account, "amount": 750, "idempotencyKey": "opening-1", "description": "Opening balance"}

    answer = bank.system.post("/api/transactions/initial-funds", body)

    assert answer.status == 201
    assert set(answer.body) == {"message", "transaction"}
    transaction = answer.body["transaction"]
    assert set(transaction) == TRANSACTION_MEMBERS
    assert (transaction["kind"], transaction["status"], transaction["currency"]) == ("FUNDING", "COMPLETED", "EUR")
    assert (transaction["fromAccount"], transaction["toAccount"]) == (str(treasury_id("EUR")), account)
    assert (transaction["amount"], transaction["description"]) == (750, "Opening balance")
    assert person.balance(account) == 750
    head = database.ledger_entries.find_one({"account": treasury_id("EUR")}, sort=[("sequence", -1)])
    assert head is not None
    assert head["balance"] == -750


@pytest.mark.parametrize("role", ["USER", "ADMIN"])
def test_initial_funds_are_the_systems_to_give(bank: Bank, database: Database[Document], role: str) -> None:
    person, account = bank.customer()
    database.users.update_one({"_id": ObjectId(person.id)}, {"$set": {"role": role}})
    body = {"toAccount": account, "amount": 750, "idempotencyKey": "gift"}

    answer = person.post("/api/transactions/initial-funds", body)

    assert (answer.status, answer.code) == (403, "forbidden")
    assert person.balance(account) == 0


def test_a_role_counts_as_the_database_has_it_now(bank: Bank, database: Database[Document]) -> None:
    _, account = bank.customer()
    database.users.update_one({"_id": ObjectId(bank.system.id)}, {"$set": {"role": "USER"}})
    body = {"toAccount": account, "amount": 750, "idempotencyKey": "gift"}

    assert bank.system.post("/api/transactions/initial-funds", body).code == "forbidden"


def test_initial_funds_go_to_customers_only(bank: Bank) -> None:
    bank.customer()

    def fund(account: str) -> Answer:
        body = {"toAccount": account, "amount": 750, "idempotencyKey": new_key()}
        return bank.system.post("/api/transactions/initial-funds", body)

    missing = fund(str(ObjectId()))

    assert (missing.status, missing.code) == (404, "account_not_found")
    assert without_request_id(fund(str(treasury_id("INR")))) == without_request_id(missing)


def test_either_party_sees_a_transaction_and_its_initiator_sees_the_key(bank: Bank) -> None:
    payer, from_account = bank.customer(100)
    payee, to_account = bank.customer()
    posted = payer.transfer(from_account, to_account, 60, "rent-1", metadata={"invoice": "7"}).body["transaction"]

    assert seen_by(payer, posted["id"]) == posted
    assert seen_by(payee, posted["id"]) == {**posted, "idempotencyKey": None}


def test_the_payee_of_a_funding_sees_it_without_the_key(bank: Bank) -> None:
    person, account = bank.customer()
    posted = bank.fund(account, 100).body["transaction"]

    assert seen_by(person, posted["id"]) == {**posted, "idempotencyKey": None}


def test_to_anybody_else_a_transaction_is_missing(bank: Bank) -> None:
    payer, from_account = bank.customer(100)
    _, to_account = bank.customer()
    stranger, _ = bank.customer(100)
    foreign = payer.transfer(from_account, to_account, 60).body["transaction"]["id"]

    missing = stranger.get(f"/api/transactions/{ObjectId()}")

    assert (missing.status, missing.code) == (404, "transaction_not_found")
    for transaction in (foreign, "no-id", "0" * 23, "0" * 25, "%00", "%24ne", "creat"):
        answer = stranger.get(f"/api/transactions/{transaction}")
        assert answer.status == 404, transaction
        assert without_request_id(answer) == without_request_id(missing), transaction
