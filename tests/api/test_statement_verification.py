"""Verifying a statement: genuine and complete, or not, and then why."""

import copy
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from app.clock import SETTLING
from app.mongo import Document
from app.statements import service
from tests.again import again
from tests.people import Bank, Person
from tests.verdicts import SOUND, Statement, verdict


@pytest.fixture
def asha(bank: Bank, database: Database[Document]) -> tuple[Person, Statement]:
    """Somebody with a statement of six entries."""
    return again(database, bank, make_asha)


def make_asha(bank: Bank) -> tuple[Person, Statement]:
    person, account = bank.customer(1_000)
    _, other = bank.customer()
    for n in range(1, 5):
        person.transfer(account, other, n, description="Rent")
    return person, person.get(f"/api/accounts/{account}/statement").body


def without(statement: Statement, *sequences: int) -> Statement:
    entries = [entry for entry in statement["entries"] if entry["sequence"] not in sequences]
    return {**statement, "entries": entries}


def test_a_statement_as_it_was_given_out_is_genuine(bank: Bank, asha: tuple[Person, Statement]) -> None:
    person, statement = asha
    assert verdict(person, statement) == SOUND

    person.transfer(statement["accountId"], bank.customer()[1], 5)
    person.call("PATCH", f"/api/accounts/{statement['accountId']}", {"name": "Renamed since"})

    assert verdict(person, statement) == SOUND
    later = person.get(f"/api/accounts/{statement['accountId']}/statement?from={statement['to']}").body
    assert verdict(person, later) == SOUND


def test_an_empty_statement_is_genuine(asha: tuple[Person, Statement]) -> None:
    person, statement = asha
    period = "from=2020-01-01T00:00:00Z&to=2020-02-01T00:00:00Z"
    empty = person.get(f"/api/accounts/{statement['accountId']}/statement?{period}").body

    assert verdict(person, empty) == SOUND
    assert verdict(person, {**empty, "openingBalance": 1})["genuine"] is False


@pytest.mark.parametrize(
    ("field", "value"),
    [("amount", 3), ("amount", 2.5), ("amount", "2"), ("amount", True), ("amount", 10**40),
     ("balanceAfter", 1), ("balanceAfter", 10**30),
     ("availableAfter", -(10**30)), ("description", None), ("description", 2**64), ("note", 2**63), ("hash", "0" * 64),
     ("type", "CREDIT"), ("createdAt", "2020-01-01T00:00:00.000Z"), ("counterparty", "0" * 24),
     ("counterparty", [10**30]), ("metadata", {"a": 10**30})],
)  # fmt: skip
def test_a_changed_entry_is_named(asha: tuple[Person, Statement], field: str, value: Any) -> None:
    person, statement = asha
    changed = copy.deepcopy(statement)
    changed["entries"][3][field] = value

    found = verdict(person, changed)

    assert (found["genuine"], found["complete"]) == (False, True)
    assert (found["fault"]["sequence"], found["fault"]["field"]) == (3, field)
    assert found["fault"]["expected"] == statement["entries"][3].get(field)


@pytest.mark.parametrize("sequence", [10**30, -(10**30), 2**63, -(2**63), 2**64, 1e300, -1, "4", None, True, [10**30]])
@pytest.mark.parametrize("place", [0, 3, 6])
def test_an_entry_with_a_sequence_that_there_is_not_is_told(
    asha: tuple[Person, Statement], sequence: Any, place: int
) -> None:
    person, statement = asha
    added, changed = copy.deepcopy(statement), copy.deepcopy(statement)
    added["entries"].insert(place, {**statement["entries"][0], "sequence": sequence})
    changed["entries"][min(place, 5)]["sequence"] = sequence

    assert (verdict(person, added)["genuine"], verdict(person, changed)["genuine"]) == (False, False)
    assert verdict(person, changed)["complete"] is False


@pytest.mark.parametrize(
    "field", ["openingBalance", "closingBalance", "firstSequence", "lastSequence", "lastHash", "to"]
)
def test_a_number_too_large_for_an_answer_is_told(asha: tuple[Person, Statement], field: str) -> None:
    person, statement = asha
    answer = person.post("/api/statements/verify", {**statement, field: 10**30})

    if field == "to":
        assert (answer.status, answer.code) == (422, "validation_failed")
    else:
        assert (answer.body["genuine"], answer.body["fault"]["field"]) == (False, field)


@pytest.mark.parametrize("left_out", [(3,), (0,), (5,), (1, 2)])
def test_an_entry_that_is_left_out_is_named(asha: tuple[Person, Statement], left_out: tuple[int, ...]) -> None:
    person, statement = asha

    assert verdict(person, without(statement, *left_out)) == {
        **SOUND,
        "complete": False,
        "fault": {"sequence": left_out[0], "field": "sequence", "expected": left_out[0], "found": None},
    }


def test_an_entry_too_much_or_out_of_order_is_named(asha: tuple[Person, Statement]) -> None:
    person, statement = asha
    entries = statement["entries"]

    twice = verdict(person, {**statement, "entries": [*entries[:3], entries[2], *entries[3:]]})
    swapped = verdict(person, {**statement, "entries": [*entries[:2], entries[3], entries[2], *entries[4:]]})
    invented = verdict(person, {**statement, "entries": [*entries, {**entries[-1], "sequence": 6}]})
    nothing = verdict(person, {**statement, "entries": [{}, *entries]})

    assert (twice["genuine"], twice["complete"], twice["fault"]["sequence"]) == (False, True, 2)
    assert (swapped["genuine"], swapped["complete"], swapped["fault"]["sequence"]) == (False, False, 2)
    assert (invented["genuine"], invented["complete"], invented["fault"]["sequence"]) == (False, True, 6)
    assert (nothing["genuine"], nothing["fault"]["field"]) == (False, "sequence")


@pytest.mark.parametrize(
    "field", ["openingBalance", "totalCredits", "totalDebits", "closingBalance", "firstSequence", "lastSequence"]
)
def test_a_changed_sum_is_named(asha: tuple[Person, Statement], field: str) -> None:
    person, statement = asha

    found = verdict(person, {**statement, field: statement[field] + 1})

    assert (found["genuine"], found["complete"]) == (False, True)
    expected = {"sequence": None, "field": field, "expected": statement[field], "found": statement[field] + 1}
    assert found["fault"] == expected


def cut(statement: Statement, last: int) -> Statement:
    """Return the statement without what comes after `last`, all of it debits, and with the sums of what remains."""
    gone = sum(entry["amount"] for entry in statement["entries"][last + 1 :])
    return {
        **statement,
        "entries": statement["entries"][: last + 1],
        "totalDebits": statement["totalDebits"] - gone,
        "closingBalance": statement["closingBalance"] + gone,
        "lastSequence": last,
        "lastHash": statement["entries"][last]["hash"],
    }


def test_a_cut_period_with_fitting_sums_is_not_complete(
    asha: tuple[Person, Statement], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end is left out, and the sums are those of what remains."""
    person, statement = asha
    for settling, genuine, joined in ((timedelta(0), False, 0), (SETTLING, True, 1)):
        monkeypatch.setattr(service, "SETTLING", settling)

        found = verdict(person, cut(statement, 4))

        assert (found["genuine"], found["complete"], found["joinedLater"]) == (genuine, False, joined)
        assert found["fault"] == {"sequence": 5, "field": "sequence", "expected": 5, "found": None}


def test_a_period_before_which_the_end_is_cut_is_not_complete(bank: Bank) -> None:
    """The statement of a moment in which nothing happened, with the balance of before the last payment."""
    person, account = bank.customer(1_000)
    before = person.get(f"/api/accounts/{account}/statement").body
    person.transfer(account, bank.customer()[1], 900)
    to = person.get(f"/api/accounts/{account}/statement").body["to"]
    now = person.get(f"/api/accounts/{account}/statement?from={to}").body
    assert (now["entries"], now["closingBalance"]) == ([], 100)

    found = verdict(person, {**now, "openingBalance": 1_000, "closingBalance": 1_000, "lastHash": before["lastHash"]})

    assert (found["complete"], found["joinedLater"], found["fault"]["sequence"]) == (False, 1, 2)


def test_what_may_have_joined_the_last_moment_of_a_period_is_counted_and_no_more(
    bank: Bank, asha: tuple[Person, Statement], monkeypatch: pytest.MonkeyPatch
) -> None:
    person, statement = asha
    account, (_, other) = statement["accountId"], bank.customer()
    # What is too old to be left out shall be so by some milliseconds.
    time.sleep(0.05)
    for _ in range(3):
        person.transfer(account, other, 1)
    whole = person.get(f"/api/accounts/{account}/statement").body
    # All that is newer than entry 5.
    age = datetime.fromisoformat(whole["to"]) - datetime.fromisoformat(whole["entries"][5]["createdAt"])
    monkeypatch.setattr(service, "SETTLING", age - timedelta(milliseconds=1))

    for last in (5, 6, 7):
        found = verdict(person, cut(whole, last))
        assert (found["genuine"], found["complete"], found["joinedLater"]) == (True, False, 8 - last)
        assert found["fault"]["sequence"] == last + 1
    assert verdict(person, whole) == SOUND
    older = verdict(person, cut(whole, 4))
    assert (older["genuine"], older["complete"], older["fault"]["sequence"]) == (False, False, 5)
    # Its sums are still those of its entries, and none in the middle is gone.
    assert verdict(person, {**cut(whole, 6), "closingBalance": whole["closingBalance"]})["genuine"] is False
    middle = verdict(person, without(whole, 6))
    assert (middle["genuine"], middle["complete"], middle["fault"]["sequence"]) == (True, False, 6)
    end = verdict(person, without(whole, 8))
    assert (end["genuine"], end["complete"], end["fault"]["sequence"]) == (True, False, 8)
    nothing = {**cut(whole, 5), "entries": [], "firstSequence": None, "lastSequence": None}
    assert verdict(person, nothing)["complete"] is False


@pytest.mark.parametrize("claimed", [None, -1, 10**30, "5", True, [5]])
@pytest.mark.parametrize("name", ["lastSequence", "lastHash"])
def test_an_end_that_is_none_is_named(asha: tuple[Person, Statement], name: str, claimed: Any) -> None:
    person, statement = asha

    found = verdict(person, {**statement, name: claimed})

    assert (found["genuine"], found["complete"], found["fault"]["field"]) == (False, True, name)
    assert verdict(person, {**statement, "entries": [], "lastSequence": None, "lastHash": claimed})["genuine"] is False


def test_a_ledger_that_was_changed_itself_is_told(asha: tuple[Person, Statement], database: Database[Document]) -> None:
    person, statement = asha
    account = ObjectId(statement["accountId"])
    database.ledger_entries.update_one({"account": account, "sequence": 3}, {"$set": {"hash": bytes(32)}})
    now = person.get(f"/api/accounts/{statement['accountId']}/statement").body

    found = verdict(person, now)

    assert (found["genuine"], found["fault"]["sequence"], found["fault"]["field"]) == (False, 3, "hash")


def test_only_who_may_read_the_account_can_verify(bank: Bank, asha: tuple[Person, Statement]) -> None:
    _, statement = asha

    answer = bank.register().post("/api/statements/verify", statement)

    assert (answer.status, answer.code) == (404, "account_not_found")
    assert bank.system.post("/api/statements/verify", statement).body == SOUND
    assert bank.anonymous.post("/api/statements/verify", statement).status == 401


@pytest.mark.parametrize(
    "change",
    [
        lambda _: {},
        lambda s: {**s, "entries": None},
        lambda s: {**s, "entries": [1]},
        lambda s: {**s, "accountId": "x"},
        lambda s: {**s, "from": s["to"], "to": s["from"]},
        lambda s: {**s, "from": "0001-01-01T00:00:00Z"},
        lambda _: [],
    ],
)
def test_what_is_no_statement_is_refused(asha: tuple[Person, Statement], change: Callable[[Statement], Any]) -> None:
    person, statement = asha

    answer = person.post("/api/statements/verify", change(statement))

    assert (answer.status, answer.code) == (422, "validation_failed")


def test_a_statement_larger_than_other_bodies_is_taken_up_to_a_limit(asha: tuple[Person, Statement]) -> None:
    person, statement = asha
    million = 1024 * 1024

    assert person.post("/api/statements/verify", {**statement, "note": "x" * million}).body["genuine"] is False
    assert person.post("/api/statements/verify", {**statement, "note": "x" * 4 * million}).code == "body_too_large"
