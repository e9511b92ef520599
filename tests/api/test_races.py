"""Requests that reach two processes at the same moment: each law of money under a race."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from bson import ObjectId
from pymongo.database import Database

from app.ledger.records import treasury_id
from app.mongo import Document
from tests.clients import Answer
from tests.people import PASSWORD, Bank, Person, new_key
from tests.proof import assert_ledger_is_whole
from tests.threads import at_once

THREADS = 50


@pytest.fixture(autouse=True)
def _whole_ledger(live_bank: Bank, database: Database[Document]) -> Iterator[None]:
    yield
    assert_ledger_is_whole(database)


def kinds(answers: list[Answer]) -> Counter[tuple[int, str | None, bool]]:
    """Count the answers by status, problem code, and whether they repeat an earlier one."""
    return Counter((answer.status, answer.code, "idempotency-replayed" in answer.headers) for answer in answers)


def spread(requests: list[Callable[[], Answer]]) -> list[Answer]:
    """Send the requests from many threads at once, several from each, and return the answers."""

    def send(share: list[Callable[[], Answer]]) -> list[Answer]:
        return [request() for request in share]

    shares = at_once([partial(send, requests[n::THREADS]) for n in range(THREADS)])
    return [answer for share in shares for answer in share]


def test_one_key_sent_64_times_at_once_moves_money_once_and_everybody_hears_the_same(live_bank: Bank) -> None:
    payer, from_account = live_bank.customer(1_000)
    payee, to_account = live_bank.customer()
    key = new_key()

    answers = at_once([partial(payer.transfer, from_account, to_account, 10, key)] * 64)

    assert kinds(answers) == {(201, None, False): 1, (200, None, True): 63}
    assert all(answer.body == answers[0].body for answer in answers)
    assert (payer.balance(from_account), payee.balance(to_account)) == (990, 10)


def test_100_payments_at_once_from_what_is_enough_for_50_make_50(live_bank: Bank) -> None:
    payer, from_account = live_bank.customer(50)
    payee, to_account = live_bank.customer()

    answers = at_once([partial(payer.transfer, from_account, to_account, 1)] * 100)

    assert kinds(answers) == {(201, None, False): 50, (422, "insufficient_funds", False): 50}
    assert (payer.balance(from_account), payee.balance(to_account)) == (0, 50)


def test_500_credits_at_once_on_one_account_lose_nothing(live_bank: Bank) -> None:
    payers = [live_bank.customer(100) for _ in range(5)]
    payee, to_account = live_bank.customer()

    answers = spread([partial(payer.transfer, account, to_account, 1) for payer, account in payers * 100])

    assert kinds(answers) == {(201, None, False): 500}
    assert payee.balance(to_account) == 500


def test_400_transfers_to_and_fro_keep_the_sum(live_bank: Bank) -> None:
    customers = [live_bank.customer(200) for _ in range(8)]
    chance = random.Random(8)
    requests: list[Callable[[], Answer]] = []
    for _ in range(400):
        (payer, from_account), (_payee, to_account) = chance.sample(customers, 2)
        requests.append(partial(payer.transfer, from_account, to_account, chance.randint(1, 120)))

    answers = spread(requests)

    assert {answer.code for answer in answers} <= {None, "insufficient_funds"}
    assert sum(payer.balance(account) for payer, account in customers) == 1_600


def test_one_refused_transfer_sent_32_times_at_once_is_refused_once_and_repeated_to_the_rest(live_bank: Bank) -> None:
    payer, from_account = live_bank.customer(5)
    payee, to_account = live_bank.customer()
    key = new_key()

    answers = at_once([partial(payer.transfer, from_account, to_account, 10, key)] * 32)

    assert kinds(answers) == {(422, "insufficient_funds", False): 1, (422, "insufficient_funds", True): 31}
    assert len({(answer.body["detail"], answer.body["transactionId"]) for answer in answers}) == 1
    assert (payer.balance(from_account), payee.balance(to_account)) == (5, 0)


def test_one_key_with_two_bodies_at_once_takes_effect_for_one_of_them(live_bank: Bank) -> None:
    payer, from_account = live_bank.customer(1_000)
    payee, to_account = live_bank.customer()
    key = new_key()

    answers = at_once([partial(payer.transfer, from_account, to_account, amount, key) for amount in [10, 11] * 12])

    assert kinds(answers) == {
        (201, None, False): 1,
        (200, None, True): 11,
        (422, "idempotency_key_reused", False): 12,
    }
    assert payee.balance(to_account) in (10, 11)


def test_one_key_of_two_users_at_once_takes_effect_for_both(live_bank: Bank) -> None:
    first, first_account = live_bank.customer(100)
    second, second_account = live_bank.customer(100)
    payee, to_account = live_bank.customer()
    key = new_key()

    answers = at_once(
        [partial(first.transfer, first_account, to_account, 3, key)] * 4
        + [partial(second.transfer, second_account, to_account, 5, key)] * 4
    )

    assert kinds(answers) == {(201, None, False): 2, (200, None, True): 6}
    assert payee.balance(to_account) == 8


def test_initial_funds_sent_16_times_at_once_under_one_key_are_credited_once(live_bank: Bank) -> None:
    person, account = live_bank.customer()
    key = new_key()

    answers = at_once([partial(live_bank.fund, account, 700, key)] * 16)

    assert kinds(answers) == {(201, None, False): 1, (200, None, True): 15}
    assert person.balance(account) == 700


def test_one_address_registered_16_times_at_once_is_one_user(live_bank: Bank) -> None:
    body = {"name": "Asha Rao", "email": "asha@fincore.example", "password": PASSWORD}

    answers = at_once([partial(live_bank.anonymous.post, "/api/auth/register", body)] * 16)

    assert kinds(answers) == {(201, None, False): 1, (409, "email_taken", False): 15}


def test_the_first_16_accounts_in_a_currency_opened_at_once_share_one_treasury(
    live_bank: Bank, database: Database[Document]
) -> None:
    people: list[Person] = [live_bank.register() for _ in range(16)]

    accounts = at_once([partial(person.open_account, "SEK") for person in people])

    opened = list(database.accounts.find({"currency": "SEK"}))
    assert {account["_id"] for account in opened} == {treasury_id("SEK"), *map(ObjectId, accounts)}
    assert len(opened) == 17
