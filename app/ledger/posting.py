"""Posting: what one atomic block reads, decides and writes."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from itertools import islice

from bson import ObjectId
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError, PyMongoError

from app import clock, mongo
from app.errors import InsufficientFunds, LedgerBusy
from app.ledger import journal, repository
from app.ledger.commands import (
    ChangeStatus,
    Command,
    Expire,
    Keyed,
    accounts_named_by,
    act_of,
    transaction_named_by,
)
from app.ledger.records import Account, AccountStatus, KeyUse, Outcome, Transaction
from app.ledger.state import Decided, Decision, State

# Writes, inside the block, what follows from what was decided, such as the audit log and the outbox.
Witness = Callable[[Decided, ClientSession], None]
# Returns, as of the block, the roles of users who act by right of one.
Roles = Callable[[Collection[ObjectId], ClientSession], Mapping[ObjectId, str]]

# A lost race on a unique index is read again and settled; more often than this it is no race.
DUPLICATE_RERUNS_MAX = 5
# Of the holds whose time is over, how many a block releases at first to make room for a debit.
EXPIRED_HOLDS_FIRST = 100


def post_block(
    commands: Sequence[Command], timeout_s: float, witnesses: Sequence[Witness], roles: Roles
) -> list[Outcome]:
    """Decide the commands in order and write all of it, in one atomic block; return their outcomes.

    Each witness writes, in the same block, what follows from what was decided. `roles` tells
    there who may act for the bank. Raises LedgerBusy and PyMongoError, after which it is not
    known whether the block took effect.
    """
    reruns = 0

    def is_lost_race(error: PyMongoError) -> bool:
        nonlocal reruns
        if mongo.duplicate_key(error) is None:
            return False
        reruns += 1
        return reruns <= DUPLICATE_RERUNS_MAX

    def block(session: ClientSession) -> list[Outcome]:
        at = clock.now()
        decisions, state = _decide_all(commands, at, session, roles)
        flat = tuple(part for decision in decisions for part in decision.flat())
        _write(flat, session)
        decided = Decided(at, flat, state.accounts)
        for witness in witnesses:
            witness(decided, session)
        return [decision.outcome for decision in decisions[-len(commands) :]]

    try:
        return mongo.atomically(block, timeout_ms=int(timeout_s * 1000), is_lost_race=is_lost_race)
    except BulkWriteError as error:
        if mongo.duplicate_key(error) is None:
            raise
        # Lost more races in a row than it may run again for: contention, and no fault.
        raise LedgerBusy from error


def rehearse(command: Command, roles: Roles) -> tuple[Outcome, dict[ObjectId, Account]]:
    """Return what the command would come to now, with the accounts as it would leave them; write nothing."""

    def block(session: ClientSession) -> tuple[Outcome, dict[ObjectId, Account]]:
        decisions, state = _decide_all([command], clock.now(), session, roles)
        return decisions[-1].outcome, state.accounts

    return mongo.atomically(block)


def _decide_all(
    commands: Sequence[Command], at: datetime, session: ClientSession, roles: Roles
) -> tuple[list[Decision], State]:
    """Return a decision for each command, in order, behind those that release expired holds in the way of a debit or
    a close, and the state that they leave.
    """
    state = _read_state(commands, session, roles)
    at_closes = [Expire(hold=hold.id) for hold in _overdue_at_closes(commands, state, at)]
    if at_closes:
        state = _read_state([*at_closes, *commands], session, roles)
    decisions = _fold([*at_closes, *commands], state, at)
    short = _short_of_funds(commands, decisions[-len(commands) :])
    short = {account for account in short if account in state.accounts and state.accounts[account].held}
    limit = EXPIRED_HOLDS_FIRST
    while short:
        in_the_way = repository.find_expired_holds(at, limit=limit, payers=short, session=session)
        if not in_the_way:
            break
        with_expiries = [*dict.fromkeys([*at_closes, *(Expire(hold=hold.id) for hold in in_the_way)]), *commands]
        state = _read_state(with_expiries, session, roles)
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


def _read_state(commands: Sequence[Command], session: ClientSession, roles: Roles) -> State:
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
    acts = [act for command in commands if (act := act_of(command)) is not None and act.roles]
    actors = {act.actor for act in acts if isinstance(act.actor, ObjectId)}
    found_roles = roles(actors, session) if actors else {}
    return State(repository.find_accounts(accounts, session), found, transactions, found_roles)


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
