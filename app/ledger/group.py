"""Group commit: threads that post at the same time share one atomic block.

Each caller puts its commands into the queue. A caller that finds nobody posting becomes
the leader and posts a batch from the front of the queue. The others wait until a leader
has posted their commands or hands them the lead. No thread is started, and a lone caller
does not wait. If other requests are about to post, the leader waits for them for a moment,
because the fixed cost of a block is that of about twenty transfers. PostgreSQL's settings
commit_delay and commit_siblings do the same. Processes whose blocks meet at the same accounts take turns; see
`runtime.turns`.
"""

import contextlib
import copy
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

import structlog

from app import mongo
from app.errors import LedgerBusy, ServiceUnavailable
from app.ledger.commands import Command, size
from app.ledger.drain import Drain
from app.ledger.records import Outcome
from app.runtime.turns import Turns
from app.settings.policies import LedgerPolicy
from app.telemetry import metrics

log = structlog.get_logger(__name__)

# Posts commands in one block within the given seconds; see `posting.post_block`.
PostBlock = Callable[[Sequence[Command], float], list[Outcome]]

RETRY_AFTER_MAX_S = 30
# How long a leader waits for threads that are about to post. It does not wait for fewer than COMMIT_SIBLINGS_MIN.
COMMIT_DELAY_MAX_S = 0.06
COMMIT_SIBLINGS_MIN = 2


class _Ticket:
    """One caller's commands, waiting for their outcomes or for the lead."""

    __slots__ = ("_woken", "batch", "commands", "error", "leads", "outcomes", "queued_at", "size")

    def __init__(self, commands: Sequence[Command]) -> None:
        self.commands = commands
        self.size = sum(map(size, commands))
        self.queued_at = time.monotonic()
        self.outcomes: list[Outcome] | None = None
        self.error: Exception | None = None
        self.leads = False
        # The tickets that this one has taken from the queue to post them, as the leader.
        self.batch: list[_Ticket] = []
        # Locked until somebody wakes this caller. A plain lock costs a third of an Event.
        self._woken = threading.Lock()
        self._woken.acquire()

    def wait(self, timeout_s: float) -> bool:
        return self._woken.acquire(timeout=timeout_s)

    def wake(self) -> None:
        """Wake the caller. Only one thread may do so at a time: its leader, or whoever hands it the lead."""
        if self._woken.locked():
            self._woken.release()

    def fail(self, error: Exception) -> None:
        self.error = error
        # A copy if possible, because raising an exception adds the traceback of the raising thread to it.
        with contextlib.suppress(Exception):
            self.error = copy.copy(error)
            self.error.__cause__ = error

    def result(self) -> list[Outcome]:
        if self.error is not None:
            raise self.error
        if self.outcomes is None:
            raise LedgerBusy
        return self.outcomes


class _Siblings:
    """Threads that are about to post, and for which a leader waits."""

    __slots__ = ("_have_come", "threads")

    def __init__(self, threads: set[int]) -> None:
        self.threads = threads
        self._have_come = threading.Lock()
        self._have_come.acquire()

    def wait(self, timeout_s: float) -> None:
        self._have_come.acquire(timeout=timeout_s)

    def remove(self, thread: int) -> None:
        """Stop waiting for this thread. The group's mutex must be held."""
        if thread in self.threads:
            self.threads.remove(thread)
            if not self.threads:
                self._have_come.release()


class GroupCommit:
    """Posts the commands of many threads in shared atomic blocks, first come, first served.

    At most `batch_size_max` transfers share a block; a single call is never split.
    A caller waits at most `timeout_ms` for its turn, and a block has `timeout_ms` to
    succeed. While others wait, a call is refused at once if, at the pace of the newest blocks, it would not
    get its turn in time, or if more than `queue_size_max` transfers would then be waiting.
    """

    def __init__(self, policy: LedgerPolicy, post_block: PostBlock, turns: Turns | None = None) -> None:
        self._batch_size_max = policy.batch_size_max
        self._queue_size_max = policy.queue_size_max
        self._timeout_s = policy.timeout_ms / 1000
        self._post_block = post_block
        self._turns = turns or Turns()
        self._mutex = threading.Lock()
        self._queue: deque[_Ticket] = deque()
        self._leader: _Ticket | None = None
        # The threads that are about to post, and those for which the leader waits.
        self._coming: set[int] = set()
        self._siblings = _Siblings(set())
        self._drain = Drain()

    def expect(self) -> None:
        """Note that this thread is about to post, so that a leader may wait for it. Call `expect_no_more` after it."""
        # Without the mutex, because a set's `add` cannot be interrupted by another thread.
        self._coming.add(threading.get_ident())

    def expect_no_more(self) -> None:
        """Note that this thread has posted, or will not post. Calling it again does no harm."""
        if threading.get_ident() in self._coming:
            with self._mutex:
                self._expect_no_more(threading.get_ident())

    def _expect_no_more(self, thread: int) -> None:
        self._coming.discard(thread)
        self._siblings.remove(thread)

    def post(self, commands: Sequence[Command]) -> list[Outcome]:
        """Return the outcome of each command, in order, once they are durable.

        A command with LedgerBusy as the error of its outcome was put off until the time ran out, and was not done. If
        LedgerBusy is raised, nobody knows, unless its detail says that nothing was done.

        Raises LedgerBusy when the time runs out or would run out, PyMongoError when the
        database fails, ServiceUnavailable when this host's clock is off. After LedgerBusy or
        PyMongoError the commands may have taken effect; post them again under the same keys to find out.
        """
        until = time.monotonic() + self._timeout_s
        outcomes = self._post(commands)
        # A block that puts a command off has released some of the holds in its way, so try again.
        while (put_off := [n for n, outcome in enumerate(outcomes) if isinstance(outcome.error, LedgerBusy)]) and (
            time.monotonic() < until
        ):
            for n, outcome in zip(put_off, self._post([commands[n] for n in put_off]), strict=True):
                outcomes[n] = outcome
        return outcomes

    def _post(self, commands: Sequence[Command]) -> list[Outcome]:
        ticket = _Ticket(commands)
        try:
            self._enqueue(ticket)
            if not ticket.leads and not ticket.wait(self._timeout_s):
                self._withdraw(ticket)
                # It is in a block already, which ends in time, and the block before it may still be running.
                ticket.wait(2 * self._timeout_s)
            if ticket.leads:
                self._lead(ticket)
        except BaseException:
            # The others need a leader even if this thread is interrupted.
            self._leave(ticket)
            raise
        return ticket.result()

    def _enqueue(self, ticket: _Ticket) -> None:
        with self._mutex:
            if self._queue and (
                self._queued() + ticket.size > self._queue_size_max
                or self._seconds_to_turn(ticket.size) > self._timeout_s
            ):
                raise self._busy(ticket, "More postings are waiting than can be done in time.")
            self._queue.append(ticket)
            self._expect_no_more(threading.get_ident())
            metrics.QUEUE_LENGTH.set(self._queued())
            if self._leader is None:
                self._leader = ticket
                ticket.leads = True

    def _withdraw(self, ticket: _Ticket) -> None:
        """Take the ticket out of the queue and raise LedgerBusy, unless it leads or is in a block."""
        with self._mutex:
            if not ticket.leads and ticket in self._queue:
                self._queue.remove(ticket)
                metrics.QUEUE_LENGTH.set(self._queued())
                raise self._busy(ticket, "The ledger did not get to this posting in time.")

    def _leave(self, ticket: _Ticket) -> None:
        """Forget a caller whose thread was interrupted: take its ticket out of the queue, and pass on its lead.

        This wakes the callers whose tickets it took. Commands that are in a block already are not undone.
        """
        with self._mutex:
            if ticket in self._queue:
                self._queue.remove(ticket)
                metrics.QUEUE_LENGTH.set(self._queued())
        self._finish(ticket)

    def _lead(self, leader: _Ticket) -> None:
        """Post one batch, wake its callers, and hand the lead to the caller that has waited longest."""
        led_at = time.monotonic()
        try:
            self._await_siblings()
            with self._turns:
                # Only now, because more callers may have come while this process waited for its turn.
                with self._mutex:
                    self._take(leader.batch)
                begun = time.monotonic()
                self._post_batch(leader.batch)
            ended = time.monotonic()
            # With the waits, because those who come next wait for them too. What failed tells nothing about transfers.
            self._drain.note(sum(ticket.size for ticket in leader.batch if ticket.error is None), ended - led_at)
            _measure(leader.batch, begun, ended - begun)
        finally:
            self._finish(leader)

    def _await_siblings(self) -> None:
        """Wait for the threads that are about to post. One that does not come in time is not waited for again."""
        with self._mutex:
            if len(self._coming) < COMMIT_SIBLINGS_MIN or self._queued() >= self._batch_size_max:
                return
            siblings = self._siblings = _Siblings(set(self._coming))
        siblings.wait(COMMIT_DELAY_MAX_S)
        with self._mutex:
            # Who came has left both sets already.
            self._coming -= siblings.threads

    def _finish(self, leader: _Ticket) -> None:
        """Hand on the lead, if this ticket has it, and wake the callers whose commands it took. Safe to call twice."""
        self._hand_on(leader)
        for ticket in leader.batch:
            if ticket is not leader:
                ticket.wake()

    def _hand_on(self, leader: _Ticket) -> None:
        """Give the lead, if this ticket has it, to the caller that has waited longest."""
        with self._mutex:
            if self._leader is not leader:
                return
            successor = self._queue[0] if self._queue else None
            if successor is not None:
                successor.leads = True
                successor.wake()
            # Last, so that a second call repeats all of this if the thread is interrupted here.
            self._leader = successor

    def _seconds_to_turn(self, size: int) -> float:
        """Return how long a caller with so many transfers that joins the queue now would wait for its block.

        This packs the queue into blocks as `_take` will. The last one is the caller's own.
        """
        # A leader that still waits has taken nothing, and its own ticket is in the queue.
        running = self._leader.batch if self._leader else []
        blocks = [sum(ticket.size for ticket in running)] if running else []
        # Nobody joins the block that is running.
        room = -1
        for waiting in (*(ticket.size for ticket in self._queue), size):
            if waiting > room:
                blocks.append(0)
                room = self._batch_size_max
            blocks[-1] += waiting
            room -= waiting
        *before, _own = blocks
        return self._drain.seconds(len(before), sum(before))

    def _busy(self, ticket: _Ticket, detail: str) -> LedgerBusy:
        """Return the refusal, with the time after which the queue will have room. The mutex must be held."""
        busy = LedgerBusy(f"{detail} Nothing was done.")
        room_in_s = math.ceil(self._seconds_to_turn(ticket.size) - self._timeout_s)
        busy.retry_after_seconds = min(max(room_in_s, 1), RETRY_AFTER_MAX_S)
        return busy

    def _queued(self) -> int:
        """Return how many transfers are waiting. Counting is cheap, because there are no more tickets than threads."""
        return sum(ticket.size for ticket in self._queue)

    def _take(self, batch: list[_Ticket]) -> None:
        taken = 0
        while self._queue and (not batch or taken + self._queue[0].size <= self._batch_size_max):
            batch.append(self._queue.popleft())
            taken += batch[-1].size
        metrics.QUEUE_LENGTH.set(self._queued())

    def _post_batch(self, batch: Sequence[_Ticket]) -> None:
        """Give every ticket its outcomes or its error. A failed posting is never raised here."""
        try:
            self._settle(batch)
        except Exception as error:  # noqa: BLE001 -- the error belongs to the callers, who wait in other threads
            if len(batch) > 1 and not is_for_everybody(error):
                # The database refuses one of the commands. The commands of other callers still succeed when posted
                # alone.
                log.error("posting_batch_failed", error=type(error).__name__, tickets=len(batch))
                self._post_one_by_one(batch)
                return
            for ticket in batch:
                ticket.fail(error)

    def _post_one_by_one(self, batch: Sequence[_Ticket]) -> None:
        """Post each ticket in a block of its own, and wake its caller. After the time-out no more are begun."""
        until = time.monotonic() + self._timeout_s
        for position, ticket in enumerate(batch):
            if time.monotonic() < until:
                self._post_batch([ticket])
            else:
                with self._mutex:
                    ticket.fail(self._busy(ticket, "The ledger did not get to this posting in time."))
            ticket.wake()
            if ticket.error is not None and is_for_everybody(ticket.error):
                # The remaining tickets would fail the same way, one after another, while everybody else waits.
                for other in batch[position + 1 :]:
                    other.fail(ticket.error)
                return

    def _settle(self, batch: Sequence[_Ticket]) -> None:
        commands = [command for ticket in batch for command in ticket.commands]
        outcomes = iter(self._post_block(commands, self._timeout_s))
        for ticket in batch:
            ticket.outcomes = [next(outcomes) for _ in ticket.commands]


def _measure(batch: Sequence[_Ticket], begun: float, took_s: float) -> None:
    metrics.BLOCK_SIZE.observe(sum(ticket.size for ticket in batch))
    metrics.BLOCK_SECONDS.observe(took_s)
    for ticket in batch:
        metrics.QUEUE_SECONDS.observe(begun - ticket.queued_at)


def is_for_everybody(error: Exception) -> bool:
    """Tell whether a posting failed for a reason that would fail any other posting too, such as an outage."""
    return isinstance(error, LedgerBusy | ServiceUnavailable) or mongo.is_away(error)
