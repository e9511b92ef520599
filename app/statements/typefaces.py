"""The fonts of printed statements, and the choice of the font that shows a character."""

import unicodedata
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, lru_cache
from importlib.resources import files

import uharfbuzz as hb
from babel import Locale

EMOJI_STYLE, TEXT_STYLE = "\ufe0f", "\ufe0e"
_KEYCAP = "\u20e3"
_ZERO_WIDTH_JOINER = "\u200d"
_SANS, _SYMBOLS, _EMOJI, _CJK = "NotoSans", "NotoSansSymbols", "NotoEmoji", "NotoSansCJK"
# The order in which the fonts are searched for a character: first the letters of Europe and currency signs, then one
# font per script, then symbols and emoji, and last the font with the most characters.
_FAMILIES = (
    _SANS,
    *(
        f"NotoSans{script}"
        for script in (
            "Devanagari", "Bengali", "Gurmukhi", "Gujarati", "Oriya", "Tamil", "Telugu", "Kannada", "Malayalam",
            "Sinhala", "Arabic", "Hebrew", "Thai", "Lao", "Khmer", "Myanmar", "Georgian", "Armenian", "Ethiopic",
        )
    ),
    _SYMBOLS,
    _EMOJI,
    _CJK,
)  # fmt: skip
_JAPANESE, _KOREAN, _SIMPLIFIED, _TRADITIONAL = range(4)
# Chinese, Japanese and Korean scripts. For their characters the CJK font is searched first.
_EAST_ASIAN = {"Hani", "Hira", "Kana", "Hang", "Bopo"}


class Weight(IntEnum):
    """The weight of a font."""

    REGULAR = 400
    BOLD = 700


@dataclass(frozen=True, eq=False)
class Typeface:
    """A font in one weight. Two typefaces with one name have the same glyphs, but may choose others for a character."""

    name: str
    weight: Weight
    face: hb.Face
    font: hb.Font

    @property
    def per_mille(self) -> float:
        """The factor that converts a length in font units into thousandths of the font's size."""
        return 1_000 / float(self.face.upem)


@cache
def typeface(family: str, weight: Weight, index: int = 0) -> Typeface:
    """Return a family's typeface. In the CJK family, `index` chooses the language."""
    face = _face(family, index)
    font = hb.Font(face)
    font.set_variations({"wght": float(weight)})
    return Typeface(f"{family}-{weight.name.title()}", weight, face, font)


def sans(weight: Weight) -> Typeface:
    """Return the typeface for the statement's own words."""
    return typeface(_SANS, weight)


def typeface_for(family: str | None, weight: Weight, text: str) -> Typeface:
    """Return the family's typeface for this text. Han characters look different in different languages."""
    return typeface(family or _SANS, weight, _east_asian_language(text) if family == _CJK else 0)


@lru_cache(maxsize=10_000)
def family_for(character: str, before: str | None) -> str | None:
    """Return the family that shows a character and the marks on it; None if no font has them.

    A character that belongs to no single script (spaces, dandas, Arabic commas) stays in the family `before` it.
    """
    script = script_of(character[0])
    families = [_CJK, *_FAMILIES] if script in _EAST_ASIAN else list(_FAMILIES)
    if EMOJI_STYLE in character or _KEYCAP in character:
        families.insert(0, _EMOJI)
    if before is not None and script is None:
        is_of_letters = before not in (_SYMBOLS, _EMOJI, _CJK)
        families.insert(0 if character.isspace() and is_of_letters else 1, before)
    return next((family for family in families if _has(family, character)), None)


@lru_cache(maxsize=10_000)
def script_of(character: str) -> str | None:
    """Return the character's script (ISO 15924); None if several scripts share it."""
    buffer = hb.Buffer()
    buffer.add_str(character)
    buffer.guess_segment_properties()
    script: str | None = buffer.script
    return None if script == "Zzzz" else script


def name_of_script(character: str) -> str:
    """Return the English name of a character's script."""
    name: str | None = Locale("en").scripts.get(script_of(character) or "")
    return name or "this character"


def characters(text: str) -> list[str]:
    """Split the text into what a reader sees as single characters: letters with their marks, joined emoji."""
    found: list[str] = []
    for code_point in text:
        if found and _is_joined(found[-1], code_point):
            found[-1] += code_point
        else:
            found.append(code_point)
    return found


def showable(text: str) -> list[str]:
    """Split the text into characters as `characters` does. One that no font has as a whole is split into its parts."""
    parts = (character if family_for(character, None) else list(character) for character in characters(text))
    return [part for some in parts for part in ([some] if isinstance(some, str) else some)]


def is_invisible(code_point: str) -> bool:
    """Tell whether the code point shows nothing, so no font needs it: joiners, selectors, direction marks, controls."""
    return unicodedata.category(code_point) in ("Cf", "Cc") or _is_variation_selector(code_point)


@cache
def _face(family: str, index: int) -> hb.Face:
    if family == _CJK:
        file = files("manimgx_fonts_cjk") / f"{family}-VF.otf.ttc"
    else:
        file = files("manimgx_fonts") / f"{family}[wght].ttf"
    # The file is mapped, not read, so only the parts that are used get into memory.
    return hb.Face(hb.Blob.from_file_path(str(file)), index)


@cache
def _code_points(family: str) -> frozenset[int]:
    return frozenset(_face(family, 0).unicodes)


def _has(family: str, character: str) -> bool:
    known = _code_points(family)
    return all(ord(code_point) in known or is_invisible(code_point) for code_point in character)


@lru_cache(maxsize=100)
def _east_asian_language(text: str) -> int:
    """Return the index of the likely language of a text.

    Kana mean Japanese, Hangul means Korean. For Han characters alone it is the first language whose charset has them
    all.
    """
    scripts = {script_of(character) for character in text}
    if scripts & {"Hira", "Kana"}:
        return _JAPANESE
    if "Hang" in scripts:
        return _KOREAN
    han = "".join(character for character in text if script_of(character) == "Hani")
    for charset, language in (("gb2312", _SIMPLIFIED), ("big5", _TRADITIONAL), ("shift_jis", _JAPANESE)):
        try:
            han.encode(charset)
        except UnicodeEncodeError:
            continue
        return language
    return _SIMPLIFIED


def _is_joined(before: str, code_point: str) -> bool:
    return (
        before.endswith(_ZERO_WIDTH_JOINER)
        or (_is_flag_letter(before) and _is_flag_letter(code_point))
        or unicodedata.category(code_point) in ("Mn", "Mc", "Me")
        or code_point in (_ZERO_WIDTH_JOINER, "\u200c")
        or _is_variation_selector(code_point)
        or "\U0001f3fb" <= code_point <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= code_point <= "\U000e007f"  # the letters of a flag's tag
    )


def _is_variation_selector(code_point: str) -> bool:
    return "\ufe00" <= code_point <= EMOJI_STYLE or "\U000e0100" <= code_point <= "\U000e01ef"


def _is_flag_letter(character: str) -> bool:
    return len(character) == 1 and "\U0001f1e6" <= character <= "\U0001f1ff"
