"""The documents that one deliverer has claimed and works on: those of blocks, and those of single readers.

The document of a block is for many readers. It stays claimed while their letters go one by one.
After each round, what is done is noted: once for all finished blocks, and by keys for blocks that
are done in part. Messages that fail or are put off move from their block to documents of their own.
"""

import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import structlog
from bson import ObjectId

from app import clock
from app.auth import service as users
from app.errors import LedgerBusy
from app.mail import choices
from app.mail.parcels import Parcel, document_for
from app.mail.smtp import MESSAGE_TIMEOUT_S
from app.mongo import Document
from app.outbox import facts
from app.outbox import repository as outbox
from app.outbox.messages import URGENT, MessageState, News, OutboxMessage
from app.outbox.news import news_in
from app.outbox.repository import ERROR_LENGTH_MAX, LeaseLost
from app.telemetry.metrics import LETTERS

log = structlog.get_logger(__name__)

LEASE_S = 40.0
BACKOFF_BASE_S = 8.0
# A deliverer starts no further message when less than this is left of its lease, because another one might start it
# too.
LEASE_LEFT_MIN_S = MESSAGE_TIMEOUT_S + 10.0
ATTEMPTS_MAX = 12
# After this many deliverers died while they held a document, it is suspect, and is tried in a round of its own.
LOST_MAX = 2
# How many blocks, and how many pieces of news, are claimed at a time, and how many messages are on the desk at most.
BLOCKS_MAX = 100
NEWS_MAX = 1_000
MESSAGES_MAX = 5_000


class Desk:
    """One lease, and all that was claimed with it."""

    def __init__(self, *, until: datetime) -> None:
        self.lease = ObjectId()
        self.until = until
        self._blocks: dict[ObjectId, Document] = {}
        # The parts of these blocks that are not done yet.
        self._left: dict[ObjectId, set[str]] = {}
        self._waiting: dict[ObjectId, dict[tuple[ObjectId, str], Parcel]] = {}
        self._messages = 0
        self._is_full = False
        # The work done since the last note, and the documents to be inserted with it.
        self._done: dict[ObjectId, list[str]] = defaultdict(list)
        self._sent: list[ObjectId] = []
        self._apart: list[Document] = []

    def is_short(self) -> bool:
        return self.until - clock.now() < timedelta(seconds=LEASE_LEFT_MIN_S)

    def readers(self) -> Collection[ObjectId]:
        """Return the readers for whom parts of blocks wait here."""
        return self._waiting.keys()

    def is_full(self) -> bool:
        """Tell whether the last look for due blocks left some, or may have."""
        return self._is_full

    def parcels(self, reader: ObjectId) -> list[Parcel]:
        """Return the parcels that wait here for a reader and are not about security."""
        return [parcel for parcel in self._waiting.get(reader, {}).values() if not parcel.is_urgent]

    def urgent(self) -> list[Parcel]:
        """Return the parcels that wait here and are about security."""
        return [parcel for of_reader in self._waiting.values() for parcel in of_reader.values() if parcel.is_urgent]

    def take_in(self, now: datetime, *, readers_wanted: int, bundles: bool) -> bool:
        """Claim due blocks, those with news about security first; return whether there were any.

        If enough readers wait already, only blocks with news about security are claimed. With `bundles`, all messages
        of a block to one reader are one parcel, except those about security. Otherwise each message is one.
        """
        is_crowded = len(self._waiting) >= readers_wanted or self._messages >= MESSAGES_MAX
        chosen: list[ObjectId] = []
        size = 0
        found = outbox.find_urgent_blocks(now, BLOCKS_MAX)
        if not is_crowded:
            urgent = {outline["_id"] for outline in found}
            found += [outline for outline in outbox.find_blocks(now, BLOCKS_MAX) if outline["_id"] not in urgent]
        for outline in found:
            size += sum(len(run["subjects"]) for run in outline["news"])
            if chosen and size > NEWS_MAX:
                break
            chosen.append(outline["_id"])
        self._is_full = is_crowded or len(chosen) < len(found) or len(found) >= BLOCKS_MAX
        claimed = outbox.claim(chosen, self.lease, now=now, until=self.until)
        told = facts.work_out(claimed)
        opened = []
        for block in sorted(claimed, key=lambda block: block["was_due_at"]):
            opened += self._open(block, told[block["_id"]], bundles=bundles)
        self._obey_in_blocks(opened, now)
        return bool(chosen)

    def _open(self, block: Document, told: facts.Told, *, bundles: bool) -> list[Parcel]:
        """Put the parcels of a block on the desk, and return them, unless they are to be tried alone."""
        self._blocks[block["_id"]] = block
        parcels: dict[str, Parcel] = {}
        gone = set(block.get("told", ()))
        for message in told.messages:
            # Security mail never shares a letter with other messages.
            is_bundled = bundles and message.kind not in URGENT
            if gone and ((message.kind not in URGENT and str(message.user) in gone) or message.identity() in gone):
                continue
            key = str(message.user) if is_bundled else message.identity()
            parcels.setdefault(key, Parcel(block, message.user, key=key)).messages.append(message)
        self._left[block["_id"]] = set(parcels)
        # So that the note finds the block, even if nobody is to be told.
        self._done[block["_id"]] += []
        for parcel in parcels.values():
            self._waiting.setdefault(parcel.reader, {})[block["_id"], str(parcel.key)] = parcel
            self._messages += len(parcel.messages)
        self._open_unclear(block, [each for each in told.unclear if str(each[0].subject) not in gone])
        if block["lost"] >= LOST_MAX:
            # From now on each part is tried alone, so that only the part that kills its deliverers is given up.
            for parcel in parcels.values():
                self._leave_block([parcel], attempts=block["attempts"] - 1, lost=block["lost"])
            return []
        return list(parcels.values())

    def _obey_in_blocks(self, parcels: Sequence[Parcel], now: datetime) -> None:
        """Apply each reader's choice to the opened parcels. Messages that are kept leave their block."""
        choosers = users.chosen_preferences({parcel.reader for parcel in parcels})
        kept: dict[tuple[ObjectId, datetime], list[Parcel]] = defaultdict(list)
        for parcel in parcels:
            if parcel.reader not in choosers:
                continue
            self._messages -= len(parcel.messages)
            at = choices.obey(parcel, choosers[parcel.reader], now)
            self._messages += len(parcel.messages)
            if not parcel.messages:
                self._finish(parcel)
            elif at > now:
                kept[parcel.reader, at].append(parcel)
        for (_, at), of_reader in kept.items():
            self._leave_block(of_reader, **choices.kept_until(at))

    def _open_unclear(self, block: Document, unclear: Sequence[tuple[News, Exception]]) -> None:
        """Separate the news that no message can be made of; if that is all of the block's news, its attempt failed."""
        if not unclear:
            return
        news, error = unclear[0]
        if len(unclear) == len(news_in(block)):
            tell_unwritable(block["_id"], error, kind=news.event)
            for changes in (self._blocks, self._left, self._done):
                del changes[block["_id"]]
            self._fail_document(block, reason_of(error))
            return
        for news, error in unclear:
            document = outbox.block_document([news], at=block["at"])
            tell_unwritable(document["_id"], error, kind=news.event)
            self._apart.append(_with_failure(document, block["attempts"], reason_of(error)))
            self._done[block["_id"]].append(str(news.subject))

    def claim(self, parcels: Iterable[Parcel], now: datetime) -> None:
        """Claim the documents of single readers.

        Documents that somebody else claimed meanwhile get no messages, nor do those that do not go now.
        """
        of_readers = {parcel.document["_id"]: parcel for parcel in parcels if not parcel.is_of_block}
        together = [id_ for id_, parcel in of_readers.items() if parcel.is_kept]
        apart = [id_ for id_, parcel in of_readers.items() if not parcel.is_kept]
        claimed = outbox.claim(apart, self.lease, now=now, until=self.until)
        # If others keep interfering, they get it. A claim that took effect all the same ends with its lease.
        with suppress(LedgerBusy):
            claimed += outbox.claim_together(together, self.lease, now=now, until=self.until)
        told = facts.work_out(claimed)
        for document in claimed:
            parcel = of_readers[document["_id"]]
            parcel.document = document
            parcel.messages = told[document["_id"]].messages
            unclear = told[document["_id"]].unclear
            if unclear and not parcel.messages:
                tell_unwritable(document["_id"], unclear[0][1], kind=document["kind"])
                self.failed([parcel], reason_of(unclear[0][1]))
            elif not parcel.messages:
                self.buried([parcel], "There is nothing to tell its reader.")
            for news, error in unclear if parcel.messages else ():
                alone = outbox.reader_document(parcel.reader, outbox.DIGEST, [news], at=parcel.at)
                alone |= {"only": document["only"]} if "only" in document else {}
                tell_unwritable(alone["_id"], error, kind=news.event)
                parcel.apart.append(_with_failure(alone, parcel.attempts, reason_of(error)))
        self._obey([of_readers[document["_id"]] for document in claimed], now)

    def _obey(self, parcels: Sequence[Parcel], now: datetime) -> None:
        """Apply each reader's choice to the claimed documents."""
        choosers = users.chosen_preferences({parcel.reader for parcel in parcels if parcel.messages})
        kept: dict[datetime, list[ObjectId]] = defaultdict(list)
        for parcel in parcels:
            if parcel.reader not in choosers or not parcel.messages:
                continue
            in_all, apart = len(parcel.messages), len(parcel.apart)
            at = choices.obey(parcel, choosers[parcel.reader], now)
            if parcel.messages and at <= now:
                continue
            if len(parcel.messages) == in_all and not apart:
                kept[at].append(parcel.document["_id"])
            else:
                self._replace(parcel, at)
            parcel.messages = []
        for at, ids in kept.items():
            outbox.keep(ids, self.lease, until=at)

    def _replace(self, parcel: Parcel, at: datetime) -> None:
        """Replace a document, none of whose messages goes now, by documents of their own."""
        if parcel.messages:
            rest = document_for(parcel.reader, parcel.messages, at=parcel.at, divided=parcel.divided)
            self._apart.append({**rest, **choices.kept_until(at)})
        self._apart += parcel.apart
        self._sent.append(parcel.document["_id"])

    def sent(self, letter: Sequence[Parcel]) -> None:
        """Remember that the server took the letter; `note` writes that."""
        LETTERS.labels("sent").inc()
        for parcel in letter:
            if parcel.is_of_block:
                self._finish(parcel)
            else:
                self._sent.append(parcel.document["_id"])
                self._apart += parcel.apart

    def failed(self, letter: Sequence[Parcel], reason: str) -> None:
        """Note that an attempt failed. After the last one the message is given up; until then it waits for the next."""
        self.buried([parcel for parcel in letter if parcel.attempts >= ATTEMPTS_MAX], reason)
        later = [parcel for parcel in letter if parcel.attempts < ATTEMPTS_MAX]
        if not later:
            return
        LETTERS.labels("failed").inc()
        # Messages that failed together are tried again together.
        attempts = max(parcel.attempts for parcel in later)
        next_attempt_at = clock.now() + timedelta(seconds=backoff_s(attempts))
        ids = [parcel.document["_id"] for parcel in later if not parcel.is_of_block]
        outbox.mark_failed(ids, self.lease, next_attempt_at=next_attempt_at, error=reason)
        ids += self._leave_block(later, attempts=attempts, next_attempt_at=next_attempt_at, error=reason)
        count = sum(len(parcel.messages) for parcel in later)
        log.warning("mail_failed", message=str(ids[0]), messages=count, attempts=attempts, reason=reason)

    def buried(self, parcels: Sequence[Parcel], reason: str) -> None:
        """Give these up."""
        ids = [parcel.document["_id"] for parcel in parcels if not parcel.is_of_block]
        outbox.mark_dead(ids, self.lease, error=reason)
        attempts = max((parcel.attempts for parcel in parcels), default=0)
        ids += self._leave_block(parcels, attempts=attempts, state=MessageState.DEAD.value, error=reason)
        for dead in ids:
            LETTERS.labels("dead").inc()
            log.error("mail_dead", message=str(dead), reason=reason)

    def split_off(self, parcel: Parcel, bad: Sequence[tuple[OutboxMessage, Exception]]) -> None:
        """Give messages that cannot be written documents of their own; the parcel keeps the others."""
        if len(bad) == len(parcel.messages):
            tell_unwritable(parcel.document["_id"], bad[0][1], kind=bad[0][0].kind)
            self.failed([parcel], reason_of(bad[0][1]))
            parcel.messages = []
            return
        for message, error in bad:
            document = document_for(parcel.reader, [message], at=parcel.at)
            tell_unwritable(document["_id"], error, kind=message.kind)
            parcel.apart.append(_with_failure(document, parcel.attempts, reason_of(error)))
        if parcel.is_of_block:
            self._messages -= len(bad)
        gone = {id(message) for message, _ in bad}
        parcel.messages = [message for message in parcel.messages if id(message) not in gone]

    def defer(self, reader: ObjectId, until: datetime) -> None:
        """Put off until then the parcels that wait here for a reader."""
        self._leave_block(self.parcels(reader), next_attempt_at=until, deferred=True)

    def note(self, now: datetime) -> None:
        """Write what was done since the last note. If this deliverer dies before that, it will be done again.

        If the lease is over, somebody else does the rest, and nothing stays here.
        """
        finished = [block for block in self._done if not self._left[block]]
        told = {block: keys for block, keys in self._done.items() if keys and self._left[block]}
        sent = [*self._sent, *finished]
        try:
            if self._apart:
                outbox.set_apart(self._apart, told=told, sent=sent, lease=self.lease, now=now)
            else:
                outbox.note_told(told, self.lease)
                outbox.mark_sent(sent, self.lease, now=now)
        except LeaseLost:
            log.warning("mail_lease_lost", blocks=len(self._blocks))
            self._blocks.clear()
            self._waiting.clear()
        self._sent.clear()
        for block in finished:
            self._blocks.pop(block, None)
        self._done.clear()
        self._apart.clear()

    def give_back(self) -> None:
        """Note what was done, and give back the blocks that are not finished."""
        self.note(clock.now())
        outbox.release(list(self._blocks), self.lease)

    def release(self, letters: Iterable[Sequence[Parcel]]) -> None:
        """Give back the documents of single readers in letters that were not tried. Parts of blocks stay here."""
        of_readers = [p.document["_id"] for letter in letters for p in letter if not p.is_of_block]
        if of_readers:
            outbox.release(of_readers, self.lease)

    def _fail_document(self, document: Document, reason: str) -> None:
        if document["attempts"] >= ATTEMPTS_MAX:
            outbox.mark_dead([document["_id"]], self.lease, error=reason)
            LETTERS.labels("dead").inc()
            log.error("mail_dead", message=str(document["_id"]), reason=reason)
        else:
            LETTERS.labels("failed").inc()
            next_attempt_at = clock.now() + timedelta(seconds=backoff_s(document["attempts"]))
            outbox.mark_failed([document["_id"]], self.lease, next_attempt_at=next_attempt_at, error=reason)

    def _leave_block(self, parcels: Sequence[Parcel], **more: Any) -> list[ObjectId]:
        """Move the parcels, all for one reader, out of their blocks into one document; return its id, if any."""
        of_blocks = [parcel for parcel in parcels if parcel.is_of_block]
        told = [message for parcel in of_blocks for message in parcel.messages]
        for parcel in of_blocks:
            self._finish(parcel)
        if not told:
            return []
        divided = any(parcel.divided for parcel in of_blocks)
        document = document_for(of_blocks[0].reader, told, at=min(p.at for p in of_blocks), divided=divided)
        self._apart.append({**document, **more})
        return [document["_id"]]

    def _finish(self, parcel: Parcel) -> None:
        block, key = parcel.document["_id"], str(parcel.key)
        of_reader = self._waiting.get(parcel.reader, {})
        if of_reader.pop((block, key), None) is None:
            return
        if not of_reader:
            del self._waiting[parcel.reader]
        self._messages -= len(parcel.messages)
        self._left[block].discard(key)
        self._done[block].append(key)
        self._apart += parcel.apart


def backoff_s(attempts: int) -> float:
    """Return how long to wait after this many failed attempts.

    The time doubles from 8 s to over two hours. Up to half of it is subtracted at random, so
    that letters that failed together are not tried again together.
    """
    return jittered(BACKOFF_BASE_S * 2.0 ** (attempts - 1))


def jittered(seconds: float) -> float:
    return seconds * random.uniform(0.5, 1)


def _with_failure(document: Document, attempts: int, error: str) -> Document:
    """Count a failed attempt, and return a document to be inserted with it."""
    more: Document = {"attempts": attempts, "error": error[:ERROR_LENGTH_MAX]}
    LETTERS.labels("dead" if attempts >= ATTEMPTS_MAX else "failed").inc()
    if attempts >= ATTEMPTS_MAX:
        return {**document, **more, "state": MessageState.DEAD.value}
    return {**document, **more, "next_attempt_at": clock.now() + timedelta(seconds=backoff_s(attempts))}


def reason_of(error: Exception) -> str:
    return f"It could not be written: {type(error).__name__}."


def tell_unwritable(document: ObjectId, error: Exception, *, kind: str) -> None:
    log.error("mail_unwritable", message=str(document), kind=str(kind), exc_info=error)
