"""Chooses the media type that a client prefers by its header Accept (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal

# How much of the header is read. Real clients send less, and unclosed quotes take quadratic time.
READ_CHARACTERS_MAX = 1_000
_QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")
# A comma or a semicolon inside quotes is no separator.
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_RANGE = re.compile(rf"(?:[^,\"]|{_QUOTED})+")
_PARAMETER = re.compile(rf"(?:[^;\"]|{_QUOTED})+")


def preferred(header: str, offered: Sequence[str]) -> str | None:
    """Return the `offered` media type that a client prefers, or None if it takes none of them.

    The highest quality wins; then the type that the client names more exactly, then the one it names first, then the
    one offered first. Parameters of media types are ignored, and so is a part that cannot be read.
    """
    ranges = list(_ranges(header))
    best: tuple[Decimal, int, int, int] | None = None
    chosen = None
    for place, media_type in enumerate(offered):
        matching = [(exactness, quality, -at) for at, (name, quality) in enumerate(ranges)
                    if (exactness := _exactness(name, media_type))]  # fmt: skip
        if not matching:
            continue
        # The most exact range decides: a client may refuse one type and accept all others.
        exactness, quality, at = max(matching)
        if quality and (best is None or (quality, exactness, at, -place) > best):
            best, chosen = (quality, exactness, at, -place), media_type
    return chosen


def _exactness(media_range: str, media_type: str) -> int:
    """Return how exactly a range names a media type: 3 by its full name, 2 as `type/*`, 1 as `*/*`, 0 if not at all."""
    if media_range == media_type:
        return 3
    if media_range == f"{media_type.partition('/')[0]}/*":
        return 2
    return int(media_range == "*/*")


def _ranges(header: str) -> Iterator[tuple[str, Decimal]]:
    for part in _RANGE.findall(header[:READ_CHARACTERS_MAX]):
        words = [word.strip() for word in _PARAMETER.findall(part)]
        quality = _quality(words[1:])
        if words and quality is not None:
            yield words[0].lower(), quality


def _quality(parameters: Sequence[str]) -> Decimal | None:
    """Return the range's quality: 1 if it states none, None if it is malformed."""
    for parameter in parameters:
        name, _, value = (word.strip() for word in parameter.partition("="))
        if name.lower() == "q":
            return Decimal(value) if _QUALITY.fullmatch(value) else None
    return Decimal(1)
