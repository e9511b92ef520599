"""The languages in which Fincore writes to people."""

from enum import StrEnum


class Language(StrEnum):
    """A reader's language, by its code in ISO 639-1. Each has a catalogue of its name in `app/mail/texts/`."""

    ENGLISH = "en"
    HINDI = "hi"
