"""Reversals through the API: what they move, which transactions they link, what is refused, and what they record."""

from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from app.mongo import Document
from tests.clients import Answer
from tests.people import Bank, Person, new_key
from tests.proof import assert_ledger_is_whole


def reverse(who: Person, transaction: str, reason: str = "Paid twice", key: str | None = None) -> Answer:
    body = {"idempotencyKey": key or new_key(), "reason": reason}
    return who.post(f"/api/transactions/{transaction}/reverse", body)


def a_payment(bank: Bank, amount: int = 400) -> tuple[Person, str, Person, str, str]:
    payer, from_account = bank.customer(1_000)
    payee, to_account = bank.customer()
    transaction = payer.transfer(from_account, to_account, amount).body["transaction"]["id"]
    return payer, from_account, payee, to_account, transaction


def audit_records(bank: Bank, subject: str) -> list[Document]:
    records: list[Document] = bank.system.get(f"/api/admin/audit-log?subject={subject}").body["records"]
    return records


@pytest.mark.parametrize("role", ["ADMIN", "SYSTEM"])
def test_a_reversal_moves_the_money_back_and_both_know_of_each_other(
    bank: Bank, database: Database[Document], role: str
) -> None:
    payer, from_account, payee, to_account, transaction = a_payment(bank)
    staff = bank.administrator() if role == "ADMIN" else bank.system

    answer = reverse(staff, transaction)

    assert answer.status == 201
    reversal = answer.body["transaction"]
    assert (reversal["kind"], reversal["status"], reversal["amount"]) == ("REVERSAL", "COMPLETED", 400)
    assert (reversal["fromAccount"], reversal["toAccount"]) == (to_account, from_account)
    assert (reversal["reverses"], reversal["metadata"]) == (transaction, {"reason": "Paid twice"})
    original = payer.get(f"/api/transactions/{transaction}").body["transaction"]
    assert (original["status"], original["reversedBy"]) == ("REVERSED", reversal["id"])
    assert payee.get(f"/api/transactions/{reversal['id']}").body["transaction"]["idempotencyKey"] is None
    assert (payer.balance(from_account), payee.balance(to_account)) == (1_000, 0)
    types = [
        [entry["type"] for entry in database.ledger_entries.find({"transaction": ObjectId(reversal["id"])})],
    ]
    assert sorted(types[0]) == ["CREDIT", "DEBIT"]
    assert_ledger_is_whole(database)


def test_the_audit_log_keeps_one_record_of_a_reversal(bank: Bank) -> None:
    *_, transaction = a_payment(bank)
    staff = bank.administrator()

    reverse(staff, transaction, key="once")
    reverse(staff, transaction, key="once")
    reverse(staff, transaction)

    (record,) = audit_records(bank, transaction)
    assert (record["actor"], record["action"], record["reason"]) == (staff.id, "transaction_reversed", "Paid twice")
    assert (record["before"], record["after"]) == ({"status": "COMPLETED"}, {"status": "REVERSED"})


def test_initial_funds_are_reversed_out_of_the_account(bank: Bank) -> None:
    owner, account = bank.customer()
    funding = bank.fund(account, 500).body["transaction"]["id"]

    assert reverse(bank.system, funding).status == 201
    assert owner.balance(account) == 0
    again = reverse(bank.system, funding)
    assert (again.status, again.code) == (409, "already_reversed")


def test_a_repeat_gets_the_first_outcome_and_another_request_under_the_key_none(bank: Bank) -> None:
    payer, from_account, *_, transaction = a_payment(bank)
    other = payer.transfer(from_account, a_payment(bank)[1], 1).body["transaction"]["id"]
    first = reverse(bank.system, transaction, key="r-1")

    repeat = reverse(bank.system, transaction, key="r-1")
    reused = reverse(bank.system, transaction, reason="Another", key="r-1")
    elsewhere = reverse(bank.system, other, key="r-1")

    assert (repeat.status, repeat.body) == (200, first.body)
    assert repeat.headers["idempotency-replayed"] == "true"
    assert (reused.code, sorted(reused.body["errors"])) == ("idempotency_key_reused", ["reason"])
    assert (elsewhere.code, sorted(elsewhere.body["errors"])) == ("idempotency_key_reused", ["id"])


def test_the_key_may_come_as_a_header(bank: Bank) -> None:
    *_, transaction = a_payment(bank)

    answer = bank.system.post(
        f"/api/transactions/{transaction}/reverse", {"reason": "x"}, headers={"Idempotency-Key": "in-header"}
    )

    assert (answer.status, answer.body["transaction"]["idempotencyKey"]) == (201, "in-header")


def test_money_that_is_gone_is_declined_and_comes_back_under_a_new_key(bank: Bank) -> None:
    payer, from_account, payee, to_account, transaction = a_payment(bank)
    payee.transfer(to_account, from_account, 1)

    declined = reverse(bank.system, transaction, key="first")

    assert (declined.status, declined.code) == (422, "insufficient_funds")
    record = bank.system.get(f"/api/transactions/{declined.body['transactionId']}").body["transaction"]
    assert (record["kind"], record["status"], record["reverses"]) == ("REVERSAL", "FAILED", transaction)
    assert payer.get(f"/api/transactions/{transaction}").body["transaction"]["status"] == "COMPLETED"
    assert audit_records(bank, transaction) == []
    repeat = reverse(bank.system, transaction, key="first")
    assert (repeat.status, repeat.code, repeat.headers["idempotency-replayed"]) == (422, "insufficient_funds", "true")
    bank.fund(to_account, 1)
    assert reverse(bank.system, transaction).status == 201


def test_a_decline_does_not_tell_one_side_what_the_other_has(bank: Bank) -> None:
    payer, _, payee, to_account, transaction = a_payment(bank, 777)
    payee.transfer(to_account, a_payment(bank)[1], 123)

    declined = reverse(bank.system, transaction)

    seen = payer.get(f"/api/transactions/{declined.body['transactionId']}")
    assert (seen.status, seen.code) == (404, "transaction_not_found")
    assert b"654" not in seen.content


@pytest.mark.parametrize("side", ["payer", "payee"])
def test_an_account_that_is_not_active_is_named_as_the_reason(bank: Bank, side: str) -> None:
    _, from_account, _, to_account, transaction = a_payment(bank)
    frozen = from_account if side == "payer" else to_account
    bank.system.patch(f"/api/admin/accounts/{frozen}/status", {"status": "FROZEN", "reason": "x"})

    answer = reverse(bank.system, transaction)

    assert (answer.status, answer.code) == (422, "account_not_active")


def test_what_is_a_reversal_or_was_declined_is_not_reversible(bank: Bank) -> None:
    payer, from_account, _, to_account, transaction = a_payment(bank)
    declined = payer.transfer(from_account, to_account, 10_000).body["transactionId"]
    reversal = reverse(bank.system, transaction).body["transaction"]["id"]

    for refused in (declined, reversal):
        answer = reverse(bank.system, refused)
        assert (answer.status, answer.code) == (409, "not_reversible")


def test_a_hold_is_reversed_once_captured_and_by_what_was_captured(bank: Bank, database: Database[Document]) -> None:
    payer, from_account = bank.customer(1_000)
    payee, to_account = bank.customer()
    holds = []
    for _ in range(3):
        body = {"fromAccount": from_account, "toAccount": to_account, "amount": 300, "idempotencyKey": new_key()}
        holds.append(payer.post("/api/transactions/hold", body).body["transaction"]["id"])
    captured, voided, pending = holds
    payee.post(f"/api/transactions/{captured}/capture", {"amount": 120, "idempotencyKey": new_key()})
    payee.post(f"/api/transactions/{voided}/void", {"idempotencyKey": new_key()})

    assert [reverse(bank.system, hold).code for hold in (pending, voided)] == ["not_reversible"] * 2
    assert reverse(bank.system, captured).body["transaction"]["amount"] == 120
    assert (payer.balance(from_account), payee.balance(to_account)) == (1_000, 0)
    assert_ledger_is_whole(database)


def test_what_does_not_exist_is_not_found(bank: Bank) -> None:
    for unknown in ("0" * 24, "nonsense", str(ObjectId())):
        answer = reverse(bank.system, unknown)
        assert (answer.status, answer.code) == (404, "transaction_not_found")


def test_a_user_reverses_nothing_not_even_their_own(bank: Bank) -> None:
    payer, from_account, *_, transaction = a_payment(bank)

    assert reverse(payer, transaction).code == "forbidden"
    assert bank.anonymous.post(f"/api/transactions/{transaction}/reverse", {}).status == 401
    assert payer.balance(from_account) == 600


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": "x"},
        {"idempotencyKey": "k"},
        {"idempotencyKey": "k", "reason": ""},
        {"idempotencyKey": "k", "reason": "x" * 201},
        {"idempotencyKey": "k", "reason": "a\nb"},
        {"idempotencyKey": "k", "reason": "x", "amount": 5},
    ],
)
def test_a_reversal_needs_a_key_and_a_reason(bank: Bank, body: dict[str, Any]) -> None:
    *_, transaction = a_payment(bank)

    assert bank.system.post(f"/api/transactions/{transaction}/reverse", body).code == "validation_failed"


def test_a_dry_run_of_a_reversal_reverses_nothing(bank: Bank) -> None:
    payer, from_account, payee, to_account, transaction = a_payment(bank)
    body = {"idempotencyKey": "k", "reason": "Paid twice"}

    answer = bank.system.post(f"/api/transactions/{transaction}/reverse?dryRun=true", body)

    assert (answer.status, answer.body["dryRun"], answer.body["transaction"]["id"]) == (200, True, "0" * 24)
    assert (payer.balance(from_account), payee.balance(to_account)) == (600, 400)
    assert audit_records(bank, transaction) == []
    assert reverse(bank.system, transaction, key="k").status == 201
