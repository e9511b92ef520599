"""Holds: money set aside, then captured, voided, or released when its time is over."""

from datetime import UTC, datetime

import pytest

from app.fields import rfc3339
from app.ledger.posting import EXPIRED_HOLDS_MAX
from app.transactions.service import release_expired_holds
from local.processes import holds_within
from tests.clients import Answer
from tests.people import Bank, Person, new_key

EXPIRY_TIMEOUT_S = 60.0


def place(payer: Person, from_account: str, to_account: str, amount: int, **more: object) -> Answer:
    body = {"fromAccount": from_account, "toAccount": to_account, "amount": amount, "idempotencyKey": new_key(), **more}
    return payer.post("/api/transactions/hold", body)


def settle(person: Person, how: str, hold: str, **body: object) -> Answer:
    return person.post(f"/api/transactions/{hold}/{how}", {"idempotencyKey": new_key(), **body})


def money(person: Person, account: str) -> tuple[int, int]:
    balance = person.get(f"/api/accounts/{account}/balance").body
    return balance["balance"], balance["availableBalance"]


def test_a_hold_takes_from_the_available_balance_only(parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, payee, to_account = parties

    answer = place(payer, from_account, to_account, 700, expiresIn=60)

    assert answer.status == 201
    hold = answer.body["transaction"]
    assert (hold["kind"], hold["status"], hold["amount"], hold["heldAmount"]) == ("HOLD", "PENDING", 700, 700)
    assert hold["completedAt"] is None
    assert hold["expiresAt"] > hold["createdAt"]
    assert money(payer, from_account) == (1_000, 300)
    assert money(payee, to_account) == (0, 0)


def test_what_is_held_cannot_be_spent(parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, _, to_account = parties
    place(payer, from_account, to_account, 700)

    assert payer.transfer(from_account, to_account, 301).code == "insufficient_funds"
    assert place(payer, from_account, to_account, 301).code == "insufficient_funds"
    assert payer.transfer(from_account, to_account, 300).status == 201


def test_a_declined_hold_is_recorded_and_repeats_its_refusal(parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, _, to_account = parties
    first = place(payer, from_account, to_account, 1_001, idempotencyKey="too-much")
    again = place(payer, from_account, to_account, 1_001, idempotencyKey="too-much")

    assert first.code == again.code == "insufficient_funds"
    assert again.headers["idempotency-replayed"] == "true"
    record = payer.get(f"/api/transactions/{first.body['transactionId']}").body["transaction"]
    assert (record["kind"], record["status"], record["failure"]["code"]) == ("HOLD", "FAILED", "insufficient_funds")


def test_a_capture_pays_the_payee_and_releases_the_rest(parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, payee, to_account = parties
    hold = place(payer, from_account, to_account, 700).body["transaction"]["id"]

    answer = settle(payee, "capture", hold, amount=450)

    assert answer.status == 200
    captured = answer.body["transaction"]
    assert (captured["status"], captured["amount"], captured["heldAmount"]) == ("COMPLETED", 450, 700)
    assert money(payer, from_account) == (550, 550)
    assert money(payee, to_account) == (450, 450)


def test_a_capture_without_an_amount_takes_all(parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, payee, to_account = parties
    hold = place(payer, from_account, to_account, 700).body["transaction"]["id"]

    assert settle(payee, "capture", hold).body["transaction"]["amount"] == 700
    assert money(payee, to_account) == (700, 700)


def test_the_bank_may_settle_any_hold(bank: Bank, parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, payee, to_account = parties
    hold = place(payer, from_account, to_account, 700).body["transaction"]["id"]

    assert settle(bank.system, "capture", hold, amount=1).status == 200
    assert money(payee, to_account) == (1, 1)


def test_a_void_gives_everything_back(parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, payee, to_account = parties
    hold = place(payer, from_account, to_account, 700).body["transaction"]["id"]

    answer = settle(payee, "void", hold, reason="Out of stock")

    assert answer.status == 200
    assert (answer.body["transaction"]["status"], answer.body["transaction"]["failure"]) == ("VOIDED", None)
    assert money(payer, from_account) == (1_000, 1_000)


@pytest.mark.parametrize("how", ["capture", "void"])
def test_settling_is_idempotent_under_its_key(how: str, parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, payee, to_account = parties
    hold = place(payer, from_account, to_account, 700).body["transaction"]["id"]

    first = settle(payee, how, hold, idempotencyKey="settle-1")
    again = settle(payee, how, hold, idempotencyKey="settle-1")

    assert (again.status, again.body) == (200, first.body)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"


def test_a_key_spent_on_a_capture_is_spent_for_everything(parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, payee, to_account = parties
    hold = place(payer, from_account, to_account, 700).body["transaction"]["id"]
    settle(payee, "capture", hold, amount=100, idempotencyKey="one")

    other_amount = settle(payee, "capture", hold, amount=200, idempotencyKey="one")
    other_call = settle(payee, "void", hold, idempotencyKey="one")
    transfer = payee.transfer(to_account, from_account, 100, "one")

    assert [answer.code for answer in (other_amount, other_call, transfer)] == ["idempotency_key_reused"] * 3
    assert list(other_amount.body["errors"]) == ["amount"]
    assert money(payee, to_account) == (100, 100)


@pytest.mark.parametrize(("first", "second"), [(a, b) for a in ("capture", "void") for b in ("capture", "void")])
def test_a_settled_hold_is_no_longer_pending(first: str, second: str, parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, payee, to_account = parties
    hold = place(payer, from_account, to_account, 700).body["transaction"]["id"]
    settle(payee, first, hold)

    refused = settle(payee, second, hold)
    assert (refused.status, refused.code) == (409, "hold_not_pending")
    assert refused.body["detail"] == f"This is a {'COMPLETED' if first == 'capture' else 'VOIDED'} HOLD."


def test_a_refused_capture_does_not_spend_its_key(parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, payee, to_account = parties
    hold = place(payer, from_account, to_account, 700).body["transaction"]["id"]

    refused = settle(payee, "capture", hold, amount=701, idempotencyKey="capture-1")

    assert (refused.status, refused.code) == (422, "capture_exceeds_hold")
    assert settle(payee, "capture", hold, amount=700, idempotencyKey="capture-1").status == 200


@pytest.mark.parametrize("how", ["capture", "void"])
def test_only_the_payee_or_the_bank_settles(how: str, bank: Bank, parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, _, to_account = parties
    hold = place(payer, from_account, to_account, 700).body["transaction"]["id"]
    stranger = bank.register()

    foreign = settle(stranger, how, hold)
    missing = settle(stranger, how, "0123456789abcdef01234567")

    assert (settle(payer, how, hold).status, settle(payer, how, hold).code) == (403, "forbidden")
    assert (foreign.status, foreign.code) == (missing.status, missing.code) == (404, "transaction_not_found")
    assert foreign.body["detail"] == missing.body["detail"]
    assert money(payer, from_account) == (1_000, 300)


def test_a_transfer_cannot_be_settled(parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, payee, to_account = parties
    transfer = payer.transfer(from_account, to_account, 100).body["transaction"]["id"]

    refused = settle(payee, "void", transfer)
    assert (refused.code, refused.body["detail"]) == ("hold_not_pending", "This is a COMPLETED TRANSFER.")


@pytest.mark.parametrize("expires_in", [0, -1, 30 * 24 * 3600 + 1, 1.5, "60", True])
def test_a_hold_lasts_a_second_to_thirty_days(expires_in: object, parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, _, to_account = parties

    answer = place(payer, from_account, to_account, 1, expiresIn=expires_in)

    assert answer.code == "validation_failed"
    assert list(answer.body["errors"]) == ["expiresIn"]


def test_the_sweeper_voids_a_hold_whose_time_is_over(parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, payee, to_account = parties
    placed = place(payer, from_account, to_account, 700, expiresIn=1, idempotencyKey="brief").body
    hold = placed["transaction"]["id"]

    def is_voided() -> bool:
        release_expired_holds()
        status: str = payee.get(f"/api/transactions/{hold}").body["transaction"]["status"]
        return status == "VOIDED"

    assert holds_within(EXPIRY_TIMEOUT_S, is_voided)
    expired = payer.get(f"/api/transactions/{hold}").body["transaction"]
    for party in (payer, payee):
        (told,) = party.get("/api/events?types=hold.expired").body["events"]
        assert (told["data"]["transactionId"], told["data"]["failureCode"]) == (hold, "hold_expired")
    assert expired["failure"]["code"] == "hold_expired"
    assert money(payer, from_account) == (1_000, 1_000)
    # A repeat of the first request still gets the first outcome, and no money is set aside again.
    again = place(payer, from_account, to_account, 700, expiresIn=1, idempotencyKey="brief")
    assert (again.status, again.body) == (200, placed)
    assert money(payer, from_account) == (1_000, 1_000)


def test_an_expired_hold_does_not_stand_in_the_way_of_a_debit(parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, payee, to_account = parties
    hold = place(payer, from_account, to_account, 1_000, expiresIn=1).body["transaction"]["id"]

    assert holds_within(EXPIRY_TIMEOUT_S, lambda: payer.transfer(from_account, to_account, 600).status == 201)

    assert payee.get(f"/api/transactions/{hold}").body["transaction"]["status"] == "VOIDED"
    assert money(payer, from_account) == (400, 400)
    refused = settle(payee, "capture", hold)
    assert (refused.code, refused.body["detail"]) == ("hold_not_pending", "The hold has expired.")


def test_however_many_holds_have_expired_they_do_not_stand_in_the_way(parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, _, to_account = parties
    holds = 2 * EXPIRED_HOLDS_MAX - 50
    for _ in range(holds):
        assert place(payer, from_account, to_account, 1_000 // holds, expiresIn=1).status == 201
    last = place(payer, from_account, to_account, 1, expiresIn=1).body["transaction"]
    assert holds_within(EXPIRY_TIMEOUT_S, lambda: rfc3339(datetime.now(UTC)) > last["expiresAt"])

    assert payer.transfer(from_account, to_account, 1_000).status == 201


def test_an_expired_hold_does_not_stand_in_the_way_of_a_close(parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, payee, to_account = parties
    hold = place(payer, from_account, to_account, 700, expiresIn=1).body["transaction"]["id"]
    assert payee.post(f"/api/accounts/{to_account}/close", {}).code == "account_not_empty"

    assert holds_within(EXPIRY_TIMEOUT_S, lambda: payee.post(f"/api/accounts/{to_account}/close", {}).status == 200)

    assert payer.get(f"/api/transactions/{hold}").body["transaction"]["failure"]["code"] == "hold_expired"
    assert money(payer, from_account) == (1_000, 1_000)


def test_a_dry_run_of_a_capture_leaves_the_hold_open(parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, payee, to_account = parties
    hold = place(payer, from_account, to_account, 700).body["transaction"]["id"]

    answer = payee.post(f"/api/transactions/{hold}/capture?dryRun=true", {"idempotencyKey": "k"})

    assert (answer.status, answer.body["dryRun"]) == (200, True)
    assert settle(payee, "capture", hold, idempotencyKey="k").status == 200
