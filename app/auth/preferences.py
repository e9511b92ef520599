"""How a user wants to be told: in which language, and each kind of letter at once, in a digest, or not at all. No I/O.

A kind of letter is named by the type of event that it tells of. What a user never chose is as it is for everybody.
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


# Whoever has taken over a session could otherwise hide what he does from its owner.
SECURITY = frozenset(
    {
        EventType.ACCOUNT_FROZEN,
        EventType.ACCOUNT_UNFROZEN,
        EventType.ACCOUNT_CLOSED,
        EventType.USER_PASSWORD_CHANGED,
        EventType.USER_PASSWORD_RESET,
    }
)
# Only programs are told of these.
_WITHOUT_LETTER = frozenset({EventType.ACCOUNT_RENAMED, EventType.PAYEE_ADDED})
DEFAULTS: Mapping[EventType, Frequency] = {
    type_: Frequency.OFF if type_ in _WITHOUT_LETTER else Frequency.EACH for type_ in EventType
}


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a user has chosen, or not changed: the language of letters, and when each kind of them goes."""

    language: Language = Language.ENGLISH
    kinds: Mapping[EventType, Frequency] = field(default_factory=lambda: DEFAULTS)

    def frequency(self, type_: EventType | None) -> Frequency:
        """Return when a letter about such an event goes. One about security, or about no event, goes at once."""
        return Frequency.EACH if type_ is None or type_ in SECURITY else self.kinds[type_]


def preferences_of(user: Document) -> Preferences:
    """Return what a user chose, given as the user's document."""
    chosen = user.get("letters", {})
    kinds = {**DEFAULTS, **{type_: Frequency(chosen[name]) for name, type_ in _NAMED.items() if name in chosen}}
    return Preferences(_language_of(user), kinds)


def shown(preferences: Preferences) -> Document:
    """Return the preferences as an answer has them, with kinds as they are called in the database."""
    return {
        "language": preferences.language,
        "kinds": {name: preferences.kinds[type_] for name, type_ in _NAMED.items()},
    }


def changes_of(language: str | None, kinds: Mapping[str, str]) -> Document:
    """Return what changes in the user's document; what was not chosen now stays as it is. `kinds` are as in `shown`."""
    chosen = {} if language is None else {"language": language}
    return {**chosen, **{f"letters.{name}": frequency for name, frequency in kinds.items()}}


def stored_name(type_: EventType) -> str:
    """Return how a type is called in the database, where a dot in a name would mean a member of a member."""
    return type_.value.replace(".", "_")


_NAMED = {stored_name(type_): type_ for type_ in EventType}


def _language_of(user: Document) -> Language:
    try:
        return Language(user.get("language", Language.ENGLISH))
    except ValueError:
        # A newer version knows more languages.
        return Language.ENGLISH
