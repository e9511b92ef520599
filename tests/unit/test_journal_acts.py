"""The rules of the bank's own acts: reversals, and changes of an account's status, one example each."""

import pytest
from bson import ObjectId

from app.ledger.records import AccountStatus, EntryType, TransactionKind, TransactionStatus, treasury_id
from tests.commands import capture, change_status, funding, hold, repeated, reversal, transfer, void
from tests.unit.books import ASHA, BINA, Books, code_of, refusal

ACTIVE, FROZEN, CLOSED = AccountStatus.ACTIVE, AccountStatus.FROZEN, AccountStatus.CLOSED


@pytest.fixture
def books() -> Books:
    books = Books()
    books.open(None)
    return books


def test_a_reversal_moves_the_money_back(books: Books) -> None:
    payer, payee = books.open(ASHA, funds=100), books.open(BINA)
    payment = books.must(transfer(ASHA, payer, payee, 30, description="Rent")).outcome.unwrap()

    decision = books.must(reversal(payment.id, reason="Paid twice"))

    reverse = decision.outcome.unwrap()
    assert (reverse.kind, reverse.reverses, reverse.amount) == (TransactionKind.REVERSAL, payment.id, 30)
    assert (reverse.from_account, reverse.to_account) == (payee, payer)
    assert (reverse.description, reverse.metadata) == ("Rent", {"reason": "Paid twice"})
    assert decision.updated is not None
    assert (decision.updated.status, decision.updated.reversed_by) == (TransactionStatus.REVERSED, reverse.id)
    assert (books.balance(payer), books.balance(payee)) == (100, 0)


def test_a_reversal_tells_the_audit_log_what_it_changed(books: Books) -> None:
    payment = books.must(funding(books.open(ASHA), 30)).outcome.unwrap()

    change = books.must(reversal(payment.id)).change

    assert change is not None
    assert (change.action, change.subject) == ("transaction_reversed", payment.id)
    assert (change.before, change.after) == ({"status": "COMPLETED"}, {"status": "REVERSED"})


def test_initial_funds_are_reversed_into_the_treasury(books: Books) -> None:
    payee = books.open(ASHA)
    payment = books.must(funding(payee, 30)).outcome.unwrap()

    books.must(reversal(payment.id))

    assert (books.balance(payee), books.balance(treasury_id("INR"))) == (0, 0)


def test_a_captured_hold_is_reversed_by_what_was_captured(books: Books) -> None:
    payer, payee = books.open(ASHA, funds=100), books.open(BINA)
    held = books.must(hold(ASHA, payer, payee, 80)).outcome.unwrap()
    books.must(capture(BINA, held.id, 30))

    assert books.must(reversal(held.id)).outcome.unwrap().amount == 30
    assert (books.available(payer), books.balance(payee)) == (100, 0)


def test_a_transaction_is_reversed_once(books: Books) -> None:
    payment = books.must(funding(books.open(ASHA), 30)).outcome.unwrap()
    reverse = books.must(reversal(payment.id)).outcome.unwrap()

    again = refusal(books.post(reversal(payment.id)))

    assert again.code == "already_reversed"
    assert str(reverse.id) in again.detail


def test_a_repeated_reversal_gets_the_first_outcome(books: Books) -> None:
    command = reversal(books.must(funding(books.open(ASHA), 30)).outcome.unwrap().id)
    first = books.must(command).outcome.unwrap()

    assert books.post(repeated(command)).outcome.unwrap() == first


def test_a_repeated_transfer_is_still_completed_after_its_reversal(books: Books) -> None:
    command = transfer(ASHA, books.open(ASHA, funds=100), books.open(BINA), 30)
    first = books.must(command).outcome.unwrap()
    books.must(reversal(first.id))

    assert books.post(repeated(command)).outcome.unwrap() == first


def test_what_did_not_complete_and_what_is_a_reversal_is_not_reversed(books: Books) -> None:
    payer, payee = books.open(ASHA, funds=100), books.open(BINA)
    failed = books.post(transfer(ASHA, payer, payee, 200)).inserted
    open_hold = books.must(hold(ASHA, payer, payee, 10)).outcome.unwrap()
    voided = books.must(hold(ASHA, payer, payee, 10)).outcome.unwrap()
    books.must(void(BINA, voided.id))
    reverse = books.must(reversal(books.must(funding(payer, 1)).outcome.unwrap().id)).outcome.unwrap()

    assert failed is not None
    for transaction in (failed, open_hold, voided, reverse):
        assert code_of(books.post(reversal(transaction.id))) == "not_reversible"
    assert code_of(books.post(reversal(ObjectId()))) == "transaction_not_found"


def test_money_that_was_spent_is_not_reversed_and_may_be_when_it_is_back(books: Books) -> None:
    payer, payee = books.open(ASHA, funds=100), books.open(BINA)
    payment = books.must(transfer(ASHA, payer, payee, 30)).outcome.unwrap()
    spent = books.must(transfer(BINA, payee, payer, 1)).outcome.unwrap()

    declined = books.post(reversal(payment.id))

    assert code_of(declined) == "insufficient_funds"
    assert declined.updated is None
    books.must(reversal(spent.id))
    assert code_of(books.post(reversal(payment.id))) is None


def test_a_reversal_needs_active_accounts(books: Books) -> None:
    payer, payee = books.open(ASHA, funds=100), books.open(BINA)
    payment = books.must(transfer(ASHA, payer, payee, 30)).outcome.unwrap()
    books.must(change_status(payer, FROZEN))

    assert code_of(books.post(reversal(payment.id))) == "account_not_active"


def test_a_status_change_is_an_entry_of_the_journal(books: Books) -> None:
    account = books.open(ASHA, funds=10)

    decision = books.must(change_status(account, FROZEN))

    (entry,) = decision.entries
    assert (entry.type, entry.description, entry.amount, entry.balance) == (EntryType.STATUS, "FROZEN", 0, 10)
    assert (entry.transaction, entry.counterparty) == (None, None)
    assert decision.outcome.account is not None
    assert decision.outcome.account.status is FROZEN


@pytest.mark.parametrize(
    ("before", "after", "action"),
    [
        (ACTIVE, FROZEN, "account_frozen"),
        (FROZEN, ACTIVE, "account_unfrozen"),
        (ACTIVE, CLOSED, "account_closed"),
        (FROZEN, CLOSED, "account_closed"),
    ],
)
def test_the_bank_freezes_unfreezes_and_closes(
    books: Books, before: AccountStatus, after: AccountStatus, action: str
) -> None:
    account = books.open(ASHA, status=before)

    change = books.must(change_status(account, after)).change

    assert change is not None
    assert (change.action, change.subject, change.before, change.after) == (
        action,
        account,
        {"status": before},
        {"status": after},
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [(ACTIVE, ACTIVE), (FROZEN, FROZEN), (CLOSED, ACTIVE), (CLOSED, FROZEN), (CLOSED, CLOSED)],
)
def test_no_other_change_of_status_is_made(books: Books, before: AccountStatus, after: AccountStatus) -> None:
    account = books.open(ASHA, status=before)

    assert code_of(books.post(change_status(account, after))) == "invalid_status_transition"


def test_an_owner_closes_an_active_account_and_no_frozen_one(books: Books) -> None:
    active, frozen = books.open(ASHA), books.open(ASHA, status=FROZEN)

    assert code_of(books.post(change_status(active, CLOSED, owner=ASHA))) is None
    assert code_of(books.post(change_status(frozen, CLOSED, owner=ASHA))) == "invalid_status_transition"


def test_a_foreign_account_is_refused_exactly_as_a_missing_one(books: Books) -> None:
    foreign = books.open(BINA)

    answers = [refusal(books.post(change_status(account, CLOSED, owner=ASHA))) for account in (foreign, ObjectId())]

    assert {(error.code, error.detail) for error in answers} == {("account_not_found", answers[0].detail)}


def test_an_account_with_money_is_not_closed(books: Books) -> None:
    assert code_of(books.post(change_status(books.open(ASHA, funds=1), CLOSED))) == "account_not_empty"


def test_an_account_with_an_open_hold_on_either_side_is_not_closed(books: Books) -> None:
    payer, payee = books.open(ASHA, funds=100), books.open(BINA)
    held = books.must(hold(ASHA, payer, payee, 80)).outcome.unwrap()

    assert code_of(books.post(change_status(payee, CLOSED))) == "account_not_empty"
    books.must(void(BINA, held.id))
    assert code_of(books.post(change_status(payee, CLOSED))) is None


@pytest.mark.parametrize("status", [FROZEN, CLOSED])
def test_a_treasury_is_never_frozen_or_closed(books: Books, status: AccountStatus) -> None:
    assert code_of(books.post(change_status(treasury_id("INR"), status))) == "invalid_status_transition"
