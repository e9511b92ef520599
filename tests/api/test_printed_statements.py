"""Statements as PDF: what readers see, find and copy. PDFium, which Chromium has too, reads them back."""

import io
import re
import unicodedata
from collections.abc import Iterator

import pypdfium2
import pytest
from bson import ObjectId
from reportlab.lib.units import mm

from app import money
from app.statements import embedding, pdf, press, service
from tests.people import Bank, Person

DESCRIPTIONS = {
    "Hindi": "मासिक किराया क्षेत्र श्रद्धा",
    "Bengali": "বাড়ি ভাড়া ও বিদ্যুৎ",
    "Punjabi": "ਕਿਰਾਇਆ ਤੇ ਬਿਜਲੀ",
    "Gujarati": "ગુજરાતી ભાડું",
    "Odia": "ଓଡ଼ିଆ ଭଡ଼ା",
    "Tamil": "வாடகை கொடுப்பனவு",
    "Telugu": "తెలుగు అద్దె చెల్లింపు",
    "Kannada": "ಕನ್ನಡ ಬಾಡಿಗೆ ಪಾವತಿ",
    "Malayalam": "മലയാളം വാടക",
    "Sinhala": "සිංහල කුලී",
    "Thai": "ค่าเช่าเดือนนี้",
    "Lao": "ຄ່າເຊົ່າ",
    "Khmer": "ថ្លៃជួល",
    "Burmese": "အိမ်လခ",
    "Georgian": "ბინის ქირა",
    "Armenian": "վարձավճար",
    "Amharic": "የቤት ኪራይ",
    "Greek and Russian": "Ενοίκιο Аренда",
    "Vietnamese": "Tiền thuê nhà tháng 3",
    "letters and marks apart": unicodedata.normalize("NFD", "été à Łódź"),
    "Simplified Chinese": "房租和水电费，谢谢",
    "Traditional Chinese": "房租與水電費，謝謝",
    "Japanese": "三月の家賃とランチ代",
    "Korean": "월세와 관리비",
    "Emoji": "Pizza 🍕 👩🏽‍💻 ❤️ 🇮🇳",
    "signs": "✓ → ≤ ₹ ₺ ฿ ৳",
}
LEFTWARD = {
    "Hebrew": "מתנה לחג",
    "Hebrew with points": "שָׁלוֹם רַב",
    "Arabic": "إيجار الشهر والسلام",
    "Arabic with marks": "شكرًا جزيلًا",
    "Persian": "کرایه خانه",
    "Urdu": "لاگت کا کرایہ",
}


def printed(person: Person, account: str) -> bytes:
    answer = person.get(f"/api/accounts/{account}/statement?format=pdf")
    assert answer.status == 200, answer.content
    return answer.content


def texts(content: bytes) -> list[str]:
    """Return what a reader copies, page by page."""
    with pypdfium2.PdfDocument(content) as document:
        return [page.get_textpage().get_text_range() for page in document]


def lines(content: bytes) -> list[str]:
    return [line.strip() for text in texts(content) for line in text.splitlines()]


def letters(content: bytes) -> Iterator[tuple[str, float, float, float]]:
    """Yield every visible letter with its left, right and lower end."""
    with pypdfium2.PdfDocument(content) as document:
        for page in document:
            text = page.get_textpage()
            for at in range(text.count_chars()):
                letter = text.get_text_range(at, 1)
                if letter.strip():
                    left, bottom, right, _ = text.get_charbox(at)
                    yield letter, left, right, bottom


def test_a_pdf_is_one_and_the_same_whenever_it_is_drawn(bank: Bank) -> None:
    asha, account = bank.customer(100)
    for description in (*DESCRIPTIONS.values(), *LEFTWARD.values()):
        asha.transfer(account, asha.open_account(), 1, description=description)
    query = "format=pdf&from=2020-12-01T00:00:00Z&to=2021-01-01T00:00:00Z"

    drawn, again = (asha.get(f"/api/accounts/{account}/statement?{query}").content for _ in range(2))

    assert drawn.startswith(b"%PDF-")
    assert drawn.rstrip().endswith(b"%%EOF")
    assert again == drawn


def test_a_pdf_names_its_file_and_counts_its_pages(bank: Bank) -> None:
    asha, account = bank.customer(10_000)
    _, other = bank.customer()
    for n in range(40):
        asha.transfer(account, other, n + 1, description="₹ Łódź " + "long " * 30)

    named = asha.number_of(account)
    answer = asha.get(f"/api/accounts/{account}/statement", headers={"Accept": "application/pdf"})

    assert answer.headers["content-disposition"].startswith(f"attachment; filename=statement-{named}-")
    pages = texts(answer.content)
    assert len(pages) > 2
    for number, page in enumerate(pages, 1):
        assert f"Page {number} of {len(pages)}" in " ".join(page.split())
    # The font is in the file, so that no reader puts boxes where it has no such letter.
    assert answer.content.count(b"/FontFile2") == 2


def test_what_people_write_is_found_in_every_script(bank: Bank) -> None:
    asha, account = bank.customer(1_000)
    other = asha.open_account()
    for description in DESCRIPTIONS.values():
        asha.transfer(account, other, 1, description=description)

    found = "\n".join(lines(printed(asha, account)))

    assert [name for name, description in DESCRIPTIONS.items() if description not in found] == []


def unpointed(text: str) -> str:
    """Return the letters without points and other marks, which PDFium leaves out of what is copied."""
    return "".join(character for character in text if unicodedata.category(character) != "Mn")


def test_what_runs_from_right_to_left_is_found_as_it_was_written(bank: Bank) -> None:
    asha, account = bank.customer(1_000)
    other = asha.open_account()
    for description in LEFTWARD.values():
        asha.transfer(account, other, 1, description=description)

    found = "\n".join(texts(printed(asha, account)))

    missing = {
        name for name, description in LEFTWARD.items() for word in description.split() if unpointed(word) not in found
    }
    assert missing == set()


def test_a_right_to_left_word_begins_at_the_right(bank: Bank) -> None:
    asha, account = bank.customer(10)
    asha.transfer(account, asha.open_account(), 1, description="Gift מתנה 2026")

    places = {letter: left for letter, left, _, _ in letters(printed(asha, account)) if letter in "Gמתנה"}

    assert places["G"] < places["ה"] < places["נ"] < places["ת"] < places["מ"]


def test_the_name_of_an_account_is_shown_in_every_script(bank: Bank) -> None:
    asha, account = bank.customer(10)
    for name in (*DESCRIPTIONS.values(), *LEFTWARD.values()):
        asha.call("PATCH", f"/api/accounts/{account}", {"name": name})
        found = "\n".join(texts(printed(asha, account)))
        assert all(word in found or unpointed(word) in found for word in name.split()), name


def test_where_no_font_has_a_script_the_statement_says_so(bank: Bank) -> None:
    asha, account = bank.customer(10)
    other = asha.open_account()
    asha.transfer(account, other, 1, description="Rent ᱥᱟᱱᱛᱟᱲᱤ ᱯᱟᱹᱨᱥᱤ paid")
    asha.transfer(account, other, 1, description="\ue000")

    found = lines(printed(asha, account))

    assert "Rent [no font for Ol Chiki] paid" in " ".join(found)
    assert "[no font for this character]" in " ".join(found)


LONG_TEXTS = {
    "one letter": "x" * 200,
    "blanks that are none": "Salary" + "\u2800" * 62 + "50,000.00",
    "wide letters": "W" * 100,
    "short words": "a " * 99 + "a",
    "a long word": "long " * 10 + "y" * 150,
    "Chinese": "長" * 200,
    "Japanese": "三月の家賃、" * 33,
    "Hindi": "हिन्दी" * 33,
    "Hindi words": "क्षेत्र " * 24 + "क",
    "Tamil": "கொடுப்பனவு" * 20,
    "Thai": "ค่าเช่า" * 28,
    "Arabic": "مرحبا" * 40,
    "Arabic words": "مرحبا " * 33 + "م",
    "emoji": "👩🏽‍💻" * 50,
    "flags": "🇮🇳" * 100,
    "no font": "ᱥ" * 200,
    "both directions": "abc מתנה " * 22,
    "piled marks": "Z" + "\u0301" * 199,
}


@pytest.mark.parametrize("text", LONG_TEXTS.values(), ids=LONG_TEXTS.keys())
def test_no_text_of_a_pdf_runs_over_what_is_beside_it(bank: Bank, text: str) -> None:
    asha, account = bank.customer(10)
    other = asha.open_account()
    asha.call("PATCH", f"/api/accounts/{account}", {"name": text[:100].rstrip()})
    asha.transfer(account, other, 1, description=text.rstrip())

    found = list(letters(printed(asha, account)))

    assert max(right for _, _, right, _ in found) <= (210 - 18) * mm + 1
    assert min(left for _, left, _, _ in found) >= 18 * mm - 1
    # Between the descriptions, from where they begin, and the amounts beside them is nothing.
    text_begins, gap_begins, gap_ends = (18 + 25) * mm, (210 - 18 - 58 - 26) * mm + 1, (210 - 18 - 58 - 26) * mm + 3
    written = "".join(letter[0] for letter, *_ in found)
    rows = found[written.index("Openingbalance", written.index("Date(UTC)")) : written.rindex("Closingbalance")]
    assert [letter for letter, left, _, _ in rows if text_begins - 1 < left < gap_begins] != []
    assert [letter for letter, left, right, _ in rows if left < gap_begins and right > gap_ends] == []


def test_a_text_that_a_pdf_has_no_room_for_says_so(bank: Bank) -> None:
    asha, account = bank.customer(10)
    other = asha.open_account()
    asha.transfer(account, other, 1, description="x" * 80)
    asha.transfer(account, other, 1, description="y" * 200)

    found = [re.sub(r"[^xy…]", "", line) for line in lines(printed(asha, account))]

    assert "".join(line for line in found if set(line) == {"x"}) == "x" * 80
    cut = [line for line in found if line.startswith("yyy")]
    assert [line.endswith("y…") for line in cut] == [False, False, True]


def test_marks_on_letters_are_seen(bank: Bank) -> None:
    """They are drawn, not written, so no text tells that they are there."""
    asha, account = bank.customer(10)
    asha.transfer(account, asha.open_account(), 1, description="ค่า")
    with_marks = _ink(drawn_here(asha, account))
    embedding.MARK_SHIFT_MAX, usual = -1, embedding.MARK_SHIFT_MAX
    try:
        without = _ink(drawn_here(asha, account))
    finally:
        embedding.MARK_SHIFT_MAX = usual

    assert with_marks > without


def test_a_document_with_more_combinations_than_it_has_codes_is_read_as_well(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "CODES_WITH_TEXT_MAX", 2)
    asha, account = bank.customer(10)
    asha.transfer(account, asha.open_account(), 1, description="किराया क्षेत्र")

    found = "".join("".join(lines(drawn_here(asha, account))).split())

    assert "किरायाक्षेत्र" in found
    assert asha.number_of(account) in found
    assert account not in found, "people know the number"


@pytest.mark.parametrize(
    ("currency", "amount", "shown", "in_columns"),
    [
        ("INR", 1_234_567_890, "₹1,23,45,678.90", "1,23,45,678.90"),
        ("CHF", 1_234_567_890, "CHF\u00a012’345’678.90", "12’345’678.90"),
        ("JPY", 1_234_567, "¥1,234,567", "1,234,567"),
        ("KWD", 1_234_567_890, "KWD\u00a01,234,567.890", "1,234,567.890"),
    ],
)
def test_amounts_are_grouped_as_at_the_currencys_home(
    bank: Bank, currency: str, amount: int, shown: str, in_columns: str
) -> None:
    asha, account = bank.customer(amount, currency)

    found = " ".join(lines(printed(asha, account))).replace("\u00a0", " ")

    assert shown.replace("\u00a0", " ") in found
    assert f" {in_columns} " in found


def test_a_currency_that_iso_4217_drops_still_prints(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    asha, account = bank.customer(1_234_567, "KWD")
    monkeypatch.delitem(money._EXPONENTS, "KWD")

    assert "1,234.567" in " ".join(lines(drawn_here(asha, account)))
    csv = asha.get(f"/api/accounts/{account}/statement?format=csv")
    assert "1234.567" in csv.content.decode()
    assert asha.get(f"/api/accounts/{account}/statement").body["currency"] == "KWD"
    assert asha.post("/api/accounts/create", {"currency": "KWD"}).status == 422


def test_more_entries_than_a_pdf_holds_are_refused(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    asha, account = bank.customer(100)
    monkeypatch.setattr(press, "PDF_ENTRIES_MAX", 1)

    answer = asha.get(f"/api/accounts/{account}/statement?format=pdf")

    assert (answer.status, answer.code, list(answer.body["errors"])) == (422, "validation_failed", ["format"])


def drawn_here(person: Person, account: str) -> bytes:
    """Return the PDF as this process draws it, for tests that change how."""
    file = io.BytesIO()
    period = service.find_period(ObjectId(account), ObjectId(person.id))
    pdf.draw(service.draw_up(period), file)
    return file.getvalue()


def _ink(content: bytes) -> int:
    """Return how dark the first page is."""
    with pypdfium2.PdfDocument(content) as document:
        picture = document[0].render(scale=3, grayscale=True)
        return sum(255 - value for value in bytes(picture.buffer))
