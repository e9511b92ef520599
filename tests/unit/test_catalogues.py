"""Every text of every letter, in every language."""

import re
from collections.abc import Iterator
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

import pytest
from bson import ObjectId

from app.auth.languages import Language
from app.ledger.journal import DECLINES, HOLD_EXPIRED
from app.mail import digests, letters
from app.mail.catalogues import catalogue, read
from app.mail.columns import padded, width, wrapped
from app.mail.mime import Letter
from app.outbox.messages import MessageKind, OutboxMessage
from tests.catalogues import LABEL_COLUMNS_MAX, faults
from tests.letters import ACCOUNT, AT, FORMS, MONEY

SOURCE = (files("app.mail") / "texts" / "en.toml").read_text(encoding="utf-8")
FAILURES = [
    *({"code": decline.code, "detail": "The paying account"} for decline in DECLINES),
    {"code": "account_not_active", "detail": "The receiving account"},
    {"code": HOLD_EXPIRED.code, "detail": HOLD_EXPIRED.detail},
    {"code": "of_a_later_version", "detail": "x"},
]
ENGLISH = catalogue(Language.ENGLISH).texts


class Remembered(dict[str, str]):
    """Texts that remember which of them were used."""

    def __init__(self, texts: dict[str, str]) -> None:
        super().__init__(texts)
        self.used: set[str] = set()

    def __getitem__(self, key: str) -> str:
        self.used.add(key)
        return super().__getitem__(key)


def digests_of_all(language: Language) -> Iterator[Letter]:
    """Yield digests of one and of many, with all the rows that there are."""
    frozen = [OutboxMessage("account_frozen", ObjectId(), {**ACCOUNT, "account": ObjectId()}) for _ in range(502)]
    both = [OutboxMessage("money_sent", ObjectId(), {**MONEY, "is_payer": is_payer}) for is_payer in (True, False)]
    for kind, payload in FORMS:
        if kind in digests.KINDS:
            told = OutboxMessage(kind, ObjectId(), payload)
            yield digests.render([told], reader="Asha", language=language)
            yield digests.render(
                [told, frozen[0]], reader="Asha", language=language, occasion=digests.Occasion.DEFERRED
            )
            yield digests.render([told, frozen[0]], reader="Asha", language=language, occasion=digests.Occasion.CHOSEN)
    for count in (501, 502):
        yield digests.render(frozen[:count], reader="Asha", language=language)
    yield digests.render(both, reader="Asha", language=language, public_url="https://bank.example")
    two = [{**MONEY, "transaction": ObjectId(), "at": AT + timedelta(minutes=number)} for number in range(2)]
    yield digests.render(
        [OutboxMessage("money_sent", ObjectId(), each) for each in two], reader="Asha", language=language
    )


def test_there_is_a_catalogue_for_each_language_and_no_other() -> None:
    names = {file.name for file in (files("app.mail") / "texts").iterdir()}

    assert names == {f"{language}.toml" for language in Language}


@pytest.mark.parametrize("language", Language)
def test_every_language_has_every_text_with_the_same_placeholders(language: Language) -> None:
    assert faults(language, catalogue(language).texts, ENGLISH) == []


def test_what_a_new_language_still_needs_is_named(tmp_path: Path) -> None:
    """Polish has four plurals, so what is counted has four texts."""
    polish = re.sub(r"(?m)^(.*)\.one = (.*)$", r"\1.one = \2\n\1.few = \2\n\1.many = \2", SOURCE)
    (tmp_path / "pl.toml").write_text(polish, encoding="utf-8")
    assert faults("pl", read((tmp_path / "pl.toml").read_text(encoding="utf-8")), ENGLISH) == []

    changes = {
        'events.few = "{count} event on your accounts"': "",
        'greeting = "Hello {reader},"': 'greeting = "Witaj,"\nfarewell = "Z poważaniem"',
        'name = "Name"': 'name = ""',
        'subject = "Your {currency} account is open"': "",
        "Your hold of {held} was": "Your hold of {held:>20} was",
    }
    for before, after in changes.items():
        assert before in polish
        polish = polish.replace(before, after)

    assert faults("pl", read(polish), ENGLISH) == [
        "pl.toml has frame.farewell, which no letter needs.",
        "pl.toml lacks account_opened.subject.",
        "pl.toml lacks digest.subject.events.few.",
        "pl.toml says nothing for label.name.",
        "pl.toml: the placeholders of frame.greeting must be: reader.",
        "pl.toml: the placeholders of hold_voided.payer.subject must be: held.",
    ]


@pytest.mark.parametrize("language", Language)
def test_labels_fit_the_column_before_the_values(language: Language) -> None:
    texts = catalogue(language).texts
    labels = {text for key, text in texts.items() if key.startswith("label.")}

    assert [label for label in labels if width(label) > LABEL_COLUMNS_MAX] == []


@pytest.mark.parametrize("language", set(Language) - {Language.ENGLISH})
def test_nothing_was_left_in_english(language: Language) -> None:
    same = {key for key, text in catalogue(language).texts.items() if text == ENGLISH[key]}

    assert same <= {"time"}


@pytest.mark.parametrize("language", Language)
def test_letters_use_every_text(language: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    remembered = Remembered(dict(catalogue(language).texts))
    monkeypatch.setattr(catalogue(language), "texts", remembered)

    for kind, payload in FORMS:
        letters.render(kind, payload, reader="Asha", language=language)
        letters.render(kind, payload, reader="Asha", language=language, public_url="https://bank.example")
    for failure in FAILURES:
        letters.render("hold_expired", {**MONEY, "failure": failure}, reader="Asha", language=language)
    letters.render("welcome", dict(FORMS)["welcome"], reader="Asha", language=language, off_url="https://bank.example")
    assert all(digests_of_all(language))

    assert remembered.keys() - remembered.used == set()


@pytest.mark.parametrize("kind", MessageKind)
def test_every_kind_of_letter_is_among_the_forms(kind: MessageKind) -> None:
    assert kind in {form for form, _ in FORMS}


@pytest.mark.parametrize(
    ("text", "columns"), [("Rent", 4), ("राशि", 4), ("लेन-देन", 5), ("住所", 4), ("a\u200bb", 2), ("", 0)]
)
def test_marks_take_no_column_and_wide_characters_two(text: str, columns: int) -> None:
    assert width(text) == columns
    assert padded(text, 8) == text + " " * (8 - columns)


def test_lines_are_as_long_as_they_may_be() -> None:
    assert wrapped("one two three", 7) == "one two\nthree"
    assert wrapped("one two three", 6) == "one\ntwo\nthree"
    assert wrapped("unbreakable it is", 5) == "unbreakable\nit is"
    assert wrapped("राशि राशि राशि", 9) == "राशि राशि\nराशि"
    assert wrapped("₹5.00 left\N{NO-BREAK SPACE}you", 11) == "₹5.00\nleft\N{NO-BREAK SPACE}you"
    assert wrapped("", 10) == ""
