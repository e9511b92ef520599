"""Lines in a document: whatever is drawn, the file can be read."""

import io

import pypdfium2
from hypothesis import given, settings
from hypothesis import strategies as st
from reportlab.lib.colors import HexColor
from reportlab.pdfgen.canvas import Canvas

from app.statements import typefaces, typesetting
from app.statements.embedding import Scribe
from app.statements.typefaces import Weight
from app.statements.typesetting import wrapped
from tests.threads import at_once

INK = HexColor(0x000000)
TEXTS = ("किराया", "வாடகை", "ค่าเช่า", "שָׁלוֹם 12", "إيجار الشهر", "家賃と房租", "월세", "🍕👩🏽‍💻", "Łódź")
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=100)


def drawn(*texts: str) -> bytes:
    file = io.BytesIO()
    canvas = Canvas(file, invariant=1)
    scribe = Scribe(canvas)
    for text in texts:
        for weight in Weight:
            for line in wrapped(text, weight, 40_000, lines_max=3):
                scribe.write(20, 20, line, weight, 8, INK)
    canvas.showPage()
    canvas.save()
    return file.getvalue()


def test_what_is_drawn_at_the_same_time_does_not_mix() -> None:
    alone = drawn(*TEXTS)
    for cached in (typefaces.typeface, typefaces._face, typesetting.set_line, typesetting._shape_word):
        cached.cache_clear()

    together = at_once([lambda: drawn(*TEXTS)] * 6)

    assert all(one == alone for one in together)


@given(ANY_TEXT)
@settings(max_examples=60, deadline=None)
def test_a_document_with_any_text_can_be_read(text: str) -> None:
    with pypdfium2.PdfDocument(drawn(text)) as document:
        assert len(document) == 1
        assert isinstance(document[0].get_textpage().get_text_range(), str)
