"""Sets text as lines of glyphs: breaks lines, orders text by direction, chooses fonts and shapes letters."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from itertools import accumulate, groupby, islice, pairwise
from operator import itemgetter
from typing import Any, NamedTuple

import uharfbuzz as hb
from bidi import algorithm as bidi
from bidi.mirror import MIRRORED

from app.statements.typefaces import (
    Typeface,
    Weight,
    characters,
    family_for,
    is_invisible,
    name_of_script,
    sans,
    script_of,
    showable,
    typeface_for,
)

ELLIPSIS = "…"
# Many entries share descriptions and words, so these are cached. Words longer than WORD_KEPT_MAX are not.
TEXTS_KEPT, WORDS_KEPT = 200, 4_000
WORD_KEPT_MAX = 24
# A line is first measured and soon after written, so a small cache is enough.
LINES_KEPT = 50
_WORDS = re.compile(r"\s+|\S+")
# Spaces at which a line may end, so without the no-break spaces.
_BREAKING_SPACES = re.compile(r"[^\S\u00a0\u2007\u202f]+")
# These scripts put no spaces between words, so a line may end between any two of their characters.
_SPACELESS = {"Hani", "Hira", "Kana", "Bopo"}
# A line must not start with one of these.
_NEVER_FIRST = frozenset("、。，．・：；？！）］｝」』】〕〉》ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ…‥’”)]}.,:;?!%")
_DIRECTIONAL = {"R", "AL", "AN", "RLE", "LRE", "RLO", "LRO", "PDF", "RLI", "LRI", "FSI", "PDI"}
_RESOLVABLE = {"L", "R", "AL", "EN", "ES", "ET", "AN", "CS", "NSM", "BN", "B", "S", "WS", "ON"} | {
    "LRE", "RLE", "LRO", "RLO", "PDF",
}  # fmt: skip


class Glyph(NamedTuple):
    """A glyph of a font: how far it moves the pen, and its offset from the pen, in thousandths of the font's size."""

    number: int
    advance: float
    right: float
    up: float


class Cluster(NamedTuple):
    """Glyphs that together stand for some letters, and the marks on them. Marks do not move the pen."""

    text: str
    glyphs: tuple[Glyph, ...]
    marks: tuple[Glyph, ...]
    advance: float


class Run(NamedTuple):
    """Clusters of one typeface, from left to right."""

    typeface: Typeface
    clusters: tuple[Cluster, ...]
    is_leftward: bool


class _Stretch(NamedTuple):
    """A piece of text that is shaped by itself: at most a word, with one level, one typeface and one script."""

    level: int
    typeface: Typeface
    script: str | None
    text: str


class Line(NamedTuple):
    """A line of a paragraph. `direction` is the paragraph's: 0 starts at the left, 1 at the right."""

    text: str
    direction: int = 0


@lru_cache(maxsize=TEXTS_KEPT)
def wrapped(text: str, weight: Weight, width: float, *, lines_max: int) -> tuple[Line, ...]:
    """Return the text in lines that are no wider than `width`, in thousandths of the font's size.

    Lines end at spaces, between Han characters and kana, and inside a word that is too long for a line. A text of more
    than `lines_max` lines is cut and ends with an ellipsis. Characters that no font has are replaced by a note.
    """
    text = _legible(text)
    direction = _direction(text)
    lines = list(islice(_broken(text, weight, width), lines_max + 1))
    if len(lines) > lines_max:
        lines = lines[:lines_max]
        pieces = _breakable(Line(lines[-1], direction), weight)
        while pieces and line_width(Line(_text_of(pieces) + ELLIPSIS, direction), weight) > width:
            pieces.pop()
        lines[-1] = _text_of(pieces) + ELLIPSIS
    return tuple(Line(line, direction) for line in lines)


def line_width(line: Line, weight: Weight) -> float:
    """Return the width of a line, in thousandths of the font's size."""
    if is_simple(line.text):
        return sum(map(_advances(weight).__getitem__, line.text))
    return sum(cluster.advance for run in set_line(line, weight) for cluster in run.clusters)


def is_simple(text: str) -> bool:
    """Tell whether every character is one glyph of the sans font, from left to right, so that no shaping is needed."""
    return _simple_characters().issuperset(text)


@lru_cache(maxsize=LINES_KEPT)
def set_line(line: Line, weight: Weight) -> tuple[Run, ...]:
    """Return the glyphs of a line from left to right."""
    runs = []
    for stretch in _visual(_stretches(line, weight)):
        is_leftward, clusters = stretch.level % 2 == 1, _shaped(stretch)
        runs.append(Run(stretch.typeface, _mirrored(clusters) if is_leftward else clusters, is_leftward))
    return tuple(runs)


def _stretches(line: Line, weight: Weight) -> list[_Stretch]:
    """Split the line into stretches, in reading order."""
    levels = _levels(line)
    found: list[_Stretch] = []
    at, family = 0, None
    for word in _WORDS.findall(line.text):
        for family, script, text in _in_one_font(word, family):  # noqa: B020 -- each word starts with the family in which the last one ended
            typeface = typeface_for(family, weight, line.text)
            if levels is None:
                found.append(_Stretch(0, typeface, script, text))
                continue
            for level, group in groupby(zip(levels[at : at + len(text)], text, strict=True), key=itemgetter(0)):
                found.append(_Stretch(level, typeface, script, "".join(code_point for _, code_point in group)))
            at += len(text)
    return found


@lru_cache(maxsize=WORDS_KEPT)
def _in_one_font(word: str, before: str | None) -> tuple[tuple[str | None, str | None, str], ...]:
    """Split a word where its family or script changes; return the family, script and text of each part."""
    found: list[tuple[str | None, str | None, str]] = []
    family = before
    for character in showable(word):
        family = family_for(character, family) or family
        script = script_of(character[0])
        last = found[-1] if found else None
        if last is not None and last[0] == family and (None in (last[1], script) or last[1] == script):
            found[-1] = family, last[1] or script, last[2] + character
        else:
            found.append((family, script, character))
    return tuple(found)


def _shaped(stretch: _Stretch) -> tuple[Cluster, ...]:
    """Return the clusters of a stretch from left to right."""
    shape = _shape_word if len(stretch.text) <= WORD_KEPT_MAX else _shape_word.__wrapped__
    return shape(stretch.text, stretch.typeface, stretch.script, stretch.level % 2)


@lru_cache(maxsize=WORDS_KEPT)
def _shape_word(text: str, typeface: Typeface, script: str | None, is_leftward: int) -> tuple[Cluster, ...]:
    buffer = hb.Buffer()
    buffer.add_str(text)
    buffer.guess_segment_properties()
    if script is not None:
        buffer.script = script
    buffer.direction = "rtl" if is_leftward else "ltr"
    hb.shape(typeface.font, buffer)
    scale = typeface.per_mille
    glyphs: dict[int, list[Glyph]] = {}
    for info, at in zip(buffer.glyph_infos, buffer.glyph_positions, strict=True):
        glyph = Glyph(info.codepoint, at.x_advance * scale, at.x_offset * scale, at.y_offset * scale)
        glyphs.setdefault(info.cluster, []).append(glyph)
    clusters = [_cluster(text[start:end], glyphs[start]) for start, end in pairwise([*sorted(glyphs), len(text)])]
    return tuple(reversed(clusters) if is_leftward else clusters)


def _cluster(text: str, glyphs: list[Glyph]) -> Cluster:
    """Return these glyphs, from left to right, as a cluster. The offset of a mark is from the start of the cluster.

    If there are more glyphs than letters (a vowel around a consonant), the extra glyphs become marks, and the last
    glyph gets their width.
    """
    moving: list[Glyph] = []
    marks: list[Glyph] = []
    pen = 0.0
    for glyph in glyphs:
        if glyph.advance and len(moving) < len(text):
            moving.append(glyph)
        else:
            marks.append(glyph._replace(right=pen + glyph.right))
            if glyph.advance:
                moving[-1] = moving[-1]._replace(advance=moving[-1].advance + glyph.advance)
        pen += glyph.advance
    return Cluster(text, tuple(moving), tuple(marks), pen)


def _mirrored(clusters: tuple[Cluster, ...]) -> tuple[Cluster, ...]:
    """Return the clusters of a leftward stretch with their brackets mirrored, because PDF readers mirror them back."""
    return tuple(cluster._replace(text=MIRRORED.get(cluster.text, cluster.text)) for cluster in clusters)


def _visual(stretches: list[_Stretch]) -> list[_Stretch]:
    """Return the stretches from left to right (rule L2 of the Unicode bidirectional algorithm)."""
    ordered = list(stretches)
    for level in range(max((stretch.level for stretch in ordered), default=0), 0, -1):
        start = 0
        for is_deep, group in groupby(list(ordered), key=lambda stretch: stretch.level >= level):
            end = start + len(list(group))
            if is_deep:
                ordered[start:end] = ordered[start:end][::-1]
            start = end
    return ordered


def _levels(line: Line) -> list[int] | None:
    """Return the bidirectional level of each code point; None if the whole line runs from left to right.

    Text with an odd level runs from right to left.
    """
    text, direction = line
    if not direction and not _is_directional(text):
        return None
    storage: dict[str, Any] = bidi.get_empty_storage()
    storage["base_level"], storage["base_dir"] = direction, "LR"[direction]
    bidi.get_embedding_levels(text, storage)
    for at, one in enumerate(storage["chars"]):
        one["at"] = at
        # The library does not know isolates and unassigned code points.
        if one["type"] not in _RESOLVABLE:
            one["type"] = "ON"
    everything = storage["chars"]
    if any(one["type"] not in bidi.X9_REMOVED for one in everything):
        bidi.explicit_embed_and_overrides(storage)
        bidi.resolve_weak_types(storage)
        bidi.resolve_neutral_types(storage, debug=False)
        bidi.resolve_implicit_levels(storage, debug=False)
    levels = [-1] * len(text)
    for one in storage["chars"]:
        levels[one["at"]] = one["level"]
    # Joiners and direction marks have no level of their own. They get that of the code point before them.
    for at, level in enumerate(levels):
        if level < 0 or is_invisible(text[at]):
            levels[at] = levels[at - 1] if at else direction
    return levels


def _direction(text: str) -> int:
    return int(bidi.get_base_level(text)) if _is_directional(text) else 0


def _is_directional(text: str) -> bool:
    return any(unicodedata.bidirectional(code_point) in _DIRECTIONAL for code_point in text)


def _legible(text: str) -> str:
    """Return the text with a note in place of characters that no font has. A note says more than empty boxes."""
    if is_simple(text):
        return text
    parts: list[str] = []
    family: str | None = None
    for character in showable(text):
        found = family_for(character, family)
        if character.isspace():
            # No font has all kinds of spaces. They are invisible, so a plain one will do.
            parts.append(character if found or character == "\n" else " ")
        elif found is None:
            note = f"[no font for {name_of_script(character[0])}]"
            # One note is enough for several words of one script.
            while parts and parts[-1].isspace() and note in parts[-2:-1]:
                parts.pop()
            if note in parts[-1:]:
                continue
            parts.append(note)
        else:
            parts.append(character)
            family = found
    return "".join(parts)


def _broken(text: str, weight: Weight, width: float) -> Iterator[str]:
    direction = _direction(text)

    def width_of(line: str) -> float:
        return line_width(Line(line, direction), weight)

    if width_of(text) <= width:
        yield text
        return
    space_width = width_of(" ")
    line, line_is = "", 0.0
    for space, part in _parts(text):
        # Parts are not joined to each other, so each is measured once, and a line is as wide as the sum of its parts.
        part_is = width_of(part)
        longer_is = line_is + part_is + (space_width if space else 0.0)
        if line and longer_is <= width:
            line, line_is = f"{line}{space}{part}", longer_is
            continue
        if line:
            yield line
        *whole, line = _cut(part, weight, width, direction) if part_is > width else [part]
        yield from whole
        line_is = width_of(line) if whole else part_is
    if line:
        yield line


def _cut(word: str, weight: Weight, width: float, direction: int) -> Iterator[str]:
    """Split a word that is too long for a line into pieces that fit. A single cluster that does not fit stays whole."""
    pieces = _breakable(Line(word, direction), weight)
    first = 0
    while first < len(pieces):
        # At the end of a line, letters have no neighbour to join, so their width may differ. Measure again.
        ends = range(first + 1, len(pieces) + 1)
        sums = list(accumulate(advance for _, advance in pieces[first:]))
        end = ends[max(0, bisect_right(sums, width) - 1)]
        while end > first + 1 and line_width(Line(_text_of(pieces[first:end]), direction), weight) > width:
            end -= 1
        yield _text_of(pieces[first:end])
        first = end


def _text_of(pieces: Iterable[tuple[str, float]]) -> str:
    return "".join(text for text, _ in pieces)


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """Yield (space, part): each part of the text that stays on one line, and the space before it, if any."""
    for word in _BREAKING_SPACES.split(text):
        space, part = " ", ""
        for character in characters(word):
            if part and _may_end_between(part[-1], character[0]):
                yield space, part
                space, part = "", ""
            part += character
        if part:
            yield space, part


def _may_end_between(last: str, first: str) -> bool:
    if first in _NEVER_FIRST:
        return False
    return (
        script_of(last) in _SPACELESS or script_of(first) in _SPACELESS or (last in _NEVER_FIRST and ord(last) > 0x3000)
    )


def _breakable(line: Line, weight: Weight) -> list[tuple[str, float]]:
    """Split the line into its smallest pieces that stay whole, with their widths. A syllable of Hindi is one piece."""
    if is_simple(line.text):
        advances = _advances(weight)
        return [(character, advances[character]) for character in line.text]
    pieces: list[tuple[str, float]] = []
    for stretch in _stretches(line, weight):
        clusters = [(cluster.text, cluster.advance) for cluster in _shaped(stretch)]
        pieces.extend(reversed(clusters) if stretch.level % 2 else clusters)
    return pieces


@cache
def _simple_characters() -> frozenset[str]:
    return frozenset(
        character
        for character in map(chr, sans(Weight.REGULAR).face.unicodes)
        if unicodedata.category(character) not in ("Mn", "Mc", "Me", "Cf", "Cc", "Zl", "Zp")
        and unicodedata.bidirectional(character) not in _DIRECTIONAL
    )


@cache
def _advances(weight: Weight) -> dict[str, float]:
    font, scale = sans(weight).font, sans(weight).per_mille
    return {
        character: font.get_glyph_h_advance(font.get_nominal_glyph(ord(character))) * scale
        for character in _simple_characters()
    }
