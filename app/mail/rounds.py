"""Decides whose turn it is, and which messages share a letter.

Security mail goes first. Then each reader in turn gets one letter, so that a reader of many
letters does not delay a reader of one. These share a letter: all messages of one block to one
reader, a pile that grew while the server was away, messages beyond a reader's limit for a
minute or a day, and the due messages of a digest that the reader chose.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from itertools import accumulate, chain, islice, zip_longest

from bson import ObjectId

from app.mail.desk import LOST_MAX, Desk
from app.mail.parcels import Parcel
from app.outbox import letter_counts, waiting
from app.outbox import repository as outbox
from app.outbox.letter_counts import Window

# How many letters a round has: about twice as many as the last round sent, between these.
LETTERS_PER_ROUND_MIN, LETTERS_PER_ROUND_MAX = 50, 500
# If more letters than this wait for one reader, they become one.
PILE_MAX = 10
# How many documents of readers a round looks at, which limits how many one letter may cover.
DOCUMENTS_MAX = 2_000
# How many messages a round claims with documents of readers, unless a single one has more. All are worked out before
# the first letter goes, even security mail, at 0.3 ms each.
MESSAGES_MAX = 2_000
# Suspects get every tenth round; other messages get the rest.
SUSPECTS_EVERY = 10

# The parcels that go in one letter.
Parcels = Sequence[Parcel]


@dataclass(frozen=True, slots=True)
class Round:
    """The claimed letters of one round, in the order in which they are sent.

    `found` tells whether there was anything to claim, and `is_full` whether there may be more. The letters count
    towards the limits of the `windows`.
    """

    letters: Sequence[Parcels]
    found: bool
    is_full: bool
    windows: Sequence[Window]

    def uncount(self, unsent: Iterable[Parcels]) -> None:
        """Subtract letters that were not sent from their readers' counts."""
        readers = Counter(letter[0].reader for letter in unsent if not _is_urgent(letter))
        letter_counts.return_letters(readers, self.windows)


class Rounds:
    """Makes rounds of the readers. Each round starts where the last one ended."""

    def __init__(self) -> None:
        self._last: ObjectId | None = None
        self._count = 0
        self._size = LETTERS_PER_ROUND_MIN
        # Whether more documents of readers were due than the round looked at.
        self._left_out = False

    def claim(self, desk: Desk, *, now: datetime, letters_per_day: int, letters_per_minute: int = 0) -> Round:
        """Claim the letters of the next round.

        If `letters_per_day` is 0, there is no limit, and each message is a letter of its own. If `letters_per_minute`
        is 0, there is no limit for a minute.
        """
        bundles = letters_per_day > 0
        limits = {"letters_per_day": letters_per_day, "letters_per_minute": letters_per_minute}
        windows = letter_counts.windows_of(now, **limits) if bundles else []
        took_in = desk.take_in(now, readers_wanted=self._size, bundles=bundles)
        planned = self._planned(desk, now, bundles=bundles)
        allowed, put_off = _within_limits(planned, windows)
        desk.claim(chain.from_iterable(allowed), now)
        letters = [[parcel for parcel in letter if parcel.messages] for letter in allowed]
        # A suspect letter has a round of its own, so there is more whenever there is one.
        is_full = (
            len(planned) >= self._size
            or self._left_out
            or desk.is_full()
            or any(_is_suspect(each[0]) for each in planned)
        )
        turn = Round([letter for letter in letters if letter], bool(planned) or took_in, is_full, windows)
        unclaimed = [before for before, letter in zip(allowed, letters, strict=True) if not letter]
        turn.uncount(unclaimed)
        if unclaimed and all(map(_is_urgent, turn.letters)):
            # Its turn is over, although what was claimed for it goes later or not at all.
            self.went(unclaimed[-1])
        for reader, until in put_off.items():
            outbox.defer(reader, now=now, until=until)
            desk.defer(reader, until)
        return turn

    def went(self, letter: Parcels) -> None:
        """Note that the letter had its turn, so that the next round starts after its reader."""
        if not _is_urgent(letter):
            self._last = letter[0].reader

    def ended(self, tried: int) -> None:
        """Note how many letters the round tried, which decides how many the next one has."""
        self._size = min(max(2 * tried, LETTERS_PER_ROUND_MIN), LETTERS_PER_ROUND_MAX)

    def _planned(self, desk: Desk, now: datetime, *, bundles: bool) -> list[Parcels]:
        urgent: list[Parcels] = [[_outlined(found)] for found in outbox.find_urgent(now, self._size)]
        urgent += [[parcel] for parcel in desk.urgent()]
        with_documents = waiting.find_readers(now, after=self._last, size_max=self._size)
        outlines = waiting.find_waiting(with_documents, now, DOCUMENTS_MAX, after=self._last)
        in_all = sum(map(len, outlines.values()))
        self._left_out = len(outlines) < len(with_documents) or in_all >= DOCUMENTS_MAX
        queues = [
            letters_of(
                merge(map(_outlined, outlines.get(reader, ())), desk.parcels(reader), key=_due_at), bundles=bundles
            )
            for reader in self._in_order({*outlines, *desk.readers()})
        ]
        planned = list(islice(chain(urgent, in_turn(queues)), self._size))
        letters = within(MESSAGES_MAX, planned)
        self._left_out |= sum(map(len, letters)) < sum(map(len, planned))
        suspects = [letter for letter in letters if _is_suspect(letter[0])]
        trusted = [letter for letter in letters if not _is_suspect(letter[0])]
        self._count += 1
        if suspects and (not trusted or self._count % SUSPECTS_EVERY == 0):
            return suspects[:1]
        return trusted

    def _in_order(self, readers: Iterable[ObjectId]) -> list[ObjectId]:
        """Return the readers whose turn it is: first those after the last one, then from the start."""
        last = self._last or ObjectId(bytes(12))
        return sorted(readers, key=lambda reader: (reader <= last, reader))[: self._size]


def letters_of(parcels: Iterable[Parcel], *, bundles: bool) -> Iterable[Parcels]:
    """Return one reader's waiting parcels grouped into letters, the first due first.

    Without `bundles`, only parcels that are kept for a digest share a letter.
    """
    alone: list[Parcels] = []
    together: dict[object, list[Parcel]] = {}
    for parcel in parcels:
        if _is_alone(parcel) or not (bundles or parcel.is_kept):
            alone.append([parcel])
        else:
            together.setdefault(_bundle(parcel), []).append(parcel)
    if len(together) > PILE_MAX:
        return [*alone, list(chain.from_iterable(together.values()))]
    return [*alone, *together.values()]


def in_turn(queues: Iterable[Iterable[Parcels]]) -> Iterator[Parcels]:
    """Yield the first letter of each queue, then the second of each, and so on."""
    turns = chain.from_iterable(zip_longest(*queues))
    return (letter for letter in turns if letter is not None)


def within(messages_max: int, planned: Iterable[Parcels]) -> list[Parcels]:
    """Return the first letters that together have at most this many messages.

    If the first one that is not urgent has too many, it is cut: the rest goes in a later round.
    """
    letters: list[Parcels] = []
    left = messages_max
    for letter in planned:
        left -= sum(parcel.size for parcel in letter)
        if left >= 0 or _is_urgent(letter):
            letters.append(letter)
            continue
        if all(map(_is_urgent, letters)):
            letters.append(_beginning(letter, messages_max))
        break
    return letters


def _beginning(letter: Parcels, messages_max: int) -> Parcels:
    """Return the first parcels of the letter that have at most this many messages, but at least one parcel."""
    sizes = accumulate(parcel.size for parcel in letter)
    return [
        parcel
        for number, (parcel, size) in enumerate(zip(letter, sizes, strict=True))
        if size <= messages_max or not number
    ]


def _within_limits(
    planned: Sequence[Parcels], windows: Sequence[Window]
) -> tuple[list[Parcels], dict[ObjectId, datetime]]:
    """Count the letters. Return those within their readers' limits, and until when other readers have to wait.

    Only readers who may get no letter at all have to wait. The others are considered again in the next round.
    """
    wanted = Counter(letter[0].reader for letter in planned if not _is_urgent(letter))
    shares = letter_counts.reserve_letters(wanted, windows)
    put_off = {reader: share.until for reader, share in shares.items() if share.until and not share.letters}
    allowed = []
    for letter in planned:
        if not _is_urgent(letter):
            share = shares[letter[0].reader]
            share.letters -= 1
            if share.letters < 0:
                continue
        allowed.append(letter)
    return allowed, put_off


def _outlined(document: dict[str, object]) -> Parcel:
    reader = document["user"]
    assert isinstance(reader, ObjectId)
    return Parcel(document, reader)


def _due_at(parcel: Parcel) -> datetime:
    return parcel.due_at


def _bundle(parcel: Parcel) -> object:
    if parcel.document.get("deferred"):
        return "deferred"
    return parcel.document.get("moment", parcel.document["_id"])


def _is_alone(parcel: Parcel) -> bool:
    return parcel.is_urgent or _is_suspect(parcel)


def _is_suspect(parcel: Parcel) -> bool:
    # Suspect blocks are divided when they are claimed.
    document = parcel.document
    return not parcel.is_of_block and int(document.get("lost", 0)) + ("lease" in document) >= LOST_MAX


def _is_urgent(letter: Parcels) -> bool:
    return letter[0].is_urgent
