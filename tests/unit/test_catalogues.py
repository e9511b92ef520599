"""Every text of every letter, in every language."""

from collections.abc import Iterator
from datetime import timedelta
from importlib.resources import files

import pytest
from bson import ObjectId

from app.languages import Language
from app.mail import digests, letters
from app.mail.catalogues import catalogue
from app.outbox.messages import MessageKind, OutboxMessage
from tests.catalogues import faults
from tests.letters import ACCOUNT, AT, FORMS, MONEY

ENGLISH = catalogue(Language.ENGLISH).texts


class Remembered(dict[str, str]):
    """Texts that remember which of them were used."""

    def __init__(self, texts: dict[str, str]) -> None:
        super().__init__(texts)
        self.used: set[str] = set()

    def __getitem__(self, key: str) -> str:
        self.used.add(key)
        return super().__getitem__(key)


def digests_of_all(language: Language) -> Iterator[letters.Letter]:
    """Yield digests of one and of many, with all the rows that there are."""
    frozen = [OutboxMessage("account_frozen", ObjectId(), {**ACCOUNT, "account": ObjectId()}) for _ in range(502)]
    both = [OutboxMessage("money_sent", ObjectId(), {**MONEY, "is_payer": is_payer}) for is_payer in (True, False)]
    for kind, payload in FORMS:
        if kind in digests.KINDS:
            told = OutboxMessage(kind, ObjectId(), payload)
            yield digests.render([told], reader="Asha", language=language)
            yield digests.render([told, frozen[0]], reader="Asha", language=language, deferred=True)
            yield digests.render([told, frozen[0]], reader="Asha", language=language, chosen=True)
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


@pytest.mark.parametrize("language", Language)
def test_letters_use_every_text(language: Language, monkeypatch: pytest.MonkeyPatch) -> None:
    remembered = Remembered(dict(catalogue(language).texts))
    monkeypatch.setattr(catalogue(language), "texts", remembered)

    for kind, payload in FORMS:
        letters.render(kind, payload, reader="Asha", language=language)
        letters.render(kind, payload, reader="Asha", language=language, public_url="https://bank.example")
    assert all(digests_of_all(language))

    assert remembered.keys() - remembered.used == set()


@pytest.mark.parametrize("kind", MessageKind)
def test_every_kind_of_letter_is_among_the_forms(kind: MessageKind) -> None:
    assert kind in {form for form, _ in FORMS}
