"""How a user wants letters: in which language, and each kind at once, in a digest, or not at all. No I/O.

A kind of letter has the name of the type of event that it reports. Users who chose nothing have the defaults.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from app.auth.languages import Language
from app.mongo import Document
from app.outbox.events import EventType


class Frequency(StrEnum):
    """When a user gets letters of a kind: each at once, together in a digest, or none."""

    EACH = "each"
    DAILY = "daily"
    WEEKLY = "weekly"
    OFF = "off"


# Otherwise somebody who has taken over a session could hide their acts from its owner.
SECURITY = frozenset(
    {
        EventType.ACCOUNT_FROZEN,
        EventType.ACCOUNT_UNFROZEN,
        EventType.ACCOUNT_CLOSED,
        EventType.USER_PASSWORD_CHANGED,
        EventType.USER_PASSWORD_RESET,
    }
)
# Only programs are told about these.
_WITHOUT_LETTER = frozenset({EventType.ACCOUNT_RENAMED, EventType.PAYEE_ADDED})
DEFAULTS: Mapping[EventType, Frequency] = {
    type_: Frequency.OFF if type_ in _WITHOUT_LETTER else Frequency.EACH for type_ in EventType
}


@dataclass(frozen=True, slots=True)
class Preferences:
    """A user's choices, or else the defaults: the language of letters, and when each kind goes."""

    language: Language = Language.ENGLISH
    kinds: Mapping[EventType, Frequency] = field(default_factory=lambda: DEFAULTS)

    def frequency(self, type_: EventType | None) -> Frequency:
        """Return when a letter about such an event goes. One about security, or about no event, goes at once."""
        return Frequency.EACH if type_ is None or type_ in SECURITY else self.kinds[type_]


def preferences_of(user: Document) -> Preferences:
    """Return the preferences in a user's document."""
    chosen = user.get("letters", {})
    kinds = {**DEFAULTS, **{type_: Frequency(chosen[name]) for name, type_ in _NAMED.items() if name in chosen}}
    return Preferences(_language_of(user), kinds)


def shown(preferences: Preferences) -> Document:
    """Return the preferences for an answer. Kinds have their names in the database."""
    return {
        "language": preferences.language,
        "kinds": {name: preferences.kinds[type_] for name, type_ in _NAMED.items()},
    }


def changes_of(language: str | None, kinds: Mapping[str, str]) -> Document:
    """Return the changes to the user's document; what is not chosen now stays as it is. `kinds` are as in `shown`."""
    chosen = {} if language is None else {"language": language}
    return {**chosen, **{f"letters.{name}": frequency for name, frequency in kinds.items()}}


def stored_name(type_: EventType) -> str:
    """Return the name of a type in the database, where a dot would mean a member of a member."""
    return type_.value.replace(".", "_")


_NAMED = {stored_name(type_): type_ for type_ in EventType}


def _language_of(user: Document) -> Language:
    try:
        return Language(user.get("language", Language.ENGLISH))
    except ValueError:
        # A newer version knows more languages.
        return Language.ENGLISH
