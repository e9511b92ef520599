"""Fields as BSON has them, for what decoding hides: a name that occurs twice, and text that is not UTF-8. No I/O.

MongoDB's indexes and queries use the first of two fields by one name, and the driver the last. So whoever writes both
shows the bank one document and the proof another.
"""

from collections.abc import Iterator
from typing import NamedTuple

import bson
from bson import CodecOptions, ObjectId

from app.ledger.proof.faults import UNREADABLE
from app.ledger.proof.shapes import LENGTH
from app.mongo import Document

# What a fault expects where `hidden_in` found something.
PLAIN = "each field once, and text in UTF-8"
_OBJECT_ID = 0x07
_TEXTS = frozenset((0x02, 0x0D, 0x0E))
_DOCUMENTS = frozenset((0x03, 0x04))
_REGEX, _BINARY, _POINTER, _SCOPED_CODE = 0x0B, 0x05, 0x0C, 0x0F
# The sizes of values that have one.
_SIZES = {
    0x01: 8, 0x06: 0, _OBJECT_ID: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0xFF: 0, 0x7F: 0,
}  # fmt: skip


class Field(NamedTuple):
    """A field of a document. `type` is BSON's number of it, `value` the bytes after the name."""

    type: int
    name: bytes
    value: bytes


def fields_of(raw: bytes) -> Iterator[Field]:
    """Yield the fields of a BSON document in their order; raises one of UNREADABLE if it is none."""
    at, end = LENGTH.size, len(raw) - 1
    while at < end:
        name_end = raw.index(b"\0", at + 1)
        begin = name_end + 1
        following = begin + _size(raw[at], raw, begin)
        if not begin <= following <= end:
            raise ValueError("a field that is longer than its document")
        yield Field(raw[at], raw[at + 1 : name_end], raw[begin:following])
        at = following


def _size(type_: int, raw: bytes, begin: int) -> int:
    size = _SIZES.get(type_)
    if size is not None:
        return size
    if type_ == _REGEX:
        return raw.index(b"\0", raw.index(b"\0", begin) + 1) + 1 - begin
    (length,) = LENGTH.unpack_from(raw, begin)
    if type_ in _DOCUMENTS or type_ == _SCOPED_CODE:
        return int(length)
    more = {_BINARY: 1, _POINTER: 12}.get(type_, 0 if type_ in _TEXTS else None)
    if more is None:
        raise ValueError(f"a field of the type {type_}")
    return LENGTH.size + int(length) + more


def ids_named(raw: bytes, name: bytes) -> Iterator[ObjectId]:
    """Yield the ids in all fields of a document by this name. What is no id is left out."""
    try:
        for field in fields_of(raw):
            if field.name == name and field.type == _OBJECT_ID:
                yield ObjectId(field.value)
    except UNREADABLE:
        return


def hidden_in(raw: bytes, document: Document, codec: CodecOptions[Document]) -> str | None:
    """Return what `document`, which is `raw` decoded, does not show of it, or None if it shows all."""
    try:
        # Almost every document passes here, and this is quicker than to look at each field.
        if bson.encode(document, codec_options=codec) == raw:
            return None
    except UNREADABLE:
        pass
    try:
        return next(_hidden(raw, ""), None)
    except UNREADABLE as error:
        return f"{type(error).__name__}: {error}"


def _hidden(raw: bytes, within: str) -> Iterator[str]:
    """Yield the places of fields that occur twice, and of text that is not UTF-8, in the document and those in it."""
    names = set()
    for type_, name, value in fields_of(raw):
        place = within + name.decode(errors="replace")
        if name in names:
            yield f"{place} twice"
        names.add(name)
        if not (is_utf8(name) and (type_ not in _TEXTS or is_utf8(value[LENGTH.size :]))):
            yield f"{place} not in UTF-8"
        if type_ in _DOCUMENTS:
            yield from _hidden(value, f"{place}.")
        elif type_ == _SCOPED_CODE:
            (length,) = LENGTH.unpack_from(value, LENGTH.size)
            yield from _hidden(value[2 * LENGTH.size + length :], f"{place}.")
        elif type_ == _REGEX and not is_utf8(value):
            yield f"{place} not in UTF-8"


def is_utf8(text: bytes) -> bool:
    """Tell whether these bytes are text in UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
