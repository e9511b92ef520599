"""Changes that would break clients of the last release are found, and each of them was decided."""

import json
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from clients.changes import breaks
from clients.document import DOCUMENT, RELEASED

Document = dict[str, Any]
# What was decided since the last release, with the reason. A release empties this.
DECIDED = {
    r"\b(fromAccount|toAccount|account|accountId) has another pattern$": "What is an id is still accepted, and an "
    "account's number too.",
    r"\b(name|reason|description|q|user|subject|actor) has another pattern$": "Text that changes the direction of text "
    "around it is refused, because it makes one name look like another.",
    r"^GET /api/accounts/{}/statement: ": "It is answered as before. Only its description has JSON alone, because few "
    "generated clients can read three kinds of answers of one call.",
}
TRANSFER = "/api/transactions/create"


def released() -> Document:
    document: Document = json.loads(RELEASED.read_text())
    return document


def current() -> Document:
    document: Document = json.loads(DOCUMENT.read_text())
    return document


def test_nothing_breaks_the_clients_of_the_last_release_unless_it_was_decided() -> None:
    found = list(breaks(released(), current()))

    assert [sentence for sentence in found if not any(re.search(known, sentence) for known in DECIDED)] == []
    for known in DECIDED:
        assert any(re.search(known, sentence) for sentence in found), f"{known} breaks nothing any more."


def test_a_document_breaks_no_client_of_its_own() -> None:
    assert list(breaks(current(), current())) == []


def schema(document: Document, name: str) -> Document:
    found: Document = document["components"]["schemas"][name]
    return found


def properties(document: Document, name: str) -> Document:
    found: Document = schema(document, name)["properties"]
    return found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["paths"].pop(TRANSFER), f"POST {TRANSFER} is gone"),
        (lambda d: properties(d, "CreateTransfer").pop("metadata"), f"POST {TRANSFER}: the body.metadata is gone"),
        (
            lambda d: schema(d, "CreateTransfer")["required"].append("idempotencyKey"),
            f"POST {TRANSFER}: the body.idempotencyKey is required",
        ),
        (
            lambda d: properties(d, "CreateTransfer")["amount"].update(maximum=100),
            f"POST {TRANSFER}: the body.amount has another maximum",
        ),
        (
            lambda d: properties(d, "CreateTransfer")["description"].update(type="string"),
            f"POST {TRANSFER}: the body.description can no longer be null",
        ),
        (lambda d: properties(d, "Transaction").pop("heldAmount"), f"POST {TRANSFER}: the 201.transaction.heldAmount"),
        (
            lambda d: properties(d, "Transaction")["amount"].update(type=["integer", "null"]),
            f"POST {TRANSFER}: the 201.transaction.amount may be null",
        ),
        (
            lambda d: schema(d, "Transaction")["required"].remove("id"),
            f"POST {TRANSFER}: the 201.transaction.id may be missing",
        ),
        (
            lambda d: d["paths"]["/api/transactions"]["get"]["parameters"].pop(),
            "GET /api/transactions: the query parameter",
        ),
        (
            lambda d: d["paths"]["/api/transactions"]["get"]["parameters"][0].update(required=True),
            "GET /api/transactions: the query parameter",
        ),
        (
            lambda d: schema(d, "Currency")["enum"].remove("INR"),
            "POST /api/accounts/create: the body.currency can no longer be INR",
        ),
        (lambda d: d["paths"][TRANSFER]["post"]["responses"].pop("201"), f"POST {TRANSFER}: no longer answers 201"),
        (
            lambda d: d["paths"]["/api/auth/logout"]["post"]["requestBody"].update(required=True),
            "POST /api/auth/logout: a body is required",
        ),
    ],
)
def test_a_change_that_breaks_clients_is_named(change: Callable[[Document], object], said: str) -> None:
    before = current()
    after = deepcopy(before)

    change(after)

    assert any(sentence.startswith(said) for sentence in breaks(before, after))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: properties(d, "Transaction").update(fee={"type": "integer", "format": "int64"}),
        lambda d: properties(d, "CreateTransfer").update(note={"type": "string"}),
        lambda d: schema(d, "TransactionStatus")["enum"].append("DISPUTED"),
        lambda d: d["paths"]["/api/transactions"]["get"]["parameters"].append(
            {"in": "query", "name": "q", "required": False, "schema": {"type": "string"}}
        ),
        lambda d: properties(d, "CreateTransfer")["description"].update(maxLength=500),
    ],
)
def test_what_only_adds_breaks_nobody(change: Callable[[Document], object]) -> None:
    before = current()
    after = deepcopy(before)

    change(after)

    assert list(breaks(before, after)) == []
