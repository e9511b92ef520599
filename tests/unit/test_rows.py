"""Entries read straight out of BSON are as the driver would decode them, or have no form and are left to it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson import ObjectId

from app.clock import milliseconds
from app.ledger.documents import from_entry
from app.ledger.proof.rows import VALUES, form_of
from app.ledger.records import Entry, EntryType
from app.mongo import Document

AT = datetime(2026, 11, 22, 16, tzinfo=UTC)


def entry(type_: EntryType = EntryType.DEBIT, **fields: Any) -> Document:
    said = Entry(
        account=ObjectId(), sequence=7, type=type_, amount=5, balance=-5, held=3, transaction=ObjectId(),
        counterparty=ObjectId(), description="Rent", created_at=AT, previous_hash=b"p" * 32, hash=b"h" * 32, version=2,
        record_hash=b"r" * 32,
    )  # fmt: skip
    return {"_id": ObjectId(), **from_entry(said), **fields}


def read(document: Document) -> Document:
    """Return what the form of an entry reads of it."""
    raw = bson.encode(document)
    form = form_of(raw)
    assert form is not None
    told = {"type": form.type.decode(), "is_told": form.is_told, "version": form.version}
    return dict(zip(VALUES, form.unpack(raw), strict=True)) | told


@pytest.mark.parametrize("type_", [each for each in EntryType if each is not EntryType.STATUS])
@pytest.mark.parametrize("description", ["Rent", "किराया", "", None])
def test_a_form_reads_what_the_entry_says(type_: EntryType, description: str | None) -> None:
    said = entry(type_, description=description)
    old = {name: value for name, value in said.items() if name not in ("version", "record_hash")}

    found = read(said)

    assert found == {
        **{name: said[name] for name in ("sequence", "amount", "balance", "held", "previous_hash", "hash")},
        **{name: said[name].binary for name in ("account", "transaction", "counterparty")},
        "type": type_,
        "record_hash": b"r" * 32,
        "version": 2,
        "created_at": milliseconds(AT),
        "description": (description or "").encode(),
        "is_told": description is not None,
    }
    assert read(old) == {**found, "record_hash": b"", "version": 1}


@pytest.mark.parametrize(
    "change",
    [
        lambda said: {**said, "more": 1},
        lambda said: dict(reversed(said.items())),
        lambda said: {name: value for name, value in said.items() if name != "record_hash"},
        lambda said: {**said, "version": 3},
        lambda said: {**said, "amount": 5},
        lambda said: {**said, "transaction": None},
        lambda said: {**said, "hash": b"short"},
        lambda said: {**said, "type": "A LONGER ONE"},
        lambda said: {**said, "type": "STATUS"},
        lambda said: {**said, "type": "OTHER"},
        lambda said: {**said, "description": "x" * 2_000},
        lambda said: {**said, "identity": {"user": None}},
        lambda said: {"_id": said["_id"]},
    ],
)
def test_an_entry_in_another_shape_has_no_form(change: Callable[[Document], Document]) -> None:
    assert form_of(bson.encode(entry())) is not None
    assert form_of(bson.encode(change(entry()))) is None
    assert form_of(bson.encode({})) is None
