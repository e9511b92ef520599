"""Only its initiator and the bank see a declined transaction. Ids can be guessed, so knowing one opens nothing."""

import pytest
from bson import ObjectId

from tests.clients import Answer
from tests.people import Bank, Person, new_key


def without_request_id(answer: Answer) -> tuple[int, dict[str, object]]:
    return answer.status, {name: value for name, value in answer.body.items() if name != "requestId"}


def declined_by(payer: Person, call: str, from_account: str, to_account: str) -> str:
    body = {"fromAccount": from_account, "toAccount": to_account, "amount": 9_000, "idempotencyKey": new_key()}
    answer = payer.post(f"/api/transactions/{call}", body)
    assert (answer.status, answer.code) == (422, "insufficient_funds")
    transaction: str = answer.body["transactionId"]
    return transaction


@pytest.mark.parametrize("call", ["create", "hold"])
def test_a_declined_transaction_and_its_receipt_are_missing_to_the_payee(bank: Bank, call: str) -> None:
    payer, from_account = bank.customer(8_765)
    payee, to_account = bank.customer()
    declined = declined_by(payer, call, from_account, to_account)

    for path in ("", "/receipt"):
        missing = payee.get(f"/api/transactions/{ObjectId()}{path}")
        assert (missing.status, missing.code) == (404, "transaction_not_found")
        seen = payee.get(f"/api/transactions/{declined}{path}")
        assert without_request_id(seen) == without_request_id(missing)
        assert payer.get(f"/api/transactions/{declined}{path}").status == 200
        assert bank.system.get(f"/api/transactions/{declined}{path}").status == 200


@pytest.mark.parametrize("act", ["capture", "void"])
def test_a_declined_hold_is_missing_to_a_payee_who_would_settle_it(bank: Bank, act: str) -> None:
    payer, from_account = bank.customer(100)
    payee, to_account = bank.customer()
    declined = declined_by(payer, "hold", from_account, to_account)

    def settled(person: Person, transaction: str) -> Answer:
        return person.post(f"/api/transactions/{transaction}/{act}", {"idempotencyKey": new_key()})

    missing = settled(payee, str(ObjectId()))
    assert (missing.status, missing.code) == (404, "transaction_not_found")
    assert without_request_id(settled(payee, declined)) == without_request_id(missing)
    assert settled(payer, declined).code == "forbidden"
    assert settled(bank.system, declined).code == "hold_not_pending"


def test_a_reversal_that_was_declined_is_missing_to_both_parties(bank: Bank) -> None:
    payer, from_account = bank.customer(100)
    payee, to_account = bank.customer()
    sent = payer.transfer(from_account, to_account, 100).body["transaction"]["id"]
    payee.transfer(to_account, bank.customer()[1], 100)
    refused = bank.system.post(
        f"/api/transactions/{sent}/reverse", {"idempotencyKey": new_key(), "reason": "A mistake"}
    )
    assert (refused.status, refused.code) == (422, "insufficient_funds")

    for person in (payer, payee):
        for path in ("", "/receipt"):
            answer = person.get(f"/api/transactions/{refused.body['transactionId']}{path}")
            assert (answer.status, answer.code) == (404, "transaction_not_found")
    assert bank.system.get(f"/api/transactions/{refused.body['transactionId']}").status == 200


def test_a_decline_between_ones_own_accounts_is_seen(bank: Bank) -> None:
    asha, account = bank.customer(100)
    declined = declined_by(asha, "create", account, asha.open_account())

    assert asha.get(f"/api/transactions/{declined}").body["transaction"]["failure"]["code"] == "insufficient_funds"
