"""Users' preferences for letters: what the calls answer, what can be chosen, and what cannot."""

from functools import partial
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database
from pymongo.errors import WriteError

from app.auth.languages import Language
from app.auth.service import recipients
from app.mongo import Document
from app.outbox.events import EventType
from tests.people import Bank, Person
from tests.threads import at_once

PATH = "/api/auth/me/notifications"
SECURITY = ["account.closed", "account.frozen", "account.unfrozen", "user.password_changed", "user.password_reset"]
FREQUENCIES = ["each", "daily", "weekly", "off"]
LAST = list(Language)[-1].value
# No letter tells of these.
SILENT = {"account.renamed", "payee.added"}


@pytest.fixture
def asha(bank: Bank) -> Person:
    return bank.register("Asha Rao")


def chosen(person: Person) -> dict[str, Any]:
    answer = person.get(PATH)
    assert answer.status == 200, answer.content
    body: dict[str, Any] = answer.body
    return body


def test_who_never_chose_is_told_of_everything_at_once_in_english(asha: Person) -> None:
    body = chosen(asha)

    assert body["language"] == "en"
    assert body["kinds"] == {type_.value: "off" if type_ in SILENT else "each" for type_ in EventType}


@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_each_kind_that_is_not_about_security_can_have_each_frequency(asha: Person, frequency: str) -> None:
    kinds = {type_.value: frequency for type_ in EventType if type_ not in SECURITY}

    answer = asha.put(PATH, {"kinds": kinds})

    assert (answer.status, answer.body["kinds"]) == (200, kinds | dict.fromkeys(SECURITY, "each"))
    assert chosen(asha) == answer.body


def test_what_is_left_out_stays(asha: Person) -> None:
    before = chosen(asha)

    asha.put(PATH, {"kinds": {"money.sent": "off"}})
    asha.put(PATH, {"language": LAST})
    asha.put(PATH, {"kinds": {"hold.placed": "weekly", "money.received": None}, "language": None})
    unchanged = asha.put(PATH, {})

    assert unchanged.body == chosen(asha)
    expected = {**before["kinds"], "money.sent": "off", "hold.placed": "weekly"}
    assert unchanged.body == {"language": LAST, "kinds": expected}


def test_choosing_twice_is_choosing_once(asha: Person) -> None:
    choice = {"language": LAST, "kinds": {"money.sent": "daily"}}

    assert asha.put(PATH, choice).body == asha.put(PATH, choice).body == chosen(asha)


@pytest.mark.parametrize("kind", SECURITY)
@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_letters_about_security_stay_as_they_are(asha: Person, kind: str, frequency: str) -> None:
    answer = asha.put(PATH, {"language": LAST, "kinds": {"money.sent": "off", kind: frequency}})

    if frequency == "each":
        assert answer.status == 200
    else:
        assert (answer.status, answer.code) == (422, "validation_failed")
        assert answer.body["errors"] == {
            f"kinds.{kind}": ["These letters concern security, so they stay `each`."],
        }
        # All or nothing.
        assert (chosen(asha)["language"], chosen(asha)["kinds"]["money.sent"]) == ("en", "each")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kinds": {"money.lost": "each"}}, "kinds.money.lost"),
        ({"kinds": {"money_sent": "each"}}, "kinds.money_sent"),
        ({"kinds": {"money.sent": "hourly"}}, "kinds.money.sent"),
        ({"kinds": {"money.sent": "EACH"}}, "kinds.money.sent"),
        ({"kinds": {"money.sent": True}}, "kinds.money.sent"),
        ({"kinds": {"money.sent": {"$set": "off"}}}, "kinds.money.sent"),
        ({"kinds": {"account.frozen": 1}}, "kinds.account.frozen"),
        ({"kinds": {"account.frozen": "never"}}, "kinds.account.frozen"),
        ({"kinds": {"$where": "off"}}, "kinds.$where"),
        ({"kinds": ["money.sent"]}, "kinds"),
        ({"kinds": "off"}, "kinds"),
        ({"language": "tlh"}, "language"),
        ({"language": "EN"}, "language"),
        ({"language": 7}, "language"),
        ({"languages": "en"}, "languages"),
    ],
)
def test_what_is_no_choice_is_refused_by_its_name(asha: Person, body: dict[str, Any], field: str) -> None:
    answer = asha.put(PATH, body)

    assert (answer.status, answer.code, list(answer.body["errors"])) == (422, "validation_failed", [field])


def test_choices_of_one_moment_do_not_undo_each_other(asha: Person) -> None:
    kinds = [type_.value for type_ in EventType if type_ not in SECURITY]

    answers = at_once([partial(asha.put, PATH, {"kinds": {kind: "weekly"}}) for kind in kinds])

    assert {answer.status for answer in answers} == {200}
    assert {kind for kind, frequency in chosen(asha)["kinds"].items() if frequency == "weekly"} == set(kinds)


def test_everybody_has_their_own_choice(bank: Bank, asha: Person) -> None:
    ben = bank.register("Ben Cole")

    asha.put(PATH, {"language": LAST, "kinds": {"money.sent": "off"}})

    assert (chosen(ben)["language"], chosen(ben)["kinds"]["money.sent"]) == ("en", "each")
    assert {bank.anonymous.get(PATH).status, bank.anonymous.put(PATH, {}).status} == {401}


def test_the_writer_of_letters_is_given_the_choice(asha: Person) -> None:
    asha.put(PATH, {"language": LAST, "kinds": {"hold.placed": "weekly"}})

    (recipient,) = recipients([ObjectId(asha.id)]).values()

    assert recipient.preferences.language is Language(LAST)
    assert recipient.preferences.frequency(EventType.HOLD_PLACED) == "weekly"
    assert recipient.preferences.frequency(EventType.MONEY_SENT) == "each"
    assert recipient.preferences.frequency(None) == "each"


def test_the_choice_of_a_newer_version_is_read_as_far_as_this_one_knows_it(
    asha: Person, database: Database[Document]
) -> None:
    newer = {"language": "ta", "letters": {"loan_granted": "off", "money_sent": "off"}}
    database.users.update_one({"_id": ObjectId(asha.id)}, {"$set": newer})

    assert (chosen(asha)["language"], chosen(asha)["kinds"]["money.sent"]) == ("en", "off")


def test_the_database_refuses_a_frequency_that_there_is_not(asha: Person, database: Database[Document]) -> None:
    with pytest.raises(WriteError):
        database.users.update_one({"_id": ObjectId(asha.id)}, {"$set": {"letters.money_sent": "hourly"}})
