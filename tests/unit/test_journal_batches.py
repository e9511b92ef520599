"""The rules of batches: several transfers under one key, one example each."""

from typing import NamedTuple

import pytest
from bson import ObjectId

from tests.commands import batch, repeated, reversal, transfer
from tests.unit.books import ASHA, BINA, Books, code_of, refusal, told


class Street(NamedTuple):
    books: Books
    ashas: ObjectId
    other: ObjectId
    binas: ObjectId


@pytest.fixture
def street() -> Street:
    """Asha has 100 on one account and none on the other, Bina has none."""
    books = Books()
    books.open(None)
    return Street(books, books.open(ASHA, funds=100), books.open(ASHA), books.open(BINA))


def test_an_item_may_spend_what_an_earlier_one_brought(street: Street) -> None:
    items = [transfer(ASHA, street.ashas, street.other, 100), transfer(ASHA, street.other, street.binas, 100)]

    street.books.must(batch(ASHA, items))

    assert street.books.balance(street.binas) == 100


def test_a_declined_item_stops_the_whole_of_an_atomic_batch_and_spends_the_key(street: Street) -> None:
    command = batch(ASHA, [transfer(ASHA, street.ashas, street.binas, amount) for amount in (60, 60)])

    declined = street.books.post(command)

    assert (refusal(declined).code, refusal(declined).members) == ("insufficient_funds", {"index": 1})
    assert street.books.balance(street.ashas) == 100
    assert street.books.post(repeated(command)).outcome.replayed


def test_a_refused_item_stops_the_whole_of_an_atomic_batch_and_leaves_the_key(street: Street) -> None:
    items = [transfer(ASHA, street.ashas, street.binas, 60), transfer(ASHA, street.ashas, ObjectId(), 1)]

    refused = refusal(street.books.post(batch(ASHA, items, key="wages")))

    assert (refused.code, refused.status, refused.members) == ("account_not_found", 422, {"index": 1})
    assert code_of(street.books.post(batch(ASHA, items[:1], key="wages"))) is None


def test_without_atomic_each_item_stands_for_itself(street: Street) -> None:
    amounts = (60, 60, 40)
    items = [transfer(ASHA, street.ashas, street.binas, amount) for amount in amounts]

    outcome = street.books.must(batch(ASHA, items, atomic=False)).outcome

    assert [result.error.code if result.error else None for result in outcome.results] == [
        None,
        "insufficient_funds",
        None,
    ]
    assert street.books.balance(street.binas) == 100


def test_a_repeat_tells_of_each_item_what_was_told_at_first(street: Street) -> None:
    payees = (street.binas, street.binas, ObjectId())
    items = [transfer(ASHA, street.ashas, payee, 60) for payee in payees]
    command = batch(ASHA, items, atomic=False)
    first = street.books.must(command).outcome
    paid = first.results[0].unwrap()
    street.books.must(reversal(paid.id))

    repeat = street.books.post(repeated(command)).outcome

    assert repeat.replayed
    assert told(repeat) == told(first)
