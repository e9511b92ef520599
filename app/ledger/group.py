"""Group commit: threads that post at the same time share one atomic block.

Each caller puts its commands into the queue. Whoever finds nobody posting becomes the
leader and posts all that is queued. The others find their outcome waiting, or are
handed the lead. No thread is started, and a lone caller waits for nobody.
"""

import copy
import threading
from collections import deque
from collections.abc import Callable, Sequence

import structlog
from pymongo.errors import PyMongoError

from app import mongo
from app.errors import LedgerBusy
from app.ledger.commands import Command, size
from app.ledger.records import Outcome
from app.policies import LedgerPolicy

log = structlog.get_logger(__name__)

# Posts commands in one block of at most so many seconds; see `posting.post_block`.
PostBlock = Callable[[Sequence[Command], float], list[Outcome]]


class _Ticket:
    """One caller's commands, waiting for their outcomes or for the lead."""

    __slots__ = ("_turn", "commands", "error", "leads", "outcomes", "size")

    def __init__(self, commands: Sequence[Command]) -> None:
        self.commands = commands
        self.size = sum(map(size, commands))
        self.outcomes: list[Outcome] | None = None
        self.error: Exception | None = None
        self.leads = False
        self._turn = threading.Event()

    def wait(self, timeout_s: float) -> bool:
        return self._turn.wait(timeout_s)

    def wake(self) -> None:
        self._turn.set()

    def fail(self, error: Exception) -> None:
        # A copy: it collects the traceback of the thread that raises it, which is this caller's own affair.
        self.error = copy.copy(error)
        self.error.__cause__ = error

    def result(self) -> list[Outcome]:
        if self.error is not None:
            raise self.error
        if self.outcomes is None:
            raise LedgerBusy
        return self.outcomes


class GroupCommit:
    """Posts the commands of many threads in shared atomic blocks, first come, first served.

    At most `queue_size_max` transfers wait and `batch_size_max` share a block;
    a single call is never split. A caller waits at most `timeout_ms` for its turn,
    and a block has `timeout_ms` to succeed.
    """

    def __init__(self, policy: LedgerPolicy, post_block: PostBlock) -> None:
        self._batch_size_max = policy.batch_size_max
        self._queue_size_max = policy.queue_size_max
        self._timeout_s = policy.timeout_ms / 1000
        self._post_block = post_block
        self._mutex = threading.Lock()
        self._queue: deque[_Ticket] = deque()
        self._queued = 0
        self._leading = False

    def post(self, commands: Sequence[Command]) -> list[Outcome]:
        """Return the outcome of each command, in order, once they are durable.

        Raises LedgerBusy when the queue is full or the time is over, PyMongoError when
        the database fails. After either of them it is not known whether the commands
        took effect; posting them again under the same keys settles it.
        """
        ticket = _Ticket(commands)
        self._enqueue(ticket)
        if not ticket.leads and not ticket.wait(self._timeout_s):
            if self._withdraw(ticket):
                raise LedgerBusy("The ledger did not get to this posting in time. Nothing was done.")
            # Somebody's block has it, whose own time-out bounds what is left of this wait.
            ticket.wait(2 * self._timeout_s)
        if ticket.leads:
            self._lead()
        return ticket.result()

    def _enqueue(self, ticket: _Ticket) -> None:
        with self._mutex:
            if self._queued + ticket.size > self._queue_size_max and self._queue:
                raise LedgerBusy("Too many postings are waiting. Nothing was done.")
            self._queue.append(ticket)
            self._queued += ticket.size
            if not self._leading:
                self._leading = ticket.leads = True

    def _withdraw(self, ticket: _Ticket) -> bool:
        with self._mutex:
            if ticket.leads or ticket not in self._queue:
                return False
            self._queue.remove(ticket)
            self._queued -= ticket.size
            return True

    def _lead(self) -> None:
        """Post one batch, wake its callers, and hand the lead to whoever waits longest."""
        batch: list[_Ticket] = []
        try:
            with self._mutex:
                batch = self._take()
            self._post_batch(batch)
        finally:
            with self._mutex:
                successor = self._queue[0] if self._queue else None
                if successor is not None:
                    successor.leads = True
                self._leading = successor is not None
            for ticket in batch:
                ticket.wake()
            if successor is not None:
                successor.wake()

    def _take(self) -> list[_Ticket]:
        batch: list[_Ticket] = []
        taken = 0
        while self._queue and (not batch or taken + self._queue[0].size <= self._batch_size_max):
            batch.append(self._queue.popleft())
            taken += batch[-1].size
        self._queued -= taken
        return batch

    def _post_batch(self, batch: Sequence[_Ticket]) -> None:
        """Give every ticket its outcomes or its error; never raises for a ticket's sake."""
        try:
            self._settle(batch)
        except Exception as error:  # noqa: BLE001 -- the error belongs to the callers, who wait in other threads
            if len(batch) > 1 and not _concerns_all(error):
                # One of the commands is more than the database takes. Alone, each of the others still gets through.
                log.error("posting_batch_failed", error=type(error).__name__, tickets=len(batch))
                self._post_one_by_one(batch)
                return
            for ticket in batch:
                ticket.fail(error)

    def _post_one_by_one(self, batch: Sequence[_Ticket]) -> None:
        for position, ticket in enumerate(batch):
            self._post_batch([ticket])
            if ticket.error is not None and _concerns_all(ticket.error):
                # The others would wait as long for the same, one after another, with everybody behind them.
                for other in batch[position + 1 :]:
                    other.fail(ticket.error)
                return

    def _settle(self, batch: Sequence[_Ticket]) -> None:
        commands = [command for ticket in batch for command in ticket.commands]
        outcomes = iter(self._post_block(commands, self._timeout_s))
        for ticket in batch:
            ticket.outcomes = [next(outcomes) for _ in ticket.commands]


def _concerns_all(error: Exception) -> bool:
    return isinstance(error, LedgerBusy) or (isinstance(error, PyMongoError) and mongo.is_away(error))
