"""What decoding hides of a document: fields that occur twice, and text that is not UTF-8."""

from dataclasses import replace
from typing import Any

import bson
import pytest
from bson import Code, DBRef, Int64, ObjectId, Regex

from app.ledger import documents as documents_of_ledger
from app.ledger.documents import from_entry
from app.ledger.proof.checks import JournalCheck
from app.ledger.proof.fields import hidden_in, ids_named
from app.ledger.proof.movements import transactions_of
from app.ledger.proof.reading import QUICK
from app.ledger.proof.rows import CODEC
from app.mongo import Document
from tests.joined_bson import joined
from tests.sealing import sealed
from tests.unit.test_proof_paths import UPGRADE, faults_in, is_passed_over, ledger, traces_of

NOT_UTF8 = b"\xff\xfe"


def hidden(raw: bytes) -> str | None:
    found = hidden_in(raw, bson.decode(raw, CODEC), CODEC)
    assert found == hidden_in(raw, bson.decode(raw, QUICK), QUICK)
    return found


def with_text(document: Document, text: bytes) -> bytes:
    """Return a document in which `??` is another text, of two bytes."""
    return bson.encode(document).replace(b"??", text)


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (joined({"a": 1}, {"b": 2}), None),
        (joined({"a": 1}, {"b": 2}, {"a": 1}), "a twice"),
        (bson.encode({"a": {"b": 1}, "b": [1, {"b": 2}]}), None),
        (bson.encode({"a": [{"x": 1, "y": 2}]}).replace(b"\x10y\0", b"\x10x\0"), "a.0.x twice"),
        (bson.encode({"a": Code("", {"x": 1, "y": 2})}).replace(b"\x10y\0", b"\x10x\0"), "a.x twice"),
        # A reference without an id is decoded to a longer one, and does not make up for a field that is lost.
        (joined({"a": None}, {"m": {"$ref": "x"}}, {"a": None}), "a twice"),
        (with_text({"a": "??"}, NOT_UTF8), "a not in UTF-8"),
        (with_text({"a": {"b": Code("??")}}, NOT_UTF8), "a.b not in UTF-8"),
        (with_text({"a": Regex("??")}, NOT_UTF8), "a not in UTF-8"),
        (with_text({"??": 1}, NOT_UTF8), "\N{REPLACEMENT CHARACTER}" * 2 + " not in UTF-8"),
        (with_text({"a": b"??"}, NOT_UTF8), None),
        # What older versions of BSON had is decoded to something else, but hides nothing.
        (bson.encode({"a": "text"}).replace(b"\x02a", b"\x0ea"), None),
        (bson.encode({"a": None}).replace(b"\x0aa", b"\x06a"), None),
        (bson.encode({"m": DBRef("x", 1), "r": Regex("x", "i"), "t": bson.MinKey(), "d": 1.5}), None),
    ],
)
def test_whatever_decoding_hides_is_found(raw: bytes, found: str | None) -> None:
    assert hidden(raw) == found


def test_a_document_names_all_ids_that_it_has_by_a_name() -> None:
    one, other = ObjectId(), ObjectId()
    assert list(ids_named(joined({"a": one}, {"b": ObjectId()}, {"a": other}), b"a")) == [one, other]
    forged: list[Any] = ["x", [one], None, "", Int64(1)]
    assert transactions_of([bson.encode({"transaction": value}) for value in [*forged, other]]) == [other]
    assert list(ids_named(b"\xff" * 20, b"a")) == []


FIELDS = [
    "account", "sequence", "type", "amount", "balance", "held", "transaction", "counterparty", "description",
    "created_at", "previous_hash", "hash", "version", "record_hash",
]  # fmt: skip


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("is_first", [True, False])
def test_an_entry_with_any_field_twice_is_in_no_form(field: str, is_first: bool) -> None:
    found = ledger(2)
    account = next(id_ for id_, identity in found.identities.items() if identity is not None and identity.user)
    journal = found.journals[account]
    entry = journal[2]
    assert entry["transaction"] is not None
    # Of both, either may be the true one.
    other = {field: ObjectId() if isinstance(entry[field], ObjectId) else entry[field]}
    forged = joined(other, entry) if is_first else joined(entry, other)
    check = JournalCheck(account, found.identities[account], UPGRADE)

    faults = list(check.follow([*map(bson.encode, journal[:2]), forged, *map(bson.encode, journal[3:])]))

    assert (faults[0].kind, faults[0].account, faults[0].sequence) == ("format", account, 2)
    assert faults[0].found == f"{field} twice"


def test_an_entry_whose_second_account_is_another_is_of_another_account() -> None:
    found = ledger(2)
    account, journal = next(iter(found.journals.items()))
    other = ObjectId()
    check = JournalCheck(account, found.identities[account], UPGRADE)

    faults = list(check.follow([joined(journal[0], {"account": other})]))

    assert ("an entry of this account", str(other)) in [(fault.expected, fault.found) for fault in faults]


@pytest.mark.parametrize("value", ["", [], 0, False, {}, b"", "x", [ObjectId()]])
@pytest.mark.parametrize("field", ["transaction", "counterparty"])
def test_an_entry_of_money_names_ids(field: str, value: Any) -> None:
    """Anything that is empty is sealed like no id, and MongoDB does not find it among the ids."""
    found = ledger(2)
    account = next(id_ for id_, identity in found.identities.items() if identity is not None and identity.user)
    journal = found.journals[account]
    entry = replace(documents_of_ledger.to_entry(bson.decode(bson.encode(journal[2]), CODEC)), **{field: value})
    forged = {"_id": ObjectId(), **from_entry(entry if value else sealed(entry))}
    check = JournalCheck(account, found.identities[account], UPGRADE)

    faults = list(check.follow([bson.encode(each) for each in (*journal[:2], forged)]))

    assert [(fault.kind, fault.sequence, fault.expected) for fault in faults] == [("format", 2, "an entry")]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("field", ["description", "idempotency_key", "status", "kind", "currency"])
def test_a_record_with_code_in_place_of_a_text_is_left_to_the_careful_way(version: int, field: str) -> None:
    found = ledger(version)
    record = next(each for each in found.records if each.get("description") == "Rent")
    entries, uses = traces_of(found, record["_id"])
    forged = {**record, field: Code(record[field])}

    assert not is_passed_over(found, forged, entries, uses)
    assert (faults_in(found, forged, entries, uses) == []) == (field == "idempotency_key")
