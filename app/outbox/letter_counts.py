"""The collection `letter_counts`: how many letters a reader got in a window of time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bson import ObjectId
from pymongo import UpdateOne

from app.mongo import database
from app.outbox.repository import hasty


@dataclass(frozen=True, slots=True)
class Window:
    """A window of time, such as a day, in which a reader gets at most `letters_max` letters."""

    name: str
    ends_at: datetime
    length: timedelta
    letters_max: int


@dataclass(slots=True)
class Share:
    """How many letters a reader may still get, and until when letters beyond that wait."""

    letters: int
    until: datetime | None = None


def windows_of(now: datetime, *, letters_per_day: int, letters_per_minute: int) -> list[Window]:
    """Return the windows that are open, without those that have no limit."""
    minute = now.replace(second=0, microsecond=0)
    day = minute.replace(hour=0, minute=0)
    found = [
        _window(day, day.date().isoformat(), timedelta(days=1), letters_per_day),
        _window(minute, f"{minute:%Y-%m-%dT%H:%M}", timedelta(minutes=1), letters_per_minute),
    ]
    return [window for window in found if window.letters_max]


def reserve_letters(wanted: Mapping[ObjectId, int], windows: Sequence[Window]) -> dict[ObjectId, Share]:
    """Count the wanted letters to each reader, and return how many of them are within the limits of all windows.

    If several deliverers ask for the last ones at once, the limits hold, but perhaps none of them gets any.
    """
    shares = {reader: Share(letters) for reader, letters in wanted.items()}
    if not wanted or not windows:
        return shares
    # Waiting for a majority would cost more than an extra letter after a failover.
    collection = hasty(database().letter_counts)
    changes = []
    for reader, letters in wanted.items():
        for window in windows:
            expiry = {"$set": {"expires_at": window.ends_at + window.length}}
            changes.append(UpdateOne(_of(reader, window), {"$inc": {"count": letters}, **expiry}, upsert=True))
    collection.bulk_write(changes, ordered=False)
    keys = [_of(reader, window)["_id"] for reader in wanted for window in windows]
    counts = {document["_id"]: document["count"] for document in collection.find({"_id": {"$in": keys}})}
    for reader, share in shares.items():
        for window in windows:
            within = wanted[reader] - max(0, counts[_of(reader, window)["_id"]] - window.letters_max)
            if within < wanted[reader]:
                share.letters = max(0, min(share.letters, within))
                share.until = max(share.until or window.ends_at, window.ends_at)
    return_letters({reader: wanted[reader] - share.letters for reader, share in shares.items()}, windows)
    return shares


def return_letters(unsent: Mapping[ObjectId, int], windows: Sequence[Window]) -> None:
    """Subtract letters that were not sent from their readers' counts."""
    changes = [
        UpdateOne(_of(reader, window), {"$inc": {"count": -letters}})
        for reader, letters in unsent.items()
        if letters
        for window in windows
    ]
    if changes:
        hasty(database().letter_counts).bulk_write(changes, ordered=False)


def _window(begin: datetime, name: str, length: timedelta, letters_max: int) -> Window:
    return Window(name, begin + length, length, letters_max)


def _of(reader: ObjectId, window: Window) -> dict[str, str]:
    return {"_id": f"{reader}/{window.name}"}
