"""Delivers events to webhooks, each at least once, and in order as long as the receiver is up.

One loop makes webhooks due when the feed has something new for them, and gives due webhooks to threads. A thread has a
webhook for one turn, by a lease: it makes deliveries of the new events and sends the due ones, one after another. A
failed delivery is tried again on a schedule of its own, and does not hold up later events.

A dead or slow receiver delays nobody else. A webhook has one thread at a time, a host and a user a few, and webhooks
whose last delivery was slow or failed, or that had none, together at most half of the threads. After its turn a webhook
goes behind all others that are due. These limits apply in each process that calls webhooks.
"""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import TypeVar

import structlog
from bson import ObjectId
from pymongo.client_session import ClientSession
from pymongo.errors import PyMongoError

from app import clock, mongo
from app.errors import LedgerBusy
from app.events import service as events
from app.events.service import Place
from app.mongo import Document, leases
from app.outbox import feed
from app.webhooks import attempts, repository, service
from app.webhooks.attempts import REST_MAX, Rest

Value = TypeVar("Value")

log = structlog.get_logger(__name__)

THREADS = 16
PER_HOST_MAX = 2
PER_USER_MAX = 4
# A turn ends after this time, or after this many deliveries, so that others have theirs.
TURN_S = 10.0
TURN_DELIVERIES_MAX = 50
# Longer than a turn and its last request.
LEASE = timedelta(seconds=60)
NEWS_MAX = 200
SPREAD_MAX = 100
IDLE_PAUSE_S = 0.25
# While nobody has a webhook, the loop only looks for one, and now and then skips the news that is for no webhook.
NOBODY_PAUSE_S = 1.0
PASS_EVERY_S = 5.0
AWAY_PAUSE_S = 2.0
# How often the process of a dispatcher gives a sign of life, and how long it counts as alive after one.
SIGN = "webhook_dispatcher"
SIGN_EVERY_S, SIGN_LASTS = 5.0, timedelta(seconds=20)
STAND_IN_PAUSE_S = 3.0
STOP_S = 3.0


class Dispatcher:
    """Delivers until it is stopped. A stand-in delivers only while no process of a dispatcher is alive."""

    def __init__(self, *, stands_in: bool = False) -> None:
        self._stands_in = stands_in
        self._stopping = threading.Event()
        self._mutex = threading.Lock()
        # The webhooks that threads have now.
        self._served: dict[ObjectId, Document] = {}
        self._sign_at = float("-inf")
        self._passed_at = float("-inf")
        self._has_sealed = False

    def run(self) -> None:
        """Deliver until stopped. Never raises; an obstacle is logged once."""
        told: str | None = None
        while not self._stopping.is_set():
            try:
                pause_s = self.turn()
                told = None
            except Exception as error:
                pause_s = AWAY_PAUSE_S
                if type(error).__name__ != told:
                    told = type(error).__name__
                    log.warning("webhooks_wait", reason=told, exc_info=not isinstance(error, PyMongoError))
            self._stopping.wait(pause_s)
        with contextlib.suppress(PyMongoError):
            leases.give_sign(SIGN, timedelta())

    def stop(self) -> None:
        """Let every thread end its request, and `run` end."""
        self._stopping.set()

    def close(self) -> None:
        """Stop, and wait a little for requests under way. Deliveries that are not noted by then are sent again."""
        self.stop()
        until = time.monotonic() + STOP_S
        while self._served and time.monotonic() < until:
            time.sleep(0.02)

    def turn(self) -> float:
        """Give due webhooks to threads, and return after how many seconds to call this again."""
        if self._stands_in and leases.has_sign(SIGN):
            return STAND_IN_PAUSE_S
        if not self._stands_in and time.monotonic() - self._sign_at > SIGN_EVERY_S:
            leases.give_sign(SIGN, SIGN_LASTS)
            self._sign_at = time.monotonic()
        if not self._has_sealed:
            service.seal_all_anew()
            self._has_sealed = True
        if not repository.is_any_active():
            self._pass_over()
            return NOBODY_PAUSE_S
        feed.place()
        spread()
        return 0.0 if self._start_due() else IDLE_PAUSE_S

    def deliver_due(self) -> int:
        """Deliver to all due webhooks, one after another, and return how many turns that took."""
        feed.place()
        spread()
        count = 0
        while (claimed := self._claim()) is not None:
            webhook, lease = claimed
            self._serve(webhook, lease)
            count += 1
        return count

    def _pass_over(self) -> None:
        """Now and then, skip the news that is for no webhook, so that the first webhook finds no backlog."""
        if time.monotonic() - self._passed_at > PASS_EVERY_S:
            spread()
            self._passed_at = time.monotonic()

    def _start_due(self) -> bool:
        claimed = self._claim()
        if claimed is None:
            return False
        # A process that stops does not wait for this thread.
        thread = threading.Thread(target=self._serve, args=claimed, name="webhook", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # No thread can be started. The lease ends by itself.
            with self._mutex:
                del self._served[claimed[1]]
            raise
        return True

    def _claim(self) -> tuple[Document, ObjectId] | None:
        with self._mutex:
            served = list(self._served.values())
        if len(served) >= THREADS:
            return None
        now, lease = clock.now(), ObjectId()
        webhook = repository.claim(
            now,
            now + LEASE,
            lease,
            hosts=_at_least(PER_HOST_MAX, (each["host"] for each in served)),
            users=_at_least(PER_USER_MAX, (each["user"] for each in served)),
            is_proven=sum("proven" not in each for each in served) >= THREADS // 2,
        )
        if webhook is None:
            return None
        with self._mutex:
            self._served[lease] = webhook
        return webhook, lease

    def _serve(self, webhook: Document, lease: ObjectId) -> None:
        rest: Rest | None = Rest(clock.now() + REST_MAX, webhook.get("unanswered"))
        try:
            rest = self._take_turn(webhook, lease)
        except Exception as error:
            log.warning("webhook_turn_failed", webhook=str(webhook["_id"]), exc_info=error)
        finally:
            with self._mutex:
                del self._served[lease]
            # If this fails, the lease ends by itself.
            with contextlib.suppress(PyMongoError, LedgerBusy):
                mongo.atomically(lambda session: _release(webhook["_id"], lease, rest, session))

    def _take_turn(self, webhook: Document, lease: ObjectId) -> Rest | None:
        """Send the due deliveries, and return how the webhook has to rest, or None."""
        if "unanswered" in webhook:
            return attempts.note_unanswered(webhook)
        take_news(webhook, lease)
        ends_at = time.monotonic() + TURN_S
        for _ in range(TURN_DELIVERIES_MAX):
            if self._stopping.is_set() or time.monotonic() >= ends_at:
                break
            found = repository.find_leased(webhook["_id"], lease)
            delivery = None if found is None else repository.find_due(webhook["_id"], clock.now())
            if found is None or delivery is None:
                break
            rest = attempts.attempt(found, delivery)
            if rest is not None:
                return rest
        return None


def _release(webhook: ObjectId, lease: ObjectId, rest: Rest | None, session: ClientSession) -> None:
    not_before, unanswered = (None, None) if rest is None else (rest.until, rest.unanswered)
    repository.release(webhook, lease, now=clock.now(), not_before=not_before, unanswered=unanswered, session=session)


def _at_least(number: int, values: Iterable[Value]) -> list[Value]:
    """Return the values that occur at least this often."""
    return [value for value, count in Counter(values).items() if count >= number]


def spread() -> None:
    """Make the webhooks due whose users have something new in the feed."""
    end = feed.end()
    if repository.find_spread() >= end:
        return

    def block(session: ClientSession) -> bool:
        after = repository.find_spread(session)
        if end <= after:
            return False
        users: Collection[ObjectId] = ()
        until = end
        # Without webhooks, reading the feed would be in vain. A webhook that is just being made becomes due once by
        # itself.
        if repository.is_any_active(session):
            until = feed.end_of_next(SPREAD_MAX, after=after, until=end)
            users = feed.readers_between(after, until)
        repository.make_due(users, until=until, now=clock.now(), session=session)
        return until < end

    while mongo.atomically(block, is_lost_race=lambda error: mongo.duplicate_key(error) is not None):
        pass


def take_news(webhook: Document, lease: ObjectId) -> None:
    """Make deliveries of up to NEWS_MAX events that the webhook did not get yet, unless too many wait already."""

    def block(session: ClientSession) -> None:
        found = repository.find_leased(webhook["_id"], lease, session)
        if found is None or not repository.has_news(found):
            return
        room = repository.WAITING_MAX - repository.count_waiting(found["_id"], session)
        if room <= 0:
            return
        page = events.look(found["user"], Place(*found["place"]), service.types_of(found), min(NEWS_MAX, room))
        now = clock.now()
        deliveries = [service.new_delivery(found, service.as_document(event), now) for event in page.events]
        place = [page.place.position, page.place.number, page.place.event]
        walked = {"walked": found["news"]} if page.is_last else {}
        repository.change(found["_id"], {"place": place, **walked}, (), session)
        repository.insert_deliveries(found["_id"], deliveries, session)

    mongo.atomically(block)
