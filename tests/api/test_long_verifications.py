"""The press judges long statements, with the same verdict as the worker."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from bson import ObjectId
from pymongo.database import Database

from app.mongo import Document
from app.statements import verdicts
from app.statements.press import press
from tests.journals import lengthen
from tests.people import Bank, Person

VERIFY = "/api/statements/verify"
HEADERS = {"X-Request-ID": "of-this-request"}


@pytest.fixture
def asha(bank: Bank) -> tuple[Person, dict[str, Any]]:
    person, account = bank.customer(1_000)
    for n in range(1, 4):
        person.transfer(account, bank.customer()[1], n, description="Miete für Müller")
    return person, person.get(f"/api/accounts/{account}/statement").body


Change = Callable[[dict[str, Any]], Any]
CLAIMS: dict[str, Change] = {
    "genuine": lambda statement: statement,
    "in other words": lambda statement: {**statement, "closingBalance": float(statement["closingBalance"])},
    "changed": lambda statement: {**statement, "closingBalance": 2**70},
    "with a part missing": lambda statement: {**statement, "entries": statement["entries"][1:]},
    "without a period": lambda statement: {**statement, "from": None, "to": "yesterday"},
    "with entries that are none": lambda statement: {**statement, "entries": [1, "ü", None]},
    "of nobody's account": lambda statement: {**statement, "accountId": "0" * 24},
    "too long a period": lambda statement: {**statement, "from": "1999-01-01T00:00:00Z"},
    "a list": lambda _: [],
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_press_judges_as_the_worker_does(
    asha: tuple[Person, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, claim: str
) -> None:
    person, statement = asha
    body = CLAIMS[claim](statement)
    here = person.post(VERIFY, body, headers=HEADERS)
    monkeypatch.setattr(verdicts, "LIGHT_BODY_BYTES_MAX", 0)

    there = person.post(VERIFY, body, headers=HEADERS)

    assert (there.status, there.content) == (here.status, here.content)
    assert there.headers["content-type"] == here.headers["content-type"]
    assert press.pid is not None


@pytest.mark.parametrize("body", [b"{", b'{"a": 1, "a": 2}', b"\xff", b'{"accountId": NaN}', b"[" * 40 + b"]" * 40])
def test_the_press_refuses_what_is_no_json(
    asha: tuple[Person, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    person, _ = asha
    here = person.post(VERIFY, data=body, headers=HEADERS)
    monkeypatch.setattr(verdicts, "LIGHT_BODY_BYTES_MAX", 0)

    there = person.post(VERIFY, data=body, headers=HEADERS)

    assert (there.status, there.code) == (400, "malformed_json")
    assert there.content == here.content


def test_a_short_statement_of_a_long_period_is_judged_by_the_press(
    asha: tuple[Person, dict[str, Any]], database: Database[Document]
) -> None:
    person, statement = asha
    lengthen(database, statement["accountId"], verdicts.LIGHT_ENTRIES_MAX)
    later = person.get(f"/api/accounts/{statement['accountId']}/statement").body
    short = orjson.dumps({**statement, **{name: later[name] for name in ("to", "lastSequence")}})
    assert verdicts.judge_if_light(short, ObjectId(person.id)) is None

    verdict = person.post(VERIFY, data=short)

    assert (verdict.status, verdict.body["complete"]) == (200, False)
