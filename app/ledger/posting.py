"""Posting: one algorithm for one command or a thousand.

`post` decides commands and writes what was decided in one atomic block. Threads
that post at the same time share a block (group commit): whoever finds nobody
posting becomes the leader and posts all that is queued; the others find their
outcome waiting, or are handed the lead. No thread is started, and a lone caller
waits for nobody.
"""

import copy
import threading
from collections import Counter, deque
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice

import structlog
from bson import ObjectId
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError, PyMongoError

from app import audit, mongo
from app.errors import InsufficientFunds, LedgerBusy
from app.ledger import journal, repository
from app.ledger.commands import (
    ChangeStatus,
    Command,
    Expire,
    Keyed,
    Reversal,
    accounts_named_by,
    size,
    transaction_named_by,
)
from app.ledger.records import Account, AccountStatus, KeyUse, Outcome, Transaction, whole_milliseconds
from app.ledger.state import Decision, State
from app.notifications import messages, outbox

log = structlog.get_logger(__name__)

# A lost race on a unique index is read again and settled; more often than this it is no race.
DUPLICATE_RERUNS_MAX = 5
# Of the holds whose time is over, how many a block releases at first to make room for a debit.
EXPIRED_HOLDS_FIRST = 100


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

    def __init__(self, *, batch_size_max: int, queue_size_max: int, timeout_ms: int) -> None:
        self._batch_size_max = batch_size_max
        self._queue_size_max = queue_size_max
        self._timeout_s = timeout_ms / 1000
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
        try:
            self._enqueue(ticket)
            self._await_turn(ticket)
        except BaseException:
            # Whatever tears a caller away while it waits: the lead, if it was handed to it, goes on to the next.
            self._leave(ticket)
            raise
        if ticket.leads:
            self._lead()
        return ticket.result()

    def _await_turn(self, ticket: _Ticket) -> None:
        if not ticket.leads and not ticket.wait(self._timeout_s):
            if self._withdraw(ticket):
                raise LedgerBusy("The ledger did not get to this posting in time. Nothing was done.")
            # Somebody's block has it, whose own time-out bounds what is left of this wait.
            ticket.wait(2 * self._timeout_s)

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

    def _leave(self, ticket: _Ticket) -> None:
        """Take a caller that is torn away out of the queue, and the lead off it."""
        with self._mutex:
            if ticket in self._queue:
                self._queue.remove(ticket)
                self._queued -= ticket.size
            successor = self._hand_on() if ticket.leads else None
        if successor is not None:
            successor.wake()

    def _hand_on(self) -> _Ticket | None:
        """Give the lead to whoever waits longest, if somebody does, and return who it is. The mutex must be held."""
        successor = self._queue[0] if self._queue else None
        if successor is not None:
            successor.leads = True
        self._leading = successor is not None
        return successor

    def _lead(self) -> None:
        """Post one batch, wake its callers, and hand the lead to whoever waits longest."""
        batch: list[_Ticket] = []
        try:
            with self._mutex:
                batch = self._take()
            _post_batch(batch, self._timeout_s)
        finally:
            with self._mutex:
                successor = self._hand_on()
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


def _post_batch(batch: Sequence[_Ticket], timeout_s: float) -> None:
    """Give every ticket its outcomes or its error; never raises for a ticket's sake."""
    try:
        _settle(batch, timeout_s)
    except Exception as error:  # noqa: BLE001 -- the error belongs to the callers, who wait in other threads
        if len(batch) > 1 and not _concerns_all(error):
            # One of the commands is more than the database takes. Alone, each of the others still gets through.
            log.error("posting_batch_failed", error=type(error).__name__, tickets=len(batch))
            _post_one_by_one(batch, timeout_s)
            return
        for ticket in batch:
            ticket.fail(error)


def _post_one_by_one(batch: Sequence[_Ticket], timeout_s: float) -> None:
    for position, ticket in enumerate(batch):
        _post_batch([ticket], timeout_s)
        if ticket.error is not None and _concerns_all(ticket.error):
            # The others would wait as long for the same, one after another, with everybody behind them.
            for other in batch[position + 1 :]:
                other.fail(ticket.error)
            return


def _concerns_all(error: Exception) -> bool:
    return isinstance(error, LedgerBusy) or (isinstance(error, PyMongoError) and mongo.is_away(error))


def _settle(batch: Sequence[_Ticket], timeout_s: float) -> None:
    commands = [command for ticket in batch for command in ticket.commands]
    outcomes = iter(_post_block(commands, timeout_s))
    for ticket in batch:
        ticket.outcomes = [next(outcomes) for _ in ticket.commands]


def _post_block(commands: Sequence[Command], timeout_s: float) -> list[Outcome]:
    """Decide the commands in order and write all of it, in one atomic block."""
    reruns = 0

    def is_lost_race(error: PyMongoError) -> bool:
        nonlocal reruns
        if mongo.duplicate_key(error) is None:
            return False
        reruns += 1
        return reruns <= DUPLICATE_RERUNS_MAX

    def block(session: ClientSession) -> list[Outcome]:
        at = whole_milliseconds(datetime.now(UTC))
        decisions, state = _decide_all(commands, at, session)
        flat = [part for decision in decisions for part in decision.flat()]
        _write(flat, session)
        of_commands = decisions[-len(commands) :]
        _write_audit(commands, of_commands, at, session)
        outbox.insert(messages.for_decisions(flat, state.accounts), session)
        return [decision.outcome for decision in of_commands]

    try:
        return mongo.atomically(block, timeout_ms=int(timeout_s * 1000), is_lost_race=is_lost_race)
    except BulkWriteError as error:
        if mongo.duplicate_key(error) is None:
            raise
        # Lost more races in a row than it may run again for: contention, and no fault.
        raise LedgerBusy from error


def rehearse(command: Command) -> tuple[Outcome, dict[ObjectId, Account]]:
    """Return what the command would come to now, with the accounts as it would leave them; write nothing."""

    def block(session: ClientSession) -> tuple[Outcome, dict[ObjectId, Account]]:
        decisions, state = _decide_all([command], whole_milliseconds(datetime.now(UTC)), session)
        return decisions[-1].outcome, state.accounts

    return mongo.atomically(block)


def _decide_all(commands: Sequence[Command], at: datetime, session: ClientSession) -> tuple[list[Decision], State]:
    """Return a decision for each command, in order, behind those that release expired holds in the way of a debit or
    a close, and the state that they leave.
    """
    state = _read_state(commands, session)
    at_closes = [Expire(hold=hold.id) for hold in _overdue_at_closes(commands, state, at)]
    if at_closes:
        state = _read_state([*at_closes, *commands], session)
    decisions = _fold([*at_closes, *commands], state, at)
    short = _short_of_funds(commands, decisions[-len(commands) :])
    short = {account for account in short if account in state.accounts and state.accounts[account].held}
    limit = EXPIRED_HOLDS_FIRST
    while short:
        in_the_way = repository.find_expired_holds(at, limit=limit, payers=short, session=session)
        if not in_the_way:
            break
        with_expiries = [*dict.fromkeys([*at_closes, *(Expire(hold=hold.id) for hold in in_the_way)]), *commands]
        state = _read_state(with_expiries, session)
        decisions = _fold(with_expiries, state, at)
        if len(in_the_way) < limit or not _short_of_funds(commands, decisions[-len(commands) :]):
            break
        # There may be more of them, and nobody is told "insufficient funds" for what is only not released yet.
        limit *= 4
    return decisions, state


def _overdue_at_closes(commands: Sequence[Command], state: State, at: datetime) -> list[Transaction]:
    """Return the overdue holds of accounts that are to be closed. Of very many the rest is the sweeper's."""
    closing = _closing(commands)
    overdue = (
        hold
        for hold in state.transactions.values()
        if hold.is_overdue(at) and not closing.isdisjoint((hold.from_account, hold.to_account))
    )
    return list(islice(overdue, EXPIRED_HOLDS_FIRST))


def _short_of_funds(commands: Sequence[Command], decisions: Sequence[Decision]) -> set[ObjectId]:
    """Return the accounts that may have been the ones without funds."""
    short: set[ObjectId] = set()
    for command, decision in zip(commands, decisions, strict=True):
        for part in decision.flat():
            if isinstance(part.outcome.error, InsufficientFunds) and not part.outcome.replayed:
                short |= {part.inserted.from_account} if part.inserted else set(accounts_named_by(command))
    return short


def _read_state(commands: Sequence[Command], session: ClientSession) -> State:
    keys = {(command.user, command.idempotency_key) for command in commands if isinstance(command, Keyed)}
    ids = {named for command in commands if (named := transaction_named_by(command)) is not None}
    found = repository.find_recorded(keys, ids, session)
    transactions = [record for record in found if isinstance(record, Transaction)]
    results = {r for record in found if isinstance(record, KeyUse) for r in record.results if isinstance(r, ObjectId)}
    if results:
        transactions += repository.find_transactions(results, session)
    if closing := _closing(commands):
        transactions += repository.find_open_holds(closing, session)
    accounts = {account for command in commands for account in accounts_named_by(command)}
    for transaction in transactions:
        if transaction.id in ids:
            accounts |= {transaction.from_account, transaction.to_account}
    return State(repository.find_accounts(accounts, session), found, transactions)


def _closing(commands: Sequence[Command]) -> set[ObjectId]:
    return {c.account for c in commands if isinstance(c, ChangeStatus) and c.status is AccountStatus.CLOSED}


def _fold(commands: Sequence[Command], state: State, at: datetime) -> list[Decision]:
    decisions = []
    for command in commands:
        decision = journal.decide(command, state, at)
        state.apply(decision)
        decisions.append(decision)
    return decisions


def _write(decisions: Sequence[Decision], session: ClientSession) -> None:
    records = (record for d in decisions for record in (d.inserted, d.key_use) if record is not None)
    repository.insert_records(records, session)
    repository.insert_entries((entry for d in decisions for entry in d.entries), session)
    repository.update_transactions((d.updated for d in decisions if d.updated is not None), session)
    repository.update_statuses((d.outcome.account for d in decisions if d.outcome.account is not None), session)
    repository.count_incoming_holds(Counter(d.held_for for d in decisions if d.held_for is not None), session)


def _write_audit(
    commands: Sequence[Command], decisions: Sequence[Decision], at: datetime, session: ClientSession
) -> None:
    audit.insert_audit_records(
        (
            audit.audit_record(
                command.act, change.action, change.subject, at=at, before=dict(change.before), after=dict(change.after)
            )
            for command, decision in zip(commands, decisions, strict=True)
            if isinstance(command, Reversal | ChangeStatus) and (change := decision.change) is not None
        ),
        session,
    )
