"""Reads a user's events, and waits for them."""

import contextlib
import random
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from bson import ObjectId

from app.errors import InvalidCursor, LedgerBusy
from app.events.waiting import WaitingRoom
from app.outbox import feed
from app.outbox.events import Event, events_of
from app.settings.policies import WorkPolicy

WAIT_MAX_S = 25
# A page looks at no more than this many pieces of news, however many its types reject.
LOOKED_AT_MAX = 1_000
# On average.
PLACE_EVERY_S = 5.0


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in a user's events: the piece of news before it, and how many events of that piece are before it."""

    position: int = 0
    number: int = 0
    event: int = -1


@dataclass(frozen=True, slots=True)
class Page:
    """Events, and the place after the last one looked at. `is_last` tells whether there was nothing after it."""

    events: list[Event]
    place: Place
    is_last: bool


def configure(policy: WorkPolicy) -> None:
    """Set how many requests of this process may wait for events."""
    global _room
    _room = WaitingRoom(policy.waiting_max, _who_has_news)


def end_waiting() -> None:
    """Answer all requests of this process that wait for events, and let none wait any more. The process is stopping."""
    _room.close()


def place_events() -> float:
    """Give places to new events; return after how many seconds to call this again.

    Requests for events do this at once for themselves. This only keeps the backlog small. So it lets many blocks
    gather, because a round costs as much as a block. Workers that start together would always conflict, so each one's
    pauses differ.
    """
    return 0.0 if feed.place() >= feed.PLACED_AT_ONCE_MAX else PLACE_EVERY_S * random.uniform(0.5, 1.5)


def as_place(written: Any) -> Place:
    """Return the place that a cursor stands for; raises InvalidCursor."""
    match written:
        case [int() as position, int() as number, int() as event]:
            return Place(position, number, event)
        case _:
            raise InvalidCursor


def read(user: ObjectId, after: Place, *, types: Collection[str], limit: int, wait_s: int = 0) -> Page:
    """Return up to `limit` of the user's events of these types, or of all types for None, in order.

    If there are none, wait for them up to `wait_s`, unless too many requests wait already, of all users or of this one,
    or the process stops.
    """
    # A process that was killed while it gave places may block others for a minute. Events with places are answered.
    with contextlib.suppress(LedgerBusy):
        feed.place_together()
    page = look(user, after, types, limit)
    if page.events or not page.is_last or not wait_s:
        return page
    until = time.monotonic() + wait_s
    with _room.seat(user) as has_seat:
        while has_seat and not page.events and page.is_last and _room.wait(user, page.place.position, until=until):
            page = look(user, page.place, types, limit)
    return page


def look(user: ObjectId, after: Place, types: Collection[str], limit: int) -> Page:
    """Return up to `limit` events that have their places already, of these types, or of all types for None."""
    events: list[Event] = []
    place = after
    looked_at = 0
    for told in feed.walk(user, position=after.position, number=after.number):
        # If it makes no event, as the news that a webhook was disabled, there is nothing to wait for in front of it.
        place = max(place, Place(told.position, told.number))
        for number, event in enumerate(events_of(told.messages, source=f"{user}/{told.document}/{told.number}")):
            here = Place(told.position, told.number, number)
            if here <= after:
                continue
            if len(events) == limit:
                return Page(events, place, is_last=False)
            if not types or event.type in types:
                events.append(event)
            place = here
        looked_at += 1
        if looked_at >= LOOKED_AT_MAX:
            return Page(events, place, is_last=False)
    return Page(events, place, is_last=True)


def _who_has_news(after: Mapping[ObjectId, int]) -> set[ObjectId]:
    with contextlib.suppress(LedgerBusy):
        feed.place()
    return feed.readers_with_news(after)


_room = WaitingRoom(0, _who_has_news)
