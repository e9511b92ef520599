"""What happens to messages by their reader's choice: sent at once, kept for a digest, or dropped. No I/O.

Digests go at DIGEST_HOUR, UTC: daily ones every day, weekly ones on Mondays.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from app.auth.preferences import Frequency, Preferences
from app.ledger.records import TransactionKind
from app.mail.parcels import Parcel, document_for
from app.mongo import Document
from app.outbox.events import TYPE_OF_KIND, EventType
from app.outbox.messages import URGENT, MessageKind, News, OutboxMessage

# Morning in India, before work in Europe.
DIGEST_HOUR = 3
MONDAY = 0
# A digest takes no more messages this long before it goes; later ones wait for the next. A deliverer may take this long
# to note what it decided, so a digest is complete when it becomes due.
CLOSES_BEFORE = timedelta(minutes=1)

_MOVED = frozenset({MessageKind.MONEY_SENT, MessageKind.MONEY_RECEIVED})


def type_of(message: OutboxMessage) -> EventType | None:
    """Return the kind of letter that the reader chooses for, or None if there is no choice."""
    if message.kind in _MOVED and message.payload.get("transaction_kind") == TransactionKind.REVERSAL:
        return EventType.TRANSACTION_REVERSED
    return TYPE_OF_KIND.get(message.kind)


def next_digest(frequency: Frequency, now: datetime) -> datetime:
    """Return when the next daily or weekly digest goes that still takes messages."""
    closed = now + CLOSES_BEFORE
    at = closed.replace(hour=DIGEST_HOUR, minute=0, second=0, microsecond=0)
    if at <= closed:
        at += timedelta(days=1)
    if frequency is Frequency.WEEKLY:
        at += timedelta(days=(MONDAY - at.weekday()) % 7)
    return at


def obey(parcel: Parcel, preferences: Preferences, now: datetime) -> datetime:
    """Leave in the parcel the messages that go first, and return when: now, or at a digest.

    Messages that go later are `apart` then. Those that the reader does not want are dropped, so none may be left.
    """
    is_due = parcel.digest_at is not None and parcel.digest_at <= now
    groups: dict[datetime | None, list[OutboxMessage]] = defaultdict(list)
    for message in parcel.messages:
        groups[_when(message, preferences, now, is_due=is_due)].append(message)
    # A document that stands for a part of its news must not become one that stands for all of it.
    parcel.divided = parcel.divided or "only" in parcel.document or _is_divided(list(groups.values()))
    first, *later = sorted(at for at in groups if at is not None) or [now]
    parcel.messages = groups.get(first, [])
    for at in later:
        kept = document_for(parcel.reader, groups[at], at=parcel.at, divided=parcel.divided)
        parcel.apart.append({**kept, **kept_until(at)})
    return first


def kept_until(at: datetime) -> Document:
    """Return the fields of a document that is kept for the digest at this time."""
    return {"next_attempt_at": at, "digest_at": at, "deferred": True}


def _when(message: OutboxMessage, preferences: Preferences, now: datetime, *, is_due: bool) -> datetime | None:
    frequency = preferences.frequency(type_of(message))
    if frequency is Frequency.OFF:
        return None
    # A late welcome is worse than none.
    if is_due or frequency is Frequency.EACH or message.kind in URGENT:
        return now
    return next_digest(frequency, now)


def _is_divided(groups: Sequence[Sequence[OutboxMessage]]) -> bool:
    """Tell whether a piece of news tells things of different groups, because both of its accounts are the reader's."""
    seen: dict[News, int] = {}
    return any(
        seen.setdefault(message.news, number) != number
        for number, group in enumerate(groups)
        for message in group
        if message.news is not None
    )
