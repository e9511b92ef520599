"""The rules of holds: money set aside, captured, voided and expired, one example each."""

from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

import pytest
from bson import ObjectId

from app.ledger.commands import Capture, Expire, Void
from app.ledger.records import AccountStatus, EntryType, KeyUseKind, Transaction, TransactionStatus
from tests.commands import STAFF, capture, change_status, hold, repeated, reversal, transfer, void
from tests.unit.books import ASHA, AT, BINA, Books, code_of, refusal

Settle = Callable[..., Capture | Void]
LATER = AT + timedelta(minutes=61)


class Held(NamedTuple):
    """Asha's 100, of which 80 are held for Bina for an hour."""

    books: Books
    payer: ObjectId
    payee: ObjectId
    hold: Transaction


@pytest.fixture
def held() -> Held:
    books = Books()
    books.open(None)
    payer, payee = books.open(ASHA, funds=100), books.open(BINA)
    transaction = books.must(hold(ASHA, payer, payee, 80, minutes=60)).outcome.unwrap()
    return Held(books, payer, payee, transaction)


def test_a_hold_takes_money_from_what_is_available_and_leaves_the_balance(held: Held) -> None:
    assert (held.books.balance(held.payer), held.books.available(held.payer)) == (100, 20)
    assert held.books.balance(held.payee) == 0


def test_the_record_of_a_hold_is_pending_until_it_expires(held: Held) -> None:
    assert (held.hold.status, held.hold.held_amount, held.hold.completed_at) == (TransactionStatus.PENDING, 80, None)
    assert held.hold.expires_at == AT + timedelta(hours=1)


def test_what_is_held_cannot_be_held_again(held: Held) -> None:
    assert code_of(held.books.post(hold(ASHA, held.payer, held.payee, 21))) == "insufficient_funds"
    assert code_of(held.books.post(hold(ASHA, held.payer, held.payee, 20))) is None


def test_a_declined_hold_sets_nothing_aside_and_never_expires(held: Held) -> None:
    declined = held.books.post(hold(ASHA, held.payer, held.payee, 200)).inserted

    assert declined is not None
    assert (declined.status, declined.expires_at) == (TransactionStatus.FAILED, None)
    assert code_of(held.books.post(capture(BINA, declined.id))) == "transaction_not_found"
    assert code_of(held.books.post(Expire(hold=declined.id), LATER)) == "hold_not_pending"


def test_a_capture_pays_the_payee_all_that_is_held(held: Held) -> None:
    decision = held.books.must(capture(BINA, held.hold.id))

    assert [entry.type for entry in decision.entries] == [EntryType.RELEASE, EntryType.DEBIT, EntryType.CREDIT]
    captured = decision.outcome.unwrap()
    assert (captured.status, captured.amount, captured.completed_at) == (TransactionStatus.COMPLETED, 80, AT)
    assert (held.books.available(held.payer), held.books.balance(held.payee)) == (20, 80)


def test_a_capture_of_less_releases_the_rest(held: Held) -> None:
    captured = held.books.must(capture(BINA, held.hold.id, 30)).outcome.unwrap()

    assert (captured.amount, captured.held_amount) == (30, 80)
    assert (held.books.available(held.payer), held.books.balance(held.payee)) == (70, 30)


def test_no_more_is_captured_than_was_held_and_the_key_is_not_spent(held: Held) -> None:
    assert code_of(held.books.post(capture(BINA, held.hold.id, 81, key="goods"))) == "capture_exceeds_hold"
    assert code_of(held.books.post(capture(BINA, held.hold.id, 80, key="goods"))) is None


def test_a_hold_is_captured_once(held: Held) -> None:
    held.books.must(capture(BINA, held.hold.id, 30))

    assert code_of(held.books.post(capture(BINA, held.hold.id, 30))) == "hold_not_pending"


@pytest.mark.parametrize("settle", [capture, void])
def test_the_payer_does_not_settle_a_hold_and_a_stranger_does_not_learn_of_it(held: Held, settle: Settle) -> None:
    stranger = ObjectId()

    assert code_of(held.books.post(settle(ASHA, held.hold.id))) == "forbidden"
    foreign, missing = held.books.post(settle(stranger, held.hold.id)), held.books.post(settle(stranger, ObjectId()))
    assert code_of(foreign) == code_of(missing) == "transaction_not_found"
    assert refusal(foreign).detail == refusal(missing).detail


@pytest.mark.parametrize("settle", [capture, void])
def test_the_bank_settles_any_hold(held: Held, settle: Settle) -> None:
    assert code_of(held.books.post(settle(STAFF, held.hold.id, is_system=True))) is None


@pytest.mark.parametrize("settle", [capture, void])
def test_what_is_no_hold_is_not_settled(held: Held, settle: Settle) -> None:
    payment = held.books.must(transfer(ASHA, held.payer, held.payee, 5)).outcome.unwrap()

    assert code_of(held.books.post(settle(BINA, payment.id))) == "hold_not_pending"


@pytest.mark.parametrize("frozen", ["payer", "payee"])
def test_a_capture_declined_for_a_frozen_account_spends_its_key_and_leaves_the_hold(held: Held, frozen: str) -> None:
    account = getattr(held, frozen)
    held.books.must(change_status(account, AccountStatus.FROZEN))
    command = capture(BINA, held.hold.id)

    declined = held.books.post(command)

    assert code_of(declined) == "account_not_active"
    assert declined.key_use is not None
    assert declined.key_use.kind is KeyUseKind.CAPTURE
    held.books.must(change_status(account, AccountStatus.ACTIVE))
    assert code_of(held.books.post(repeated(command))) == "account_not_active"
    assert code_of(held.books.post(capture(BINA, held.hold.id))) is None


def test_a_void_gives_the_money_back_with_its_reason(held: Held) -> None:
    decision = held.books.must(void(BINA, held.hold.id, reason="Out of stock"))

    assert [(entry.type, entry.account) for entry in decision.entries] == [(EntryType.RELEASE, held.payer)]
    assert decision.entries[0].description == "Out of stock"
    assert decision.outcome.unwrap().status is TransactionStatus.VOIDED
    assert (held.books.balance(held.payer), held.books.available(held.payer)) == (100, 100)


@pytest.mark.parametrize("frozen", ["payer", "payee"])
def test_a_hold_is_voided_whatever_the_status_of_the_accounts(held: Held, frozen: str) -> None:
    held.books.must(change_status(getattr(held, frozen), AccountStatus.FROZEN))

    assert code_of(held.books.post(void(BINA, held.hold.id))) is None


def test_a_voided_hold_is_not_captured(held: Held) -> None:
    held.books.must(void(BINA, held.hold.id))

    assert code_of(held.books.post(capture(BINA, held.hold.id))) == "hold_not_pending"


def test_a_hold_expires_when_its_time_is_over_and_not_before(held: Held) -> None:
    expiry = Expire(hold=held.hold.id)

    assert code_of(held.books.post(expiry, AT + timedelta(minutes=59))) == "hold_not_pending"
    expired = held.books.must(expiry, AT + timedelta(minutes=60)).outcome.unwrap()

    assert expired.status is TransactionStatus.VOIDED
    assert expired.failure is not None
    assert expired.failure.code == "hold_expired"
    assert held.books.available(held.payer) == 100


@pytest.mark.parametrize("settle", [capture, void])
def test_a_hold_whose_time_is_over_is_not_settled_though_nobody_released_it_yet(held: Held, settle: Settle) -> None:
    assert code_of(held.books.post(settle(BINA, held.hold.id), LATER)) == "hold_not_pending"


def test_a_repeated_hold_answers_as_at_first_whatever_became_of_it(held: Held) -> None:
    command = hold(ASHA, held.payer, held.payee, 20)
    first = held.books.must(command).outcome.unwrap()
    held.books.must(capture(BINA, first.id, 5))
    held.books.must(reversal(first.id))

    assert held.books.post(repeated(command)).outcome.unwrap() == first


def test_a_repeated_capture_answers_as_at_first_though_it_was_reversed(held: Held) -> None:
    command = capture(BINA, held.hold.id, 30)
    first = held.books.must(command).outcome.unwrap()
    held.books.must(reversal(held.hold.id))

    assert held.books.post(repeated(command)).outcome.unwrap() == first


def test_one_key_serves_one_kind_of_call(held: Held) -> None:
    held.books.must(capture(BINA, held.hold.id, 30, key="goods"))

    assert code_of(held.books.post(void(BINA, held.hold.id, key="goods"))) == "idempotency_key_reused"
