"""Writes every letter in every language, as text, HTML and pictures: `python -m tests.letter_pictures`.

The fonts of printed statements are shown too, because few machines have one for every script.
"""

import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from importlib.resources import files
from tempfile import NamedTemporaryFile

from bson import ObjectId
from playwright.sync_api import sync_playwright

from app.auth.languages import Language
from app.mail import digests, letters
from app.mail.mime import Letter
from app.outbox.messages import MessageKind, OutboxMessage
from config import ROOT
from tests.letters import ACCOUNT, AT, FORMS, MONEY
from tests.web.browser import launch

FOLDER = ROOT / "build" / "letters"
WIDTHS = {"wide": 700, "phone": 360}
NUMBERS = {"number": "FC13483920175634", "counterparty_number": "FC76910284736650"}
_FONTS = """<?xml version="1.0"?>
<fontconfig><include>/etc/fonts/fonts.conf</include><dir>{folder}</dir></fontconfig>
"""


def main() -> None:
    """Write all of them, and take the pictures in both themes, wide and on a phone."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile("w", suffix=".conf") as fonts:
        fonts.write(_FONTS.format(folder=files("manimgx_fonts")))
        fonts.flush()
        os.environ["FONTCONFIG_FILE"] = fonts.name
        _write_all()
    sys.stderr.write(f"The letters are in {FOLDER.relative_to(ROOT)}.\n")


def _write_all() -> None:
    written = {f"{language}-{name}": letter for language in Language for name, letter in _letters(language)}
    for name, letter in written.items():
        (FOLDER / f"{name}.txt").write_text(f"Subject: {letter.subject}\n\n{letter.text}", encoding="utf-8")
        (FOLDER / f"{name}.html").write_text(letter.html, encoding="utf-8")
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for theme in ("light", "dark"):
            for size, width in WIDTHS.items():
                page = browser.new_page(viewport={"width": width, "height": 600}, color_scheme=theme)
                for name in written:
                    page.goto((FOLDER / f"{name}.html").as_uri())
                    page.screenshot(path=FOLDER / f"{name}-{theme}-{size}.png", full_page=True)
                page.close()
        browser.close()


def _letters(language: Language) -> Iterator[tuple[str, Letter]]:
    seen = set()
    for kind, payload in FORMS:
        name = letters.form_of(kind, payload)
        if name not in seen:
            seen.add(name)
            shown = {**payload, **NUMBERS} if "account" in payload else payload
            yield name, letters.render(kind, shown, reader="अशोक Rao", language=language)
    told = [*_told(MessageKind.ACCOUNT_OPENED), *_told(MessageKind.ACCOUNT_FROZEN)]
    for kind in sorted(digests.KINDS - {MessageKind.ACCOUNT_OPENED, MessageKind.ACCOUNT_FROZEN}):
        told += _told(kind)
    yield "digest", digests.render(told, reader="अशोक Rao", language=language)
    many = [each for _ in range(300) for each in _told(MessageKind.MONEY_SENT)]
    yield "digest-long", digests.render(many, reader="अशोक Rao", language=language, occasion=digests.Occasion.DEFERRED)


def _told(kind: MessageKind) -> Iterator[OutboxMessage]:
    for number, is_payer in enumerate((True, False)):
        facts = {**MONEY, "transaction": ObjectId(), "is_payer": is_payer}
        payload = ACCOUNT if kind.startswith("account") else facts
        at = AT + timedelta(minutes=number)
        yield OutboxMessage(kind, ObjectId(), {**payload, **NUMBERS, "account": ObjectId(), "at": at})


if __name__ == "__main__":
    main()
