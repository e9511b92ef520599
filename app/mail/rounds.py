"""Decides whose turn it is, and which messages share a letter.

Security mail goes first. Then each reader in turn gets one letter, so that a reader of many
letters does not delay a reader of one. These share a letter: messages to one reader that
were written together, a pile that grew while the server was away, and everything beyond a
reader's daily letters.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, zip_longest

from bson import ObjectId

from app.mongo import Document
from app.outbox import repository as outbox
from app.outbox.messages import URGENT

LETTERS_PER_ROUND_MAX = 50
# If more letters than this wait for one reader, they become one.
PILE_MAX = 10
# How many messages are read at a time, and so how many one letter may cover.
MESSAGES_MAX = 2_000
# A message is suspect after this many deliverers died while they held it. It is then tried in a round of its own.
LOST_MAX = 2
# Suspects get every tenth round; other messages get the rest.
SUSPECTS_EVERY = 10
COUNTS_KEPT = timedelta(days=2)

Messages = Sequence[Document]


@dataclass(frozen=True, slots=True)
class Round:
    """The claimed letters of one round, each a list of messages, in the order in which they are sent.

    `found` tells whether there was anything to claim. `day` is the day towards which the letters count, if there is a
    limit.
    """

    letters: Sequence[Messages]
    found: bool
    day: str | None

    def uncount(self, unsent: Iterable[Messages]) -> None:
        """Subtract letters that were not sent from their readers' counts."""
        if self.day is not None:
            outbox.return_letters(Counter(_reader(letter) for letter in unsent if not _is_urgent(letter)), day=self.day)


class Rounds:
    """Goes round the readers. Each round starts where the last one ended."""

    def __init__(self) -> None:
        self._last: ObjectId | None = None
        self._count = 0

    def claim(self, lease: ObjectId, *, now: datetime, until: datetime, letters_per_day: int) -> Round:
        """Claim the messages of the next round. If `letters_per_day` is 0, each message is a letter of its own."""
        planned = self._planned(now, bundles=letters_per_day > 0)
        day = now.date().isoformat() if letters_per_day else None
        allowed = planned if day is None else _within_limit(planned, day, now, letters_per_day)
        ids = [message["_id"] for letter in allowed for message in letter]
        claimed = {message["_id"]: message for message in outbox.claim(ids, lease, now=now, until=until)}
        letters = [[claimed[message["_id"]] for message in letter if message["_id"] in claimed] for letter in allowed]
        turn = Round([letter for letter in letters if letter], bool(planned), day)
        turn.uncount(before for before, letter in zip(allowed, letters, strict=True) if not letter)
        for reader in {_reader(letter) for letter in planned} - {_reader(letter) for letter in allowed}:
            outbox.defer(reader, now=now, until=_next_day(now))
        return turn

    def went(self, letter: Messages) -> None:
        """Note that the letter had its turn, so that the next round starts after its reader."""
        if not _is_urgent(letter):
            self._last = _reader(letter)

    def _planned(self, now: datetime, *, bundles: bool) -> list[Messages]:
        urgent: list[Messages] = [[message] for message in outbox.find_urgent(now, LETTERS_PER_ROUND_MAX)]
        readers = outbox.find_readers(now, after=self._last, size_max=LETTERS_PER_ROUND_MAX)
        waiting = outbox.find_waiting(readers, now, MESSAGES_MAX) if readers else {}
        # In the order of `readers`, which wraps round, unlike the order of `waiting`.
        queues = [letters_of(waiting[reader], bundles=bundles) for reader in readers if reader in waiting]
        letters = (urgent + in_turn(queues))[:LETTERS_PER_ROUND_MAX]
        suspects = [letter for letter in letters if _is_suspect(letter[0])]
        trusted = [letter for letter in letters if not _is_suspect(letter[0])]
        self._count += 1
        if suspects and (not trusted or self._count % SUSPECTS_EVERY == 0):
            return suspects[:1]
        return trusted


def letters_of(waiting: Sequence[Document], *, bundles: bool) -> list[Messages]:
    """Return one reader's waiting messages grouped into letters, in order."""
    if not bundles:
        return [[message] for message in waiting]
    alone: list[Messages] = [[message] for message in waiting if _is_alone(message)]
    together: dict[object, list[Document]] = {}
    for message in waiting:
        if not _is_alone(message):
            together.setdefault(_bundle(message), []).append(message)
    if len(together) > PILE_MAX:
        return [*alone, list(chain.from_iterable(together.values()))]
    return alone + list(together.values())


def in_turn(queues: Sequence[Sequence[Messages]]) -> list[Messages]:
    """Return the first letter of each queue, then the second of each, and so on."""
    turns = chain.from_iterable(zip_longest(*queues))
    return [letter for letter in turns if letter is not None]


def _within_limit(planned: Sequence[Messages], day: str, now: datetime, letters_per_day: int) -> list[Messages]:
    """Count the letters, and return those within their readers' daily limit."""
    wanted = Counter(_reader(letter) for letter in planned if not _is_urgent(letter))
    left = outbox.reserve_letters(wanted, day=day, letters_max=letters_per_day, expires_at=now + COUNTS_KEPT)
    allowed = []
    for letter in planned:
        if not _is_urgent(letter):
            left[_reader(letter)] -= 1
            if left[_reader(letter)] < 0:
                continue
        allowed.append(letter)
    return allowed


def _bundle(message: Document) -> object:
    if message.get("deferred"):
        return "deferred"
    return message.get("moment", message["_id"])


def _is_alone(message: Document) -> bool:
    return bool(message["kind"] in URGENT) or _is_suspect(message)


def _is_suspect(message: Document) -> bool:
    return int(message.get("lost", 0)) + ("lease" in message) >= LOST_MAX


def _is_urgent(letter: Messages) -> bool:
    return bool(letter[0]["kind"] in URGENT)


def _reader(letter: Messages) -> ObjectId:
    reader: ObjectId = letter[0]["user"]
    return reader


def _next_day(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
