"""Reads documents of a known shape straight out of BSON, many times as fast as decoding them.

The bank writes each kind of document with the same fields in the same order, so if the lengths of its texts are
known, every value has its place. All bytes between the values are compared at once with what must be there.
"""

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

LENGTH = struct.Struct("<i")
# The bank writes no longer texts, so those are not worth a shape of their own.
_TEXT_BYTES_MAX = 1_000


def split(batch: bytes) -> list[bytes]:
    """Return the documents of a batch."""
    found = []
    size_at = LENGTH.unpack_from
    position, end = 0, len(batch)
    while position < end:
        following = position + size_at(batch, position)[0]
        found.append(batch[position:following])
        position = following
    return found


class Shape(NamedTuple):
    """Where the values of a document are, and which bytes must be everywhere else.

    A document of `size` bytes has this shape if `int.from_bytes(document, "little") & mask == rest`.
    """

    size: int
    values: struct.Struct
    mask: int
    rest: int

    def read(self, document: bytes) -> tuple[Any, ...] | None:
        """Return the values, or None for a document of another shape."""
        if len(document) != self.size or int.from_bytes(document, "little") & self.mask != self.rest:
            return None
        return self.values.unpack(document)


class Family(dict[tuple[int, bytes], Shape | None]):
    """Shapes by their size and by one byte that tells which of several they are.

    Each of `makers` makes the shape with a text of so many bytes, or without the text for None.
    """

    def __init__(self, makers: Mapping[bytes, Callable[[int | None], Shape]]) -> None:
        super().__init__()
        self._makers = makers

    def __missing__(self, key: tuple[int, bytes]) -> Shape | None:
        size, which = key
        make = self._makers.get(which)
        if make is None:
            return None
        text_bytes = size - make(0).size
        is_bare = size == make(None).size
        if not is_bare and not 0 <= text_bytes <= _TEXT_BYTES_MAX:
            return None
        self[key] = made = make(None if is_bare else text_bytes)
        return made


def shape(parts: Iterable[bytes | str]) -> Shape:
    """Return the shape that consists of these parts: constant bytes, or values in the notation of `struct`."""
    layout, mask, rest = "<", b"", b""
    for part in parts:
        if isinstance(part, bytes):
            layout, mask, rest = f"{layout}{len(part)}x", mask + b"\xff" * len(part), rest + part
        else:
            blank = bytes(struct.calcsize("<" + part))
            layout, mask, rest = layout + part, mask + blank, rest + blank
    return Shape(len(rest), struct.Struct(layout), int.from_bytes(mask, "little"), int.from_bytes(rest, "little"))


def document(parts: Iterable[bytes | str]) -> Shape:
    """Return the shape of a whole document, whose length comes first and a NUL last."""
    content = [*parts, b"\0"]
    size = LENGTH.size + shape(content).size
    return shape([LENGTH.pack(size), *content])


def text(name: str, length: int) -> list[bytes | str]:
    """Return the parts of a field with a text of so many bytes."""
    return [b"\x02" + name.encode() + b"\0" + LENGTH.pack(length + 1), f"{length}s", b"\0"]


def constant(name: str, value: str) -> list[bytes | str]:
    """Return the parts of a field with this text."""
    content = value.encode() + b"\0"
    return [b"\x02" + name.encode() + b"\0" + LENGTH.pack(len(content)) + content]


def object_id(name: str) -> list[bytes | str]:
    return [b"\x07" + name.encode() + b"\0", "12s"]


def int64(name: str) -> list[bytes | str]:
    return [b"\x12" + name.encode() + b"\0", "q"]


def time(name: str) -> list[bytes | str]:
    return [b"\x09" + name.encode() + b"\0", "q"]


def binary(name: str, length: int) -> list[bytes | str]:
    return [b"\x05" + name.encode() + b"\0" + LENGTH.pack(length) + b"\0", f"{length}s"]


def null(name: str) -> list[bytes | str]:
    return [b"\x0a" + name.encode() + b"\0"]


def int32(name: str, value: int) -> list[bytes | str]:
    """Return the parts of a field with this number."""
    return [b"\x10" + name.encode() + b"\0" + LENGTH.pack(value)]
