"""What a client would rather have: the header Accept (RFC 9110, section 12.5.1), read in one place."""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal

# Of the header; no client names more than fits, and reading quotes that never end costs the square of it.
READ_CHARACTERS_MAX = 1_000
_QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?")
# A comma or a semicolon inside quotes separates nothing.
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_RANGE = re.compile(rf"(?:[^,\"]|{_QUOTED})+")
_PARAMETER = re.compile(rf"(?:[^;\"]|{_QUOTED})+")


def preferred(header: str, offered: Sequence[str]) -> str | None:
    """Return which of the `offered` media types a client would rather have, or None if it takes none of them.

    The highest quality wins; among equals the one that the client names more exactly, then the one it names first,
    then the one offered first. Parameters of media types do not matter. A part that cannot be read is passed over.
    """
    ranges = list(_ranges(header))
    best: tuple[Decimal, int, int, int] | None = None
    chosen = None
    for place, media_type in enumerate(offered):
        matching = [(exactness, quality, -at) for at, (name, quality) in enumerate(ranges)
                    if (exactness := _exactness(name, media_type))]  # fmt: skip
        if not matching:
            continue
        # What is said of the type itself counts, not what is said of all.
        exactness, quality, at = max(matching)
        if quality and (best is None or (quality, exactness, at, -place) > best):
            best, chosen = (quality, exactness, at, -place), media_type
    return chosen


def _exactness(media_range: str, media_type: str) -> int:
    """Return how exactly a range names a media type: 3 by its name, 2 by its first half, 1 as anything, 0 not."""
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
    """Return the quality that a range has, 1 if it says none, or None if it says nonsense."""
    for parameter in parameters:
        name, _, value = (word.strip() for word in parameter.partition("="))
        if name.lower() == "q":
            return Decimal(value) if _QUALITY.fullmatch(value) else None
    return Decimal(1)
