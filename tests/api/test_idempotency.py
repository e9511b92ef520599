"""An idempotency key takes effect once: repeats get the first outcome, other requests the fields that differ."""

from dataclasses import dataclass
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from app.mongo import Document
from tests.again import again
from tests.clients import Answer
from tests.people import Bank, Person

REPLAYED = "idempotency-replayed"
CREATE = "/api/transactions/create"
FUND = "/api/transactions/initial-funds"


@dataclass(frozen=True)
class Parties:
    """Somebody with 1,000 and a spare account, and somebody to pay."""

    payer: Person
    from_account: str
    spare: str
    payee: Person
    to_account: str

    def request(self, **changes: Any) -> dict[str, Any]:
        """Return a transfer with every field, changed as asked; a field changed to ... is left out."""
        body = {
            "fromAccount": self.from_account,
            "toAccount": self.to_account,
            "amount": 100,
            "idempotencyKey": "rent-1",
            "description": "Rent",
            "metadata": {"invoice": "7", "flat": "12"},
            **changes,
        }
        return {name: value for name, value in body.items() if value is not ...}

    def balances(self) -> tuple[int, int]:
        return self.payer.balance(self.from_account), self.payee.balance(self.to_account)


@pytest.fixture
def parties(bank: Bank, database: Database[Document]) -> Parties:
    return again(database, bank, make_parties)


def make_parties(bank: Bank) -> Parties:
    payer, from_account = bank.customer(1_000)
    spare = payer.open_account()
    return Parties(payer, from_account, spare, *bank.customer())


def without_request_id(answer: Answer) -> dict[str, Any]:
    return {name: value for name, value in answer.body.items() if name != "requestId"}


def test_a_repeat_gets_the_first_outcome_and_is_marked(parties: Parties) -> None:
    first = parties.payer.post(CREATE, parties.request())
    parties.payer.transfer(parties.from_account, parties.to_account, 5)

    repeat = parties.payer.post(CREATE, parties.request())

    assert (first.status, REPLAYED in first.headers) == (201, False)
    assert (repeat.status, repeat.headers[REPLAYED]) == (200, "true")
    assert repeat.body == first.body
    assert parties.balances() == (895, 105)


def test_initial_funds_are_given_once(bank: Bank, parties: Parties) -> None:
    first = bank.fund(parties.spare, 500, "opening-1")
    repeat = bank.fund(parties.spare, 500, "opening-1")

    assert (first.status, repeat.status, repeat.headers[REPLAYED]) == (201, 200, "true")
    assert repeat.body == first.body
    assert parties.payer.balance(parties.spare) == 500


def test_a_repeat_of_a_decline_is_declined_again_even_when_there_is_money_now(bank: Bank, parties: Parties) -> None:
    first = parties.payer.post(CREATE, parties.request(amount=1_001))
    bank.fund(parties.from_account, 9_000)

    repeat = parties.payer.post(CREATE, parties.request(amount=1_001))

    assert (first.status, first.code, REPLAYED in first.headers) == (422, "insufficient_funds", False)
    assert (repeat.status, repeat.headers[REPLAYED]) == (422, "true")
    assert without_request_id(repeat) == without_request_id(first)
    assert parties.balances() == (10_000, 0)


def test_a_decline_spends_the_key(bank: Bank, parties: Parties) -> None:
    parties.payer.post(CREATE, parties.request(amount=1_001))

    answer = parties.payer.post(CREATE, parties.request(amount=1_000))

    assert (answer.status, answer.code) == (422, "idempotency_key_reused")
    assert parties.balances() == (1_000, 0)


def test_a_repeat_is_recorded_once(parties: Parties, database: Database[Document]) -> None:
    for amount in (100, 1_001):
        for _ in range(3):
            parties.payer.post(CREATE, parties.request(amount=amount, idempotencyKey=f"key-{amount}"))

    keys = [t["idempotency_key"] for t in database.transactions.find({"user": ObjectId(parties.payer.id)})]
    assert sorted(keys) == ["key-100", "key-1001"]


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ({"amount": 101}, {"amount"}),
        ({"description": "Rest"}, {"description"}),
        ({"description": ""}, {"description"}),
        ({"description": ...}, {"description"}),
        ({"description": None}, {"description"}),
        ({"metadata": {"invoice": "8", "flat": "12"}}, {"metadata"}),
        ({"metadata": {"invoice": "7"}}, {"metadata"}),
        ({"metadata": {}}, {"metadata"}),
        ({"metadata": ...}, {"metadata"}),
        ({"amount": 1, "description": "Rest", "metadata": None}, {"amount", "description", "metadata"}),
    ],
)
def test_another_request_under_the_key_is_told_which_fields_differ(
    parties: Parties, changes: dict[str, Any], differing: set[str]
) -> None:
    parties.payer.post(CREATE, parties.request())

    answer = parties.payer.post(CREATE, parties.request(**changes))

    assert (answer.status, answer.code) == (422, "idempotency_key_reused")
    assert set(answer.body["errors"]) == differing
    assert REPLAYED not in answer.headers
    assert parties.balances() == (900, 100)


@pytest.mark.parametrize("field", ["fromAccount", "toAccount"])
@pytest.mark.parametrize("which", ["own", "foreign", "missing"])
def test_another_account_under_the_key_is_a_difference_whatever_account_it_is(
    bank: Bank, parties: Parties, field: str, which: str
) -> None:
    account = {"own": parties.spare, "foreign": bank.customer(1)[1], "missing": str(ObjectId())}[which]
    parties.payer.post(CREATE, parties.request())

    answer = parties.payer.post(CREATE, parties.request(**{field: account}))

    assert (answer.code, set(answer.body["errors"])) == ("idempotency_key_reused", {field})


@pytest.mark.parametrize("which", ["another", "missing"])
def test_other_funds_under_the_key_are_a_difference_whatever_account_they_are_for(
    bank: Bank, parties: Parties, which: str
) -> None:
    account = {"another": parties.spare, "missing": str(ObjectId())}[which]
    bank.fund(parties.from_account, 500, "opening-1")
    body = {"toAccount": account, "amount": 500, "idempotencyKey": "opening-1"}

    answer = bank.system.post(FUND, body)

    assert (answer.code, set(answer.body["errors"])) == ("idempotency_key_reused", {"toAccount"})


def test_a_key_is_one_over_all_calls(bank: Bank, parties: Parties) -> None:
    own = bank.system.open_account()
    bank.fund(own, 500, "opening-1")

    answer = bank.system.transfer(own, parties.to_account, 500, "opening-1")

    assert answer.code == "idempotency_key_reused"
    # Named for the calls that differ, besides the fields that only one of them has.
    assert {"idempotencyKey", "fromAccount"} <= set(answer.body["errors"])
    assert parties.balances() == (1_000, 0)


def test_a_field_left_out_and_null_are_the_same_request(parties: Parties) -> None:
    first = parties.payer.post(CREATE, parties.request(description=..., metadata=...))
    repeat = parties.payer.post(CREATE, parties.request(description=None, metadata=None))

    assert (first.status, repeat.status) == (201, 200)


def test_the_order_of_members_does_not_make_another_request(parties: Parties) -> None:
    request = parties.request()
    turned = dict(reversed(parties.request(metadata=dict(reversed(request["metadata"].items()))).items()))
    parties.payer.post(CREATE, request)

    assert parties.payer.post(CREATE, turned).status == 200


def test_an_id_in_capitals_is_the_same_id(parties: Parties) -> None:
    parties.payer.post(CREATE, parties.request())

    assert parties.payer.post(CREATE, parties.request(toAccount=parties.to_account.upper())).status == 200


@pytest.mark.parametrize("key", ["rent-1", '"quoted"', "~!", "x" * 255])
def test_the_key_may_come_in_the_header_or_the_body(parties: Parties, key: str) -> None:
    header = {"Idempotency-Key": key}

    in_header = parties.payer.post(CREATE, parties.request(idempotencyKey=...), headers=header)
    in_body = parties.payer.post(CREATE, parties.request(idempotencyKey=key))
    in_both = parties.payer.post(CREATE, parties.request(idempotencyKey=key), headers=header)
    beside_null = parties.payer.post(CREATE, parties.request(idempotencyKey=None), headers=header)

    assert in_header.body["transaction"]["idempotencyKey"] == key
    assert (in_header.status, in_body.status, in_both.status, beside_null.status) == (201, 200, 200, 200)
    assert parties.balances() == (900, 100)


@pytest.mark.parametrize("key", ["März", "März".encode().decode("latin-1"), "rent 1", "₹".encode().decode("latin-1")])
def test_a_key_in_the_header_is_visible_ascii(parties: Parties, key: str) -> None:
    answer = parties.payer.post(CREATE, parties.request(idempotencyKey=...), headers={"Idempotency-Key": key})

    assert (answer.status, answer.code, set(answer.body["errors"])) == (422, "validation_failed", {"Idempotency-Key"})
    assert "visible ASCII" in answer.body["errors"]["Idempotency-Key"][0]
    assert parties.balances() == (1_000, 0)


@pytest.mark.parametrize("key", ["Miete März ₹ 東京", " rent", "rent 1"])
def test_a_key_in_the_body_may_have_any_printable_characters(parties: Parties, key: str) -> None:
    answers = [parties.payer.post(CREATE, parties.request(idempotencyKey=key)) for _ in range(2)]

    assert [answer.status for answer in answers] == [201, 200]
    assert answers[0].body["transaction"]["idempotencyKey"] == key


def test_header_and_body_must_not_carry_different_keys(parties: Parties) -> None:
    answer = parties.payer.post(CREATE, parties.request(), headers={"Idempotency-Key": "rent-2"})

    assert (answer.status, answer.code, set(answer.body["errors"])) == (422, "validation_failed", {"idempotencyKey"})
    assert parties.balances() == (1_000, 0)


def test_without_a_key_nothing_is_done(parties: Parties) -> None:
    answer = parties.payer.post(CREATE, parties.request(idempotencyKey=...))

    assert (answer.status, answer.code, set(answer.body["errors"])) == (422, "validation_failed", {"idempotencyKey"})
    assert parties.balances() == (1_000, 0)


def test_keys_differ_by_the_case_of_their_letters_and_by_blanks(parties: Parties) -> None:
    keys = ["rent", "Rent", "rent ", " rent"]
    answers = [parties.payer.post(CREATE, parties.request(idempotencyKey=key)) for key in keys]

    assert [answer.status for answer in answers] == [201] * 4
    assert parties.balances() == (600, 400)


def test_the_same_key_of_two_users_does_not_meet(bank: Bank, parties: Parties) -> None:
    bank.fund(parties.to_account, 50)
    parties.payer.post(CREATE, parties.request())

    other = parties.payee.transfer(parties.to_account, parties.from_account, 30, "rent-1")

    assert (other.status, REPLAYED in other.headers) == (201, False)
    assert other.body["transaction"]["amount"] == 30
    assert parties.balances() == (930, 120)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"amount": 0}, "validation_failed"),
        ({"amount": "100"}, "validation_failed"),
        ({"description": "x" * 201}, "validation_failed"),
        ({"unknown": 1}, "validation_failed"),
        ({"toAccount": "no-id"}, "validation_failed"),
        ({"toAccount": "f" * 24}, "account_not_found"),
        ({"fromAccount": "f" * 24}, "account_not_found"),
        ({"fromAccount": "foreign"}, "account_not_found"),
        ({"toAccount": "own"}, "same_account"),
        ({"toAccount": "euros"}, "currency_mismatch"),
    ],
    ids=str,
)
def test_what_is_wrong_with_the_request_itself_does_not_spend_the_key(
    bank: Bank, parties: Parties, database: Database[Document], changes: dict[str, Any], code: str
) -> None:
    foreign, euros = bank.customer(100)[1], bank.customer(0, "EUR")[1]
    named = {"foreign": foreign, "own": parties.from_account, "euros": euros}
    changes = {name: named.get(value, value) for name, value in changes.items()}
    recorded = database.transactions.count_documents({})

    refused = parties.payer.post(CREATE, parties.request(**changes))

    assert refused.code == code
    assert database.transactions.count_documents({}) == recorded
    assert parties.payer.post(CREATE, parties.request()).status == 201


def test_a_call_refused_for_its_token_or_role_does_not_spend_the_key(bank: Bank, parties: Parties) -> None:
    body = {"toAccount": parties.from_account, "amount": 1, "idempotencyKey": "rent-1"}

    assert bank.anonymous.post(CREATE, parties.request()).code == "token_missing"
    assert parties.payer.post(FUND, body).code == "forbidden"
    assert parties.payer.post(CREATE, parties.request()).status == 201
