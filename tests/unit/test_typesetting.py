"""Lines of glyphs: no boxes, joined letters, mixed directions, and no line wider than its column."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.statements.typefaces import Weight, characters
from app.statements.typesetting import Line, line_width, set_line, wrapped

WIDTH = 8_000.0
# Letters, marks, signs, pictures and what has no glyph, of all that Unicode has.
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=80)
SCRIPTS = st.text(
    st.sampled_from("aZ 1.(‚कि्षाாடகைค่าمرحباלום長三の家월👩\u200d🇮❤\ufe0f\u0301\u202e\u2067\u2069\u200f،।"),
    min_size=1,
    max_size=80,
)


def glyphs(text: str, direction: int = 0) -> list[list[int]]:
    """Return the numbers of the glyphs that show each cluster, from left to right."""
    runs = set_line(Line(text, direction), Weight.REGULAR)
    return [[one.number for one in (*cluster.glyphs, *cluster.marks)] for run in runs for cluster in run.clusters]


def reading(text: str, direction: int = 0) -> str:
    """Return the letters of a line in the order in which they stand from left to right."""
    runs = set_line(Line(text, direction), Weight.REGULAR)
    return "".join(cluster.text for run in runs for cluster in run.clusters)


@pytest.mark.parametrize(
    "text",
    [
        "Łódź ₹ Ж Ω", "किराया", "ভাড়া", "ਕਿਰਾਇਆ", "ભાડું", "ଭଡ଼ା", "வாடகை", "అద్దె", "ಬಾಡಿಗೆ", "വാടക", "කුලී",
        "ค่าเช่า", "ເຊົ່າ", "ជួល", "လခ", "ქირა", "վարձ", "ኪራይ", "מתנה", "إيجار", "کرایہ", "房租", "家賃", "월세",
        "🍕👩🏽‍💻❤️1️⃣🇮🇳", "→≤✓☀",
    ],
)  # fmt: skip
@pytest.mark.parametrize("weight", Weight)
def test_no_letter_is_a_box(text: str, weight: Weight) -> None:
    (line,) = wrapped(text, weight, WIDTH, lines_max=1)

    assert line.text == text
    for run in set_line(line, weight):
        for cluster in run.clusters:
            assert all(glyph.number != 0 for glyph in (*cluster.glyphs, *cluster.marks)), cluster.text


def test_letters_join_and_change_their_shapes() -> None:
    assert len(glyphs("क्ष")) == 1
    assert glyphs("क्ष") != glyphs("क") + glyphs("ष")
    # The vowel is written after its consonant and stands before it.
    assert glyphs("कि")[0][0] != glyphs("क")[0][0]
    alone, joined = glyphs("ب"), glyphs("ببب")
    assert all(shape[0] != alone[0][0] for shape in joined)


def test_directions_mix() -> None:
    assert reading("abc") == "abc"
    assert reading("אבג", 1) == "גבא"
    # Numbers run from left to right among Hebrew words, and brackets turn round.
    assert reading("אב 12 גד", 1) == "דג 12 בא"
    assert reading("אב (גד)", 1) == "(דג) בא"
    assert reading("x אב y") == "x בא y"


def test_pictures_of_several_characters_are_one() -> None:
    for picture in ("👩🏽‍💻", "🇮🇳", "1️⃣", "❤️", "👨‍👩‍👧‍👦"):
        assert characters(picture) == [picture]
        assert len(glyphs(picture)) == 1, picture


def test_han_characters_look_as_the_language_of_the_text_has_them() -> None:
    chinese, japanese = glyphs("直接"), glyphs("直せつ")

    assert chinese[0] != japanese[0]


def test_a_syllable_does_not_come_apart_at_the_end_of_a_line() -> None:
    lines = wrapped("हिन्दी" * 30, Weight.REGULAR, WIDTH, lines_max=10)

    assert len(lines) > 1
    for line in lines:
        assert unicodedata.category(line.text[0]) not in ("Mn", "Mc")
        assert not line.text.endswith("\N{DEVANAGARI SIGN VIRAMA}")


def test_no_line_begins_with_what_ends_a_sentence() -> None:
    lines = wrapped("三月の家賃、ありがとう。" * 9, Weight.REGULAR, WIDTH, lines_max=100)

    assert len(lines) > 5
    assert "".join(line.text for line in lines) == "三月の家賃、ありがとう。" * 9
    assert [line.text for line in lines if line.text[0] in "、。"] == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ᱥᱟᱱᱛᱟᱲᱤ", "[no font for Ol Chiki]"),
        ("to ᱥᱟᱱ ᱛᱟᱲ, and ᏣᎳᎩ", "to [no font for Ol Chiki], and [no font for Cherokee]"),
        ("\ue000\ue001", "[no font for this character]"),
    ],
)
def test_what_no_font_has_is_said_in_words(text: str, shown: str) -> None:
    lines = wrapped(text, Weight.REGULAR, 40_000, lines_max=1)

    assert [line.text for line in lines] == [shown]


@given(st.one_of(ANY_TEXT, SCRIPTS), st.sampled_from([2_000.0, WIDTH, 20_000.0]), st.integers(1, 3))
@settings(max_examples=200, deadline=None)
def test_no_text_is_wider_than_its_column_or_lost(text: str, width: float, lines_max: int) -> None:
    lines = wrapped(text, Weight.REGULAR, width, lines_max=lines_max)

    assert len(lines) <= lines_max
    for line in lines:
        alone = len(characters(line.text)) == 1
        assert alone or line_width(line, Weight.REGULAR) <= width, ascii(line.text)
    written = "".join("".join(line.text for line in lines).split())
    if "[nofont" not in written and "…" not in written:
        assert written == "".join(text.split())
