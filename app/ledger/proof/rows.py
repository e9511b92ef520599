"""Reads entries straight out of BSON, without decoding them.

Entries of a transaction have one of the shapes below, whether of version 1 or 2. An entry in any other shape, among
them STATUS entries, is decoded as usual.
"""

from functools import partial
from typing import Any, NamedTuple

import bson
from bson import CodecOptions
from bson.codec_options import DatetimeConversion

from app.ledger.chain import HASH_VERSION
from app.ledger.proof import shapes
from app.ledger.proof.shapes import LENGTH, Family, Shape
from app.ledger.records import EntryType
from app.mongo import Document

# A time that no datetime can hold is a fault of one document and must not end the run.
CODEC: CodecOptions[Document] = CodecOptions(tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO)
# The times that a datetime can hold, in milliseconds.
EARLIEST, LATEST = -62_135_596_800_000, 253_402_300_799_999
# Where the length of the type is, as BSON writes it.
_TYPE_LENGTH_AT = 66
_HASH_BYTES = 32


class Row(NamedTuple):
    """An entry of a transaction. Ids, the type and the description are bytes, `at` is milliseconds since 1970.

    An entry of version 1 has no `record_hash`.
    """

    id: bytes
    account: bytes
    sequence: int
    type: bytes
    amount: int
    balance: int
    held: int
    transaction: bytes
    counterparty: bytes
    description: bytes | None
    at: int
    previous_hash: bytes
    hash: bytes
    record_hash: bytes | None
    raw: bytes

    def document(self) -> Document:
        return bson.decode(self.raw, CODEC)


_TEXT, _AT, _VALUES = Row._fields.index("description"), Row._fields.index("at"), Row._fields.index("raw")


def _shape(type_length: int, version: int, text_length: int | None) -> Shape:
    hash_of_record = (
        [*shapes.int32("version", version), *shapes.binary("record_hash", _HASH_BYTES)] if version > 1 else []
    )
    return shapes.document(
        [
            *shapes.object_id("_id"), *shapes.object_id("account"), *shapes.int64("sequence"),
            *shapes.text("type", type_length), *shapes.int64("amount"), *shapes.int64("balance"),
            *shapes.int64("held"), *shapes.object_id("transaction"), *shapes.object_id("counterparty"),
            *(shapes.null("description") if text_length is None else shapes.text("description", text_length)),
            *shapes.time("created_at"), *shapes.binary("previous_hash", _HASH_BYTES),
            *shapes.binary("hash", _HASH_BYTES), *hash_of_record,
        ]
    )  # fmt: skip


def _family(version: int) -> Family:
    lengths = {len(type_) for type_ in EntryType}
    return Family({bytes([length + 1]): partial(_shape, length, version) for length in lengths})


_NEW, _OLD = _family(HASH_VERSION), _family(1)


def read_rows(batch: bytes) -> list[Row | Document]:
    """Return the entries of a batch of BSON documents: rows, and documents of those in another shape."""
    found: list[Row | Document] = []
    # Local names and few calls, because this runs twice for every entry of a ledger.
    size_at, as_number, shapes_of, make = LENGTH.unpack_from, int.from_bytes, _NEW, tuple.__new__
    position, end = 0, len(batch)
    while position < end:
        (size,) = size_at(batch, position)
        raw = batch[position : position + size]
        position += size
        values: tuple[Any, ...] | None
        shape = shapes_of[size, raw[_TYPE_LENGTH_AT : _TYPE_LENGTH_AT + 1]]
        if shape is not None and as_number(raw, "little") & shape.mask == shape.rest:
            values = shape.values.unpack(raw)
            if len(values) < _VALUES:
                values = _with_no_text(values)
        else:
            values = _read_old(raw)
        if values is not None:
            text = values[_TEXT]
            if EARLIEST <= values[_AT] <= LATEST and (text is None or text.isascii() or _is_utf8(text)):
                found.append(make(Row, (*values, raw)))
                continue
        found.append(bson.decode(raw, CODEC))
    return found


def _with_no_text(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*values[:_TEXT], None, *values[_TEXT:])


def _read_old(raw: bytes) -> tuple[Any, ...] | None:
    """Return the values of an entry of version 1, or None for any other document."""
    shape = _OLD[len(raw), raw[_TYPE_LENGTH_AT : _TYPE_LENGTH_AT + 1]]
    values = None if shape is None else shape.read(raw)
    if values is None:
        return None
    # It has no hash of the record.
    return (*(values if len(values) == _VALUES - 1 else _with_no_text(values)), None)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
