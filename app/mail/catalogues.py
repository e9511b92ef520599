"""The texts of letters, one catalogue for each language: `texts/<language>.toml`. No Flask, database or clock.

A text is one or more whole sentences with {placeholders}, because sentences that are assembled
from pieces in English order cannot be translated. Texts are read once, straight from these files.
"""

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from babel import Locale

from app.auth.languages import Language
from app.money import format_amount


class Catalogue:
    """The texts of one language by their dotted keys, and how it writes amounts, times and numbers of things."""

    def __init__(self, language: Language, texts: Mapping[str, str]) -> None:
        self.language = language
        self.texts = texts
        locale = Locale(language)
        self._plural_form = locale.plural_form
        self._months: Mapping[int, str] = locale.months["format"]["wide"]

    def __contains__(self, key: str) -> bool:
        return key in self.texts

    def text(self, key: str, **values: object) -> str:
        """Return the text with the values in its placeholders; raises KeyError if there is no such text or value."""
        return self.texts[key].format_map(values)

    def counted(self, key: str, count: int, **values: object) -> str:
        """Return the text for this number of things, by the language's plural rules. {count} stands for the number."""
        return self.text(f"{key}.{self._plural_form(count)}", count=count, **values)

    def label(self, name: str) -> str:
        """Return the label before a value in the table of a letter."""
        return self.texts[f"label.{name}"]

    def amount(self, units: int, currency: str) -> str:
        """Return minor units as the language's readers write an amount."""
        return format_amount(units, currency, self.language)

    def time(self, moment: datetime) -> str:
        utc = moment.astimezone(UTC)
        month = self._months[utc.month]
        return self.text("time", day=utc.day, month=month, year=utc.year, clock=f"{utc:%H:%M:%S}")


@functools.cache
def catalogue(language: Language) -> Catalogue:
    source = files("app.mail") / "texts" / f"{language}.toml"
    return Catalogue(language, read(source.read_text(encoding="utf-8")))


def read(source: str) -> dict[str, str]:
    """Return the texts in a catalogue's source, each as one line."""
    # Not str.split, because a no-break space must stay.
    return {key: re.sub(r"[ \n]+", " ", text).strip() for key, text in _flat(tomllib.loads(source))}


def _flat(tables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in tables.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
