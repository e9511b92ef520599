"""Whose turn it is, and which messages make one letter.

Security mail goes first. Then one letter to each reader in turn, so that who waits for
many delays nobody who waits for one. What happened to one reader at one moment is one
letter, so is a pile that grew while the server was away, and so is all that is beyond
a reader's letters of a day.
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
# More letters than this that wait for one reader become one.
PILE_MAX = 10
# What is read of the outbox at a time, and what one letter may tell of.
MESSAGES_MAX = 2_000
# Who has taken so many deliverers with it is suspected to be the reason, and tried with nobody else at stake.
LOST_MAX = 2
SUSPECTS_EVERY = 10
COUNTS_KEPT = timedelta(days=2)

Messages = Sequence[Document]


@dataclass(frozen=True, slots=True)
class Round:
    """The letters of one turn, claimed, each as its messages, in the order in which they are to go.

    `found` tells whether there was anything to claim, `day` on which day's count the letters are, if on any.
    """

    letters: Sequence[Messages]
    found: bool
    day: str | None

    def uncount(self, unsent: Iterable[Messages]) -> None:
        """Take letters out of their readers' counts because they did not go."""
        if self.day is not None:
            outbox.return_letters(Counter(_reader(letter) for letter in unsent if not _is_urgent(letter)), day=self.day)


class Rounds:
    """Goes round the readers, from where the last round ended."""

    def __init__(self) -> None:
        self._last: ObjectId | None = None
        self._count = 0

    def claim(self, lease: ObjectId, *, now: datetime, until: datetime, letters_per_day: int) -> Round:
        """Claim the next round's messages. `letters_per_day` of 0 makes each message a letter of its own."""
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
        """Note that the letter had its turn: the next round begins after its reader."""
        if not _is_urgent(letter):
            self._last = _reader(letter)

    def _planned(self, now: datetime, *, bundles: bool) -> list[Messages]:
        urgent: list[Messages] = [[message] for message in outbox.find_urgent(now, LETTERS_PER_ROUND_MAX)]
        readers = outbox.find_readers(now, after=self._last, size_max=LETTERS_PER_ROUND_MAX)
        waiting = outbox.find_waiting(readers, now, MESSAGES_MAX) if readers else {}
        # In the ring's order, which the ids' order is not where it begins anew.
        queues = [letters_of(waiting[reader], bundles=bundles) for reader in readers if reader in waiting]
        letters = (urgent + in_turn(queues))[:LETTERS_PER_ROUND_MAX]
        suspects = [letter for letter in letters if _is_suspect(letter[0])]
        trusted = [letter for letter in letters if not _is_suspect(letter[0])]
        self._count += 1
        if suspects and (not trusted or self._count % SUSPECTS_EVERY == 0):
            return suspects[:1]
        return trusted


def letters_of(waiting: Sequence[Document], *, bundles: bool) -> list[Messages]:
    """Return one reader's waiting messages as the letters that they make, in their order."""
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
    """Count the letters, and return those that their readers may still get on that day."""
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
