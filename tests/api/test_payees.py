"""Payees: looking a number up before paying to it, and saving payees."""

from functools import partial
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from app.account_numbers import grouped
from app.events.service import place_events
from app.ledger.records import treasury_id
from app.mongo import Document
from app.payees.service import PAYEES_PER_USER_MAX
from tests.clients import Answer
from tests.people import Bank, Person
from tests.threads import at_once

UNKNOWN = "FC76910284736650"
WRONG = "FC77910284736650"
PAYEES = "/api/payees"
MEMBERS = {"id", "accountId", "number", "name", "currency", "holder", "closed", "createdAt"}


@pytest.fixture
def asha(bank: Bank) -> Person:
    return bank.register()


@pytest.fixture
def bens(bank: Bank) -> tuple[Person, str, str]:
    """Ben, his account and its number."""
    ben = bank.register("Ben Cole")
    account = ben.open_account("EUR")
    return ben, account, ben.number_of(account)


def look_up(person: Person, number: str) -> Answer:
    return person.get(f"{PAYEES}/lookup?number={number}")


def save(person: Person, number: str, name: str = "Landlord") -> Answer:
    return person.post(PAYEES, {"number": number, "name": name})


def payees_of(person: Person) -> list[dict[str, Any]]:
    answer = person.get(PAYEES)
    assert answer.status == 200, answer.content
    payees: list[dict[str, Any]] = answer.body["payees"]
    return payees


def without_request_id(answer: Answer) -> dict[str, Any]:
    return {name: value for name, value in answer.body.items() if name != "requestId"}


def test_a_lookup_says_whose_account_it_is_and_nothing_else(asha: Person, bens: tuple[Person, str, str]) -> None:
    _, _, number = bens

    found = look_up(asha, grouped(number).lower().replace(" ", "%20"))

    assert (found.status, found.body) == (200, {"number": number, "currency": "EUR", "holder": "Ben C."})


def test_a_lookup_finds_nobody_where_no_money_can_go(bank: Bank, asha: Person, bens: tuple[Person, str, str]) -> None:
    ben, account, number = bens
    treasury = bank.system.number_of(str(treasury_id("EUR")))
    assert ben.post(f"/api/accounts/{account}/close").status == 200

    closed, of_the_bank, unknown = (look_up(asha, each) for each in (number, treasury, UNKNOWN))

    assert (unknown.status, unknown.code) == (404, "payee_not_found")
    assert without_request_id(closed) == without_request_id(of_the_bank) == without_request_id(unknown)


def test_a_lookup_does_not_tell_that_an_account_is_frozen(
    bank: Bank, asha: Person, bens: tuple[Person, str, str]
) -> None:
    _, account, number = bens
    before = look_up(asha, number).body
    bank.system.patch(f"/api/admin/accounts/{account}/status", {"status": "FROZEN", "reason": "Stolen"})

    assert look_up(asha, number).body == before


@pytest.mark.parametrize("call", [look_up, save])
@pytest.mark.parametrize("number", [WRONG, "FC", "", "6560a1b2c3d4e5f601234567", "76910284736650"])
def test_what_is_no_number_is_refused(asha: Person, call: Any, number: str) -> None:
    answer = call(asha, number)

    assert (answer.status, answer.code) == (422, "validation_failed")
    ((field, (message,)),) = answer.body["errors"].items()
    assert field == "number"
    assert ("check digits 77" in message) is (number == WRONG)


def test_a_payee_is_saved_listed_renamed_and_deleted(asha: Person, bens: tuple[Person, str, str]) -> None:
    _, account, number = bens

    saved = save(asha, f" {grouped(number).lower()} ")
    payee = saved.body["payee"]
    path = f"{PAYEES}/{payee['id']}"

    assert (saved.status, saved.headers["location"]) == (201, path)
    assert set(payee) == MEMBERS
    assert (payee["number"], payee["accountId"], payee["name"]) == (number, account, "Landlord")
    assert (payee["currency"], payee["holder"], payee["closed"]) == ("EUR", "Ben C.", False)
    assert payees_of(asha) == [payee]
    renamed = asha.patch(path, {"name": "Landlady"})
    assert (renamed.status, renamed.body["payee"]) == (200, {**payee, "name": "Landlady"})
    deleted = asha.call("DELETE", path)
    assert (deleted.status, deleted.content) == (204, b"")
    assert payees_of(asha) == []
    assert asha.call("DELETE", path).code == asha.patch(path, {"name": "x"}).code == "payee_not_found"


def test_a_repeat_saves_nothing_twice_and_another_name_is_refused(asha: Person, bens: tuple[Person, str, str]) -> None:
    _, _, number = bens
    first = save(asha, number)

    repeat, other = save(asha, grouped(number)), save(asha, number, "Somebody else")

    assert (repeat.status, repeat.body) == (200, first.body)
    assert (other.status, other.code) == (422, "validation_failed")
    assert other.body["errors"] == {"number": ["Saved already, as Landlord."]}
    assert len(payees_of(asha)) == 1


def test_who_saves_a_payee_has_an_event_of_it_once(asha: Person, bens: tuple[Person, str, str]) -> None:
    _, _, number = bens
    payee = save(asha, number).body["payee"]
    save(asha, number)

    place_events()

    (event,) = asha.get("/api/events?types=payee.added").body["events"]
    assert event["data"] == {"payeeId": payee["id"], "currency": "EUR"}
    assert event["createdAt"] == payee["createdAt"]


def test_saves_of_the_same_moment_save_once(asha: Person, bens: tuple[Person, str, str]) -> None:
    _, _, number = bens

    answers = at_once([partial(save, asha, number) for _ in range(6)])

    assert sorted(answer.status for answer in answers) == [200] * 5 + [201]
    assert len({answer.body["payee"]["id"] for answer in answers}) == 1
    assert len(payees_of(asha)) == 1


def test_whom_one_saved_is_nobody_elses_business(bank: Bank, asha: Person, bens: tuple[Person, str, str]) -> None:
    ben, _, number = bens
    path = f"{PAYEES}/{save(asha, number).body['payee']['id']}"

    for other in (ben, bank.system):
        assert payees_of(other) == []
        for answer in (other.patch(path, {"name": "Mine"}), other.call("DELETE", path)):
            assert (answer.status, answer.code) == (404, "payee_not_found")
        assert save(other, number, "My own name").status == 201
    assert payees_of(asha)[0]["name"] == "Landlord"


def test_a_payee_whose_account_was_closed_stays_and_says_so(asha: Person, bens: tuple[Person, str, str]) -> None:
    ben, account, number = bens
    save(asha, number)
    assert ben.post(f"/api/accounts/{account}/close").status == 200

    (payee,) = payees_of(asha)

    assert (payee["closed"], payee["holder"]) == (True, "Ben C.")
    assert save(asha, number).code == "payee_not_found"


def test_a_holders_new_name_shows_at_once(asha: Person, bens: tuple[Person, str, str]) -> None:
    ben, _, number = bens
    save(asha, number)
    ben.patch("/api/auth/me", {"name": "Ben Miller"})

    assert payees_of(asha)[0]["holder"] == look_up(asha, number).body["holder"] == "Ben M."


def test_a_user_saves_so_many_payees_and_no_more(
    asha: Person, bens: tuple[Person, str, str], database: Database[Document]
) -> None:
    ben, _, number = bens
    first = save(asha, number).body["payee"]
    document = database.payees.find_one({}, {"_id": 0})
    assert document is not None
    database.payees.insert_many(
        [{**document, "_id": ObjectId(), "number": f"FC{n:014}"} for n in range(PAYEES_PER_USER_MAX - 1)]
    )

    more = save(asha, ben.number_of(ben.open_account()))

    assert (more.status, list(more.body["errors"])) == (422, ["body"])
    assert save(asha, number).body["payee"] == first, "a repeat is a repeat"
    assert len(payees_of(asha)) == PAYEES_PER_USER_MAX
    asha.call("DELETE", f"{PAYEES}/{first['id']}")
    assert save(asha, number).status == 201


@pytest.mark.parametrize(
    "body",
    [
        {"number": UNKNOWN},
        {"number": UNKNOWN, "name": ""},
        {"number": UNKNOWN, "name": " "},
        {"number": UNKNOWN, "name": "x" * 101},
        {"number": UNKNOWN, "name": "a\nb"},
        {"number": UNKNOWN, "name": "a\u202eb"},
        {"number": {"$ne": 1}, "name": "x"},
        {"number": [UNKNOWN], "name": "x"},
        {"number": UNKNOWN, "name": {"$gt": ""}},
        {"name": "x"},
    ],
)
def test_what_is_no_payee_is_refused(asha: Person, body: dict[str, Any]) -> None:
    answer = asha.post(PAYEES, body)

    assert (answer.status, answer.code) == (422, "validation_failed")


def test_nobody_looks_up_or_saves_without_a_token(bank: Bank) -> None:
    for answer in (
        bank.anonymous.get(f"{PAYEES}/lookup?number={UNKNOWN}"),
        bank.anonymous.get(PAYEES),
        bank.anonymous.post(PAYEES, {"number": UNKNOWN, "name": "x"}),
        bank.anonymous.call("DELETE", f"{PAYEES}/{'a' * 24}"),
    ):
        assert (answer.status, answer.code) == (401, "token_missing")


def test_an_answer_without_a_body_ends_where_it_should(live_bank: Bank) -> None:
    asha, ben = live_bank.register(), live_bank.register("Ben Cole")
    payee = save(asha, ben.number_of(ben.open_account())).body["payee"]

    answer = asha.call("DELETE", f"{PAYEES}/{payee['id']}")

    assert (answer.status, answer.content) == (204, b"")
    assert not {"content-length", "transfer-encoding"} & answer.headers.keys()
    assert payees_of(asha) == [], "on the same connection"


@pytest.mark.parametrize(
    "written",
    [
        "FC76%0A9102%0D84736650",
        "FC76%009102847366",
        "%EF%BC%A6FC76910284736650",
        "FC" + "%20" * 2000 + "76910284736650",
        "FC76910284736650%2e",
        "fc-76-910284736650",
        "%C2%A0FC76%E2%80%AF910284736650",
        "FC%ED%A0%8076910284736650",
    ],
)
def test_no_spelling_of_a_number_is_too_much(asha: Person, written: str) -> None:
    for path in (
        f"{PAYEES}/lookup?number={written}",
        f"/api/accounts/{written}",
        f"/api/transactions?account={written}",
    ):
        assert asha.get(path).status in (404, 422), path
