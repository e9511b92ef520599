"""A statement that programs have read and written again: its values count, not their spelling."""

import copy
import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from pymongo.database import Database

from app.mongo import Document
from tests.again import again
from tests.people import Bank, Person
from tests.verdicts import SOUND, Statement, verdict

MOMENTS = ("from", "to", "createdAt")


@pytest.fixture
def asha(bank: Bank, database: Database[Document]) -> tuple[Person, Statement]:
    return again(database, bank, make_asha)


def make_asha(bank: Bank) -> tuple[Person, Statement]:
    person, account = bank.customer(1_000)
    _, other = bank.customer()
    for n in range(1, 4):
        person.transfer(account, other, n, description="Rent")
    return person, person.get(f"/api/accounts/{account}/statement").body


def respelled(value: Any, spell: Callable[[str, Any], Any], name: str = "") -> Any:
    if isinstance(value, dict):
        return {member: respelled(inner, spell, member) for member, inner in value.items()}
    if isinstance(value, list):
        return [respelled(inner, spell, name) for inner in value]
    return spell(name, value)


def shortest(text: str) -> str:
    whole, fraction = text.rstrip("Z").split(".")
    return f"{whole}.{fraction.rstrip('0')}".rstrip(".") + "Z"


def in_india(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat()


SPELLINGS: dict[str, Callable[[str], str]] = {
    "shortest": shortest,
    "microseconds": lambda text: text.replace("Z", "000+00:00"),
    "nanoseconds": lambda text: text.replace("Z", "000000Z"),
    "lower case": str.lower,
    "another offset": in_india,
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_moment_is_one_in_any_spelling(asha: tuple[Person, Statement], spelling: str) -> None:
    person, statement = asha

    again = respelled(statement, lambda name, value: SPELLINGS[spelling](value) if name in MOMENTS else value)

    assert again != statement
    assert verdict(person, again) == SOUND


def test_a_whole_number_is_one_with_a_point_or_an_exponent(asha: tuple[Person, Statement]) -> None:
    person, statement = asha

    as_floats = respelled(statement, lambda _, value: float(value) if isinstance(value, int) else value)

    assert verdict(person, as_floats) == SOUND
    text = json.dumps(statement).replace('"openingBalance": 0', '"openingBalance": 0e5')
    assert person.post("/api/statements/verify", data=text.encode()).body == SOUND


def test_members_may_come_in_any_order_and_those_that_are_null_may_be_left_out(
    asha: tuple[Person, Statement],
) -> None:
    person, statement = asha
    turned = dict(reversed(statement.items()))
    turned["entries"] = [dict(reversed(entry.items())) for entry in statement["entries"]]
    short = {name: value for name, value in statement.items() if value is not None}
    short["entries"] = [{n: v for n, v in entry.items() if v is not None} for entry in statement["entries"]]

    assert verdict(person, turned) == verdict(person, short) == SOUND


def test_a_number_that_no_reader_can_hold_is_refused(asha: tuple[Person, Statement]) -> None:
    person, statement = asha
    text = json.dumps({**statement, "closingBalance": "NUMBER"}).replace('"NUMBER"', "1e-99999999999999999999")

    answer = person.post("/api/statements/verify", data=text.encode())

    assert (answer.status, answer.code) == (400, "malformed_json")


def test_ids_and_hashes_may_be_in_capitals(asha: tuple[Person, Statement]) -> None:
    person, statement = asha
    names = ("accountId", "id", "transactionId", "counterparty", "lastHash", "previousHash", "hash", "recordHash")

    loud = respelled(statement, lambda name, value: value.upper() if value and name in names else value)

    assert verdict(person, loud) == SOUND


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("amount", 1.5),
        ("amount", True),
        ("amount", "1"),
        ("createdAt", "2026-11-22T16:00:00Z"),
        ("createdAt", 1_700_000_000),
        ("sequence", "2"),
        ("description", "rent"),
        ("description", None),
        ("type", "debit"),
    ],
)
def test_another_value_is_named_however_close(asha: tuple[Person, Statement], name: str, value: Any) -> None:
    person, statement = asha
    statement["entries"][2][name] = value

    assert verdict(person, statement)["genuine"] is False


def test_a_moment_that_is_less_than_a_millisecond_off_is_another(asha: tuple[Person, Statement]) -> None:
    person, statement = asha
    entry = statement["entries"][2]

    for more in ("1Z", "0001Z", "0000001Z"):
        entry["createdAt"] = entry["createdAt"][: len("2026-11-22T16:00:00.123")] + more
        assert verdict(person, statement)["fault"]["field"] == "createdAt"


def test_a_number_is_compared_digit_for_digit(asha: tuple[Person, Statement]) -> None:
    person, statement = asha
    text = json.dumps(statement).replace('"closingBalance": 994', '"closingBalance": 994.00000000000000000001')

    found = person.post("/api/statements/verify", data=text.encode()).body

    assert (found["genuine"], found["fault"]["field"]) == (False, "closingBalance")


INVENTED = [
    lambda s: s["entries"][1].update(name="Paid 1,000,000 to ACME"),
    lambda s: s["entries"][1].update(entries=[1]),
    lambda s: s["entries"][1].update(paid=None),
    lambda s: s.update(note="Certified by the bank"),
    lambda s: s.update(note=None),
    lambda s: s.update(name=["Paid 1,000,000 to ACME"]),
    lambda s: s.update(name=5),
]


@pytest.mark.parametrize("invent", INVENTED)
def test_a_member_that_is_not_of_a_statement_makes_it_not_genuine(
    asha: tuple[Person, Statement], invent: Callable[[Statement], None]
) -> None:
    person, statement = asha
    invented = copy.deepcopy(statement)
    invent(invented)

    found = verdict(person, invented)

    assert (found["genuine"], found["complete"]) == (False, True)
    assert found["fault"]["field"] in {"name", "entries", "paid", "note"}


def test_the_verdict_says_that_the_name_was_not_compared(asha: tuple[Person, Statement]) -> None:
    person, statement = asha

    assert verdict(person, {**statement, "name": "Not what it is called"}) == SOUND


def test_a_verdict_does_not_repeat_what_is_long(asha: tuple[Person, Statement]) -> None:
    person, statement = asha
    million = 1024 * 1024

    for more in ({"n" * 3 * million: 1}, {"note": "x" * 3 * million}, {"note": [["x" * million]]}):
        answer = person.post("/api/statements/verify", {**statement, **more})
        assert answer.body["genuine"] is False
        assert len(answer.content) < 2_000
