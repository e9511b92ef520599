"""Batches: many transfers in one request, under one key, and dry runs that write nothing."""

from typing import Any

import pytest

from tests.clients import Answer
from tests.people import Bank, Person, new_key

MISSING = "0123456789abcdef01234567"

# The id of nothing: what a dry run shows has no other.
NO_ID = "0" * 24


def item(from_account: str, to_account: str, amount: int, **more: object) -> dict[str, Any]:
    return {"fromAccount": from_account, "toAccount": to_account, "amount": amount, **more}


def send(person: Person, *transfers: dict[str, Any], query: str = "", **more: object) -> Answer:
    body = {"idempotencyKey": new_key(), "transfers": list(transfers), **more}
    return person.post(f"/api/transactions/batch{query}", body)


def test_a_batch_makes_its_transfers_in_order(parties: tuple[Person, str, Person, str]) -> None:
    payer, a, payee, b = parties

    answer = send(payer, item(a, b, 100, description="one"), item(a, b, 200, metadata={"n": "2"}), idempotencyKey="k")

    assert answer.status == 201
    assert list(answer.body) == ["results"]
    results = answer.body["results"]
    assert [(r["index"], r["transaction"]["amount"], r["transaction"]["status"]) for r in results] == [
        (0, 100, "COMPLETED"),
        (1, 200, "COMPLETED"),
    ]
    assert {r["transaction"]["idempotencyKey"] for r in results} == {"k"}
    assert (payer.balance(a), payee.balance(b)) == (700, 300)
    for result in results:
        stored = payee.get(f"/api/transactions/{result['transaction']['id']}").body["transaction"]
        assert stored == {**result["transaction"], "idempotencyKey": None}


def test_a_batch_may_spend_what_an_earlier_item_brought(bank: Bank, parties: tuple[Person, str, Person, str]) -> None:
    payer, a, payee, b = parties
    empty = payer.open_account()

    assert send(payer, item(a, empty, 900), item(empty, b, 900)).status == 201
    assert (payer.balance(a), payer.balance(empty), payee.balance(b)) == (100, 0, 900)


@pytest.mark.parametrize("atomic", [True, False])
def test_a_repeated_batch_answers_the_same_and_moves_nothing(
    atomic: bool, parties: tuple[Person, str, Person, str]
) -> None:
    payer, a, payee, b = parties
    items = [item(a, b, 100), item(a, b, 200)]

    first = send(payer, *items, idempotencyKey="k", atomic=atomic)
    again = send(payer, *items, idempotencyKey="k", atomic=atomic)

    assert (first.status, again.status, again.body) == (201, 200, first.body)
    assert again.headers["idempotency-replayed"] == "true"
    assert payee.balance(b) == 300


def test_another_batch_under_the_key_is_refused(parties: tuple[Person, str, Person, str]) -> None:
    payer, a, payee, b = parties
    send(payer, item(a, b, 100), idempotencyKey="k")

    other = send(payer, item(a, b, 101), idempotencyKey="k")

    assert (other.code, list(other.body["errors"])) == ("idempotency_key_reused", ["transfers"])
    assert payer.transfer(a, b, 100, "k").code == "idempotency_key_reused"
    assert payee.balance(b) == 100


def test_an_atomic_batch_is_all_or_nothing_and_its_refusal_is_kept(parties: tuple[Person, str, Person, str]) -> None:
    payer, a, payee, b = parties
    items = [item(a, b, 600), item(a, b, 600)]

    first = send(payer, *items, idempotencyKey="k")
    payer.transfer(a, b, 1)
    again = send(payer, *items, idempotencyKey="k")

    assert (first.status, first.code, first.body["index"]) == (422, "insufficient_funds", 1)
    assert "transactionId" not in first.body
    assert {**again.body, "requestId": ""} == {**first.body, "requestId": ""}
    assert again.headers["idempotency-replayed"] == "true"
    assert payee.balance(b) == 1


def test_an_atomic_batch_with_a_wrong_item_answers_its_code_and_keeps_the_key(
    bank: Bank, parties: tuple[Person, str, Person, str]
) -> None:
    payer, a, payee, b = parties
    euros = payer.open_account("EUR")
    _, foreign = bank.customer(100)
    for wrong, code in [
        (item(a, MISSING, 1), "account_not_found"),
        (item(foreign, b, 1), "account_not_found"),
        (item(a, a, 1), "same_account"),
        (item(a, euros, 1), "currency_mismatch"),
    ]:
        refused = send(payer, item(a, b, 1), wrong, idempotencyKey="k")
        assert (refused.status, refused.code, refused.body["index"]) == (422, code, 1)
        assert refused.body["status"] == 422
    assert payee.balance(b) == 0
    assert send(payer, item(a, b, 1), idempotencyKey="k").status == 201


def test_a_loose_batch_takes_each_item_on_its_own(parties: tuple[Person, str, Person, str]) -> None:
    payer, a, payee, b = parties
    items = [item(a, b, 600), item(a, b, 600), item(a, MISSING, 1), item(a, b, 400)]

    answer = send(payer, *items, atomic=False, idempotencyKey="k")

    assert answer.status == 201
    results = answer.body["results"]
    assert [r["index"] for r in results] == [0, 1, 2, 3]
    assert ["transaction" in r for r in results] == [True, False, False, True]
    assert [results[n]["problem"]["code"] for n in (1, 2)] == ["insufficient_funds", "account_not_found"]
    assert [results[n]["problem"]["status"] for n in (1, 2)] == [422, 404]
    declined = payer.get(f"/api/transactions/{results[1]['problem']['transactionId']}").body["transaction"]
    assert declined["status"] == "FAILED"
    assert payee.balance(b) == 1_000
    again = send(payer, *items, atomic=False, idempotencyKey="k")
    assert (again.status, again.body) == (200, answer.body)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"transfers": []}, "transfers"),
        ({"transfers": [{}]}, "transfers.0.amount"),
        ({"transfers": {}}, "transfers"),
        ({"atomic": "yes"}, "atomic"),
        ({"atomic": 1.5}, "atomic"),
    ],
)
def test_a_malformed_batch_is_refused(
    more: dict[str, Any], field: str, parties: tuple[Person, str, Person, str]
) -> None:
    payer, a, payee, b = parties

    answer = send(payer, item(a, b, 1), **more)

    assert answer.code == "validation_failed"
    assert field in answer.body["errors"]
    assert payee.balance(b) == 0


def test_a_batch_has_at_most_five_hundred_transfers(parties: tuple[Person, str, Person, str]) -> None:
    payer, a, payee, b = parties

    assert send(payer, *[item(a, b, 1)] * 501).code == "validation_failed"
    assert send(payer, *[item(a, b, 1)] * 500).status == 201
    assert payee.balance(b) == 500


def test_the_record_of_a_batch_is_no_transaction(bank: Bank, parties: tuple[Person, str, Person, str]) -> None:
    payer, a, payee, b = parties
    hold = payer.post("/api/transactions/hold", {**item(a, b, 10), "idempotencyKey": "h"}).body["transaction"]["id"]
    payee.post(f"/api/transactions/{hold}/capture", {"idempotencyKey": "c"})

    # A body that differs names the first use of a key, and nothing that could be asked for by an id.
    reused = payee.transfer(b, a, 1, "c")

    assert reused.code == "idempotency_key_reused"
    assert "transactionId" not in reused.body


@pytest.mark.parametrize("path", ["create", "hold"])
def test_a_dry_run_answers_what_would_happen_and_writes_nothing(
    path: str, parties: tuple[Person, str, Person, str]
) -> None:
    payer, a, payee, b = parties
    body = {**item(a, b, 400), "idempotencyKey": "k"}

    answer = payer.post(f"/api/transactions/{path}?dryRun=true", body)

    assert answer.status == 200
    assert answer.body["dryRun"] is True
    assert answer.body["transaction"]["id"] == NO_ID
    assert [(entry["accountId"], entry["availableBalance"]) for entry in answer.body["balances"]] == [(a, 600)]
    assert (payer.balance(a), payee.balance(b)) == (1_000, 0)
    # The key was not spent either: another request may have it.
    assert payer.transfer(a, b, 1, "k").status == 201


def test_a_dry_run_of_a_decline_answers_the_decline_and_records_nothing(
    parties: tuple[Person, str, Person, str],
) -> None:
    payer, a, _, b = parties

    answer = payer.post("/api/transactions/create?dryRun=true", {**item(a, b, 1_001), "idempotencyKey": "k"})

    assert (answer.status, answer.code) == (422, "insufficient_funds")
    assert "transactionId" not in answer.body
    assert payer.transfer(a, b, 1, "k").status == 201


def test_a_dry_run_of_a_spent_key_answers_its_first_outcome(parties: tuple[Person, str, Person, str]) -> None:
    payer, a, _, b = parties
    first = payer.transfer(a, b, 400, "k")

    answer = payer.post("/api/transactions/create?dryRun=true", {**item(a, b, 400), "idempotencyKey": "k"})

    assert answer.headers["idempotency-replayed"] == "true"
    assert answer.body["transaction"] == first.body["transaction"]
    assert answer.body["balances"][0]["balance"] == 600


def test_a_dry_run_of_a_batch_answers_each_result(parties: tuple[Person, str, Person, str]) -> None:
    payer, a, payee, b = parties

    answer = send(payer, item(a, b, 600), item(a, b, 600), atomic=False, query="?dryRun=true")

    assert [("transaction" in result) for result in answer.body["results"]] == [True, False]
    assert answer.body["balances"][0]["balance"] == 400
    assert payee.balance(b) == 0


@pytest.mark.parametrize("query", ["?dryRun=maybe", "?dryrun=true", "?dryRun="])
def test_a_dry_run_that_is_misspelt_moves_nothing(query: str, parties: tuple[Person, str, Person, str]) -> None:
    payer, a, payee, b = parties

    answer = payer.post(f"/api/transactions/create{query}", {**item(a, b, 1), "idempotencyKey": "k"})

    assert answer.code == "validation_failed"
    assert payee.balance(b) == 0


def test_the_longest_batch_may_say_of_each_transfer_all_that_one_may_say(
    parties: tuple[Person, str, Person, str],
) -> None:
    payer, a, payee, b = parties
    metadata = {f"{number:040}": "x" * 200 for number in range(20)}
    items = [item(a, b, 1, description="x" * 200, metadata=metadata) for _ in range(500)]

    assert send(payer, *items).status == 201
    assert payee.balance(b) == 500
    assert send(payer, *items, note="x" * 4 * 1024**2).status == 413


@pytest.mark.parametrize("atomic", [1, 0, 1.0, 0.0, "true", "false", "", [], [True]], ids=repr)
def test_atomic_is_true_or_false_and_nothing_like_it(atomic: object, parties: tuple[Person, str, Person, str]) -> None:
    payer, a, payee, b = parties

    answer = send(payer, item(a, b, 1), atomic=atomic)

    assert (answer.status, answer.code) == (422, "validation_failed")
    assert answer.body["errors"] == {"atomic": ["Not true or false."]}
    assert payee.balance(b) == 0
