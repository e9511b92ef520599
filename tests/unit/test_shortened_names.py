"""How much of a holder's name a payer sees."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.payees.service import shortened


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Asha Rao", "Asha R."),
        ("  Asha   Rao ", "Asha R."),
        ("Asha Rao-Iyer", "Asha R."),
        ("Maria del Carmen García", "Maria G."),
        ("Müller & Söhne GmbH", "Müller G."),
        ("asha rao", "asha r."),
        # One word: the first half, and never more than four characters.
        ("Madonna", "Mad…"),
        ("Asha", "As…"),
        ("Jo", "J…"),
        ("X", "X…"),
        ("Wolfeschlegelsteinhausenbergerdorff", "Wolf…"),
        ("山田太郎", "山田…"),
        ("山田 太郎", "山田 太."),
        # An address gives no more away than a word does.
        ("asha@example.com", "asha…"),
        ("asha@example.com Rao", "asha…"),
        ("+91-98765-43210 Rao", "+91-…"),
        # A first name that is too long is cut.
        ("Wolfeschlegelsteinhausenbergerdorff Senior", "Wolfeschlegelsteinha… S."),
        # The initial is a letter or a digit.
        ("Asha (Rao)", "Asha R."),
        ("Asha Rao -", "Asha R."),
        ("Asha -", "As…"),
        ("Shop 24", "Shop 2."),
        # Right to left, and letters with marks.
        ("محمد علي", "محمد ع."),
        ("דוד כהן", "דוד כ."),
        ("Émile Zoé".replace("É", "E\u0301"), "Émile Z."),
        ("Anna E\u0301va", "Anna É."),
        ("Anna q\u0323\u0307a", "Anna q\u0323\u0307."),
        ("राधिका राव", "राधिका रा."),
        ("राधिका", "रा…"),
        ("Anna 👩\u200d👩\u200d👧", "An…"),
    ],
)
def test_a_name_is_shortened(name: str, shown: str) -> None:
    assert shortened(name) == shown


def test_marks_do_not_pile_up() -> None:
    shown = shortened("Asha R" + "\u0301" * 90)

    assert len(shown) < 15
    assert shown.startswith("Asha ")


def test_invisible_characters_are_not_shown() -> None:
    assert shortened("A\u200bs\u2060ha R\u200bao") == "Asha R."
    assert shortened("\u200b \u2060") == "…"


@given(st.text(min_size=1, max_size=100))
def test_no_more_is_shown_than_promised(name: str) -> None:
    shown = shortened(name)

    words = unicodedata.normalize("NFC", name).split()
    assert len(shown) <= 20 * 6 + 10
    if len(words) > 1:
        assert " ".join(words) != shown or len(words[-1]) <= 2
    if len(words) == 1 and len(words[0]) > 1:
        assert words[0] not in shown
