"""Reads entries straight out of BSON, without decoding them.

Entries of a transaction have one of the shapes below, whether of version 1 or 2. An entry in any other shape, among
them STATUS entries, must be decoded.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from bson import CodecOptions
from bson.codec_options import DatetimeConversion

from app.ledger.chain import HASH_VERSION
from app.ledger.proof import shapes
from app.ledger.proof.shapes import Shape
from app.ledger.records import EntryType
from app.mongo import Document

# A time that no datetime can hold, or text that is not UTF-8, is a fault of one document and must not end the run.
CODEC: CodecOptions[Document] = CodecOptions(
    tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO, unicode_decode_error_handler="replace"
)
# The times that a datetime can hold, in milliseconds.
EARLIEST, LATEST = -62_135_596_800_000, 253_402_300_799_999
# What `EntryForm.unpack` returns, in this order. Ids and the description are bytes, the time is in milliseconds since
# 1970. A description that is null has no bytes, and neither has the hash of the record in an entry of version 1.
VALUES = (
    "account", "sequence", "amount", "balance", "held", "transaction", "counterparty", "description", "created_at",
    "previous_hash", "hash", "record_hash",
)  # fmt: skip
# Where the length of the type is, as BSON writes it.
_TYPE_LENGTH_AT = 66
_HASH_BYTES = 32
# Longer descriptions than the bank writes are not worth a form.
_TEXT_BYTES_MAX = 1_000
_MOVES_MONEY = {bytes([len(type_) + 1]): type_ for type_ in EntryType if type_ is not EntryType.STATUS}


class EntryForm(NamedTuple):
    """How entries look that have the same type and version and a description of the same length."""

    mask: int
    rest: int
    unpack: Callable[[bytes], tuple[Any, ...]]
    type: bytes
    is_told: bool
    version: int


class _EntryForms(dict[tuple[int, bytes], list[EntryForm]]):
    """The forms of entries by their size and the length of their type. There may be one of each version."""

    def __missing__(self, key: tuple[int, bytes]) -> list[EntryForm]:
        size, type_length = key
        made: list[EntryForm] = []
        type_ = _MOVES_MONEY.get(type_length)
        if type_ is None:
            return made
        for version in (HASH_VERSION, 1):
            if size == _shape(type_, version, None).size:
                made.append(_form(type_, version, None))
            elif 0 <= (text_bytes := size - _shape(type_, version, 0).size) <= _TEXT_BYTES_MAX:
                made.append(_form(type_, version, text_bytes))
        if made:
            self[key] = made
        return made


_forms = _EntryForms()


def form_of(raw: bytes) -> EntryForm | None:
    """Return the form of an entry, or None if it must be decoded."""
    number = int.from_bytes(raw, "little")
    for form in _forms[len(raw), raw[_TYPE_LENGTH_AT : _TYPE_LENGTH_AT + 1]]:
        if number & form.mask == form.rest:
            return form
    return None


def _form(type_: EntryType, version: int, text_bytes: int | None) -> EntryForm:
    shape = _shape(type_, version, text_bytes)
    return EntryForm(shape.mask, shape.rest, shape.values.unpack, type_.encode(), text_bytes is not None, version)


def _shape(type_: EntryType, version: int, text_bytes: int | None) -> Shape:
    hash_of_record = (
        [*shapes.int32("version", version), *shapes.binary("record_hash", _HASH_BYTES)] if version > 1 else ["0s"]
    )
    return shapes.document(
        [
            b"\x07_id\0", "12x", *shapes.object_id("account"), *shapes.int64("sequence"),
            *shapes.constant("type", type_), *shapes.int64("amount"), *shapes.int64("balance"),
            *shapes.int64("held"), *shapes.object_id("transaction"), *shapes.object_id("counterparty"),
            *([*shapes.null("description"), "0s"] if text_bytes is None else shapes.text("description", text_bytes)),
            *shapes.time("created_at"), *shapes.binary("previous_hash", _HASH_BYTES),
            *shapes.binary("hash", _HASH_BYTES), *hash_of_record,
        ]
    )  # fmt: skip
