"""Entries read straight out of BSON are as the driver would decode them, or are left to the driver."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson import ObjectId

from app.clock import milliseconds
from app.ledger.documents import from_entry
from app.ledger.proof.rows import Row, read_rows
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


def read(*documents: Document) -> list[Row | Document]:
    return list(read_rows(b"".join(map(bson.encode, documents))))


@pytest.mark.parametrize("type_", [each for each in EntryType if each is not EntryType.STATUS])
@pytest.mark.parametrize("description", ["Rent", "किराया", "", None])
def test_a_row_is_what_the_entry_says(type_: EntryType, description: str | None) -> None:
    said = entry(type_, description=description)

    row, another = read(said, entry())

    assert isinstance(row, Row)
    assert isinstance(another, Row)
    text = None if description is None else description.encode()
    ids = [said[name].binary for name in ("_id", "account", "transaction", "counterparty")]
    assert [row.id, row.account, row.transaction, row.counterparty] == ids
    assert (row.type, row.sequence, row.amount, row.balance, row.held) == (type_.encode(), 7, 5, -5, 3)
    assert (row.description, row.at) == (text, milliseconds(AT))
    assert (row.previous_hash, row.hash, row.record_hash) == (b"p" * 32, b"h" * 32, b"r" * 32)
    assert row.document() == {**said, "hash": b"h" * 32, "previous_hash": b"p" * 32, "record_hash": b"r" * 32}


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
        lambda said: {**said, "identity": {"user": None}},
        lambda said: {**said, "created_at": bson.DatetimeMS(2**60)},
        lambda said: {"_id": said["_id"]},
    ],
)
def test_an_entry_in_another_shape_is_left_to_the_driver(change: Callable[[Document], Document]) -> None:
    changed = change(entry())

    first, other, last = read(entry(), changed, entry())

    assert isinstance(first, Row)
    assert isinstance(last, Row)
    assert isinstance(other, dict)
    assert other.keys() == changed.keys()
