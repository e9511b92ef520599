"""The rules of transfers, initial funds and idempotency keys, one example each."""

from datetime import timedelta

import pytest
from bson import ObjectId

from app.ledger.chain import BALANCE_MAX, open_journal
from app.ledger.records import (
    GENESIS_HASH,
    Account,
    AccountKind,
    AccountStatus,
    EntryType,
    TransactionKind,
    TransactionStatus,
    treasury_id,
)
from tests.commands import change_status, funding, hold, repeated, transfer
from tests.unit.books import ASHA, AT, BINA, Books, code_of, refusal


@pytest.fixture
def books() -> Books:
    books = Books()
    books.open(None)
    return books


def test_a_journal_opens_with_a_status_entry_of_no_amount() -> None:
    account, entry = open_journal(ASHA, kind=AccountKind.CUSTOMER, user=BINA, currency="JPY", at=AT)

    assert (entry.sequence, entry.type, entry.amount, entry.balance, entry.held) == (0, EntryType.STATUS, 0, 0, 0)
    assert (entry.description, entry.transaction) == ("ACTIVE", None)
    assert (entry.previous_hash, entry.hash) == (GENESIS_HASH, entry.computed_hash())
    assert account == Account(ASHA, AccountKind.CUSTOMER, BINA, "JPY", AccountStatus.ACTIVE, 0, 0, 0, entry.hash, AT)


def test_a_transfer_debits_the_payer_and_credits_the_payee(books: Books) -> None:
    payer, payee = books.open(ASHA, funds=100), books.open(BINA)

    debit, credit = books.post(transfer(ASHA, payer, payee, 30, description="Rent")).entries

    assert (debit.type, debit.account, debit.counterparty) == (EntryType.DEBIT, payer, payee)
    assert (credit.type, credit.account, credit.counterparty) == (EntryType.CREDIT, payee, payer)
    assert (debit.amount, debit.balance, credit.amount, credit.balance) == (30, 70, 30, 30)
    assert debit.description == credit.description == "Rent"


def test_the_record_of_a_transfer_says_what_was_asked(books: Books) -> None:
    payer, payee = books.open(ASHA, funds=100), books.open(BINA)
    command = transfer(ASHA, payer, payee, 30, key="rent", description="Rent", metadata={"invoice": "7"})

    record = books.post(command).outcome.unwrap()

    assert (record.id, record.user, record.idempotency_key) == (command.id, ASHA, "rent")
    assert (record.kind, record.status) == (TransactionKind.TRANSFER, TransactionStatus.COMPLETED)
    assert (record.from_account, record.to_account, record.amount, record.currency) == (payer, payee, 30, "INR")
    assert (record.description, record.metadata) == ("Rent", {"invoice": "7"})
    assert record.created_at == record.completed_at == AT


def test_an_account_can_be_emptied_and_not_overdrawn(books: Books) -> None:
    payer, payee = books.open(ASHA, funds=100), books.open(BINA)

    assert code_of(books.post(transfer(ASHA, payer, payee, 100))) is None
    assert code_of(books.post(transfer(ASHA, payer, payee, 1))) == "insufficient_funds"
    assert books.balance(payer) == 0


def test_money_set_aside_cannot_be_spent(books: Books) -> None:
    payer, payee = books.open(ASHA, funds=100), books.open(BINA)
    books.must(hold(ASHA, payer, payee, 80))

    assert code_of(books.post(transfer(ASHA, payer, payee, 21))) == "insufficient_funds"


def test_a_treasury_may_go_negative(books: Books) -> None:
    books.open(ASHA, funds=1_000)

    assert books.balance(treasury_id("INR")) == -1_000


@pytest.mark.parametrize("status", [AccountStatus.FROZEN, AccountStatus.CLOSED])
def test_only_an_active_account_pays(books: Books, status: AccountStatus) -> None:
    payer, payee = books.open(ASHA, status=status), books.open(BINA)

    assert code_of(books.post(transfer(ASHA, payer, payee, 1))) == "account_not_active"


@pytest.mark.parametrize("status", [AccountStatus.FROZEN, AccountStatus.CLOSED])
def test_only_an_active_account_receives_and_the_payer_is_not_told_more(books: Books, status: AccountStatus) -> None:
    payer, payee = books.open(ASHA, funds=100), books.open(BINA, status=status)

    declined = refusal(books.post(transfer(ASHA, payer, payee, 1)))

    assert declined.code == "account_not_active"
    assert status not in declined.detail.upper()


def test_a_foreign_payer_is_refused_exactly_as_a_missing_one(books: Books) -> None:
    own, foreign = books.open(ASHA), books.open(BINA, funds=100)
    frozen = books.open(BINA, status=AccountStatus.FROZEN)

    answers = {
        (error.code, error.detail)
        for payer in (foreign, frozen, treasury_id("INR"), ObjectId())
        for error in [refusal(books.post(transfer(ASHA, payer, own, 1)))]
    }

    assert {code for code, _ in answers} == {"account_not_found"}
    assert len(answers) == 1


def test_a_treasury_receives_nothing_and_is_refused_exactly_as_a_missing_payee(books: Books) -> None:
    own = books.open(ASHA, funds=100)

    treasury, missing = (
        refusal(books.post(transfer(ASHA, own, payee, 1))) for payee in (treasury_id("INR"), ObjectId())
    )

    assert treasury.code == "account_not_found"
    assert (treasury.code, treasury.detail) == (missing.code, missing.detail)


def test_initial_funds_come_out_of_a_treasury_only(books: Books) -> None:
    payer, payee = books.open(ASHA, funds=100), books.open(ASHA)

    decision = books.post(transfer(ASHA, payer, payee, 1, kind=TransactionKind.FUNDING))

    assert code_of(decision) == "account_not_found"


def test_an_account_does_not_pay_itself(books: Books) -> None:
    account = books.open(ASHA, funds=100)

    assert code_of(books.post(transfer(ASHA, account, account, 1))) == "same_account"


def test_currencies_do_not_mix(books: Books) -> None:
    rupees, dollars = books.open(ASHA, funds=100), books.open(ASHA, "USD")

    assert code_of(books.post(transfer(ASHA, rupees, dollars, 1))) == "currency_mismatch"


def test_a_balance_reaches_its_limit_and_does_not_pass_it(books: Books) -> None:
    full = books.open(ASHA, funds=BALANCE_MAX - 1)

    declined = refusal(books.post(funding(full, 2)))

    assert (declined.code, declined.detail) == (
        "balance_limit_exceeded",
        "The receiving account cannot hold that much.",
    )
    assert code_of(books.post(funding(full, 1))) is None
    assert books.balance(full) == BALANCE_MAX


def test_a_treasury_issues_up_to_its_limit_and_no_more(books: Books) -> None:
    books.open(ASHA, funds=BALANCE_MAX)
    second = books.open(ASHA)

    assert code_of(books.post(funding(second, 1))) == "balance_limit_exceeded"


def test_a_repeat_gets_the_first_outcome_whatever_has_become_of_the_accounts(books: Books) -> None:
    payer, payee = books.open(ASHA, funds=100), books.open(BINA)
    command = transfer(ASHA, payer, payee, 100)
    first = books.must(command)
    books.must(change_status(payer, AccountStatus.CLOSED))

    repeat = books.post(repeated(command))

    assert repeat.outcome.replayed
    assert repeat.outcome.unwrap() == first.outcome.unwrap()
    assert books.balance(payer) == 0


def test_a_repeated_decline_stays_declined_when_the_money_has_arrived(books: Books) -> None:
    payer, payee = books.open(ASHA), books.open(BINA)
    command = transfer(ASHA, payer, payee, 30)
    first = refusal(books.post(command))
    books.post(funding(payer, 100))

    repeat = books.post(repeated(command))

    assert repeat.outcome.replayed
    assert (refusal(repeat).code, refusal(repeat).detail) == (first.code, first.detail)
    assert refusal(repeat).members == first.members == {"transactionId": str(command.id)}
    assert books.balance(payer) == 100


def test_another_request_under_a_spent_key_is_refused_by_the_fields_that_differ(books: Books) -> None:
    payer, payee, other = books.open(ASHA, funds=100), books.open(BINA), books.open(BINA)
    books.post(transfer(ASHA, payer, payee, 30, key="rent"))

    reused = refusal(books.post(transfer(ASHA, payer, other, 31, key="rent")))

    assert reused.code == "idempotency_key_reused"
    assert sorted(reused.errors or {}) == ["amount", "toAccount"]


def test_a_key_belongs_to_its_user(books: Books) -> None:
    ashas, binas = books.open(ASHA, funds=100), books.open(BINA, funds=100)

    assert code_of(books.post(transfer(ASHA, ashas, binas, 30, key="rent"))) is None
    assert code_of(books.post(transfer(BINA, binas, ashas, 5, key="rent"))) is None
    assert (books.balance(ashas), books.balance(binas)) == (75, 125)


def test_a_refusal_does_not_spend_the_key(books: Books) -> None:
    payer, payee = books.open(ASHA, funds=100), books.open(BINA)
    books.post(transfer(ASHA, payer, ObjectId(), 30, key="rent"))

    assert code_of(books.post(transfer(ASHA, payer, payee, 30, key="rent"))) is None


def test_a_decline_spends_the_key(books: Books) -> None:
    payer, payee = books.open(ASHA), books.open(BINA)
    books.post(transfer(ASHA, payer, payee, 30, key="rent"))

    assert code_of(books.post(transfer(ASHA, payer, payee, 31, key="rent"))) == "idempotency_key_reused"


def test_time_never_runs_backwards_in_a_journal(books: Books) -> None:
    payer, payee = books.open(ASHA, funds=100), books.open(BINA)
    books.post(transfer(ASHA, payer, payee, 1), AT + timedelta(minutes=5))

    late = books.post(transfer(ASHA, payer, books.open(BINA), 1), AT)

    assert {entry.created_at for entry in late.entries} == {AT + timedelta(minutes=5)}
    assert late.outcome.unwrap().created_at == AT + timedelta(minutes=5)
