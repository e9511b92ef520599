"""Posting: one atomic block reads what the commands need, decides them and writes the results.

`journal.decide` has the rules, also what becomes of an overdue hold.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial

from bson import ObjectId
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError, PyMongoError

from app import clock, mongo
from app.errors import InsufficientFunds, LedgerBusy
from app.ledger import journal, repository
from app.ledger.commands import (
    Batch,
    ChangeStatus,
    Command,
    Expire,
    Keyed,
    accounts_named_by,
    act_of,
    transaction_named_by,
)
from app.ledger.records import Account, AccountStatus, KeyUse, Outcome, Transaction, TransactionStatus
from app.ledger.state import Decided, Decision, State
from app.mongo import Insert, clocks

# A function that is called inside the block with all its decisions, and returns what follows from them, such as audit
# records and mail. It is written in the same block.
Witness = Callable[[Decided, ClientSession], Iterable[Insert]]
# A function that returns the roles of these users, read inside the block.
Roles = Callable[[Collection[ObjectId], ClientSession], Mapping[ObjectId, str]]

# After a lost race on a unique index, the block runs again and finds the winner. It does so at most this often.
DUPLICATE_RERUNS_MAX = 5
# How many overdue holds one block releases to make room for debits and closes. The next blocks and the sweeper release
# the rest, so that one account's overdue holds do not slow down other people's postings.
EXPIRED_HOLDS_MAX = 100
PUT_OFF = "Many overdue holds are being released first. Nothing was done."


def post_block(
    commands: Sequence[Command],
    timeout_s: float,
    witnesses: Sequence[Witness],
    roles: Roles,
    on_conflict: Callable[[], None] = lambda: None,
) -> list[Outcome]:
    """Decide the commands in order and write the results, in one atomic block; return their outcomes.

    Expiries go first, because those holds ended before the other commands came. A command whose
    outcome has the error LedgerBusy was put off, because more overdue holds are in its way than
    one block releases. It was not done; post it again.

    What the witnesses return is written in the same block. `roles` returns the users' roles. On a conflict with
    another block, `on_conflict` is called and the block runs again.
    Raises LedgerBusy or PyMongoError, after which the block may or may not have taken effect,
    and ServiceUnavailable if this host's clock is off.
    """
    reruns = 0
    order = sorted(range(len(commands)), key=lambda position: not isinstance(commands[position], Expire))
    in_order = [commands[position] for position in order]

    def is_lost_race(error: PyMongoError) -> bool:
        nonlocal reruns
        if mongo.duplicate_key(error) is None:
            return False
        reruns += 1
        return reruns <= DUPLICATE_RERUNS_MAX

    def block(session: ClientSession) -> list[Outcome]:
        state, at = _read_state(in_order, session, roles)
        decisions, state = _decide(in_order, state, at, session)
        flat = tuple(part for decision in decisions for part in decision.flat())
        decided = Decided(at, flat, state.accounts)
        _write(flat, [insert for witness in witnesses for insert in witness(decided, session)], session)
        # Of the releases that were put in front, nobody waits for the outcome.
        outcomes = dict(zip(order, (decision.outcome for decision in decisions[-len(commands) :]), strict=True))
        return [outcomes[position] for position in range(len(commands))]

    try:
        return mongo.atomically(
            block, timeout_ms=int(timeout_s * 1000), is_lost_race=is_lost_race, on_conflict=on_conflict
        )
    except BulkWriteError as error:
        if mongo.duplicate_key(error) is None:
            raise
        # It lost too many races in a row. This is contention, not a fault.
        raise LedgerBusy from error


def rehearse(command: Command, roles: Roles) -> tuple[Outcome, dict[ObjectId, Account]]:
    """Return the outcome that the command would have now, and the accounts as it would leave them; write nothing."""

    def block(session: ClientSession) -> tuple[Outcome, dict[ObjectId, Account]]:
        state, at = _read_state([command], session, roles)
        while True:
            decisions, state = _decide([command], state, at, session)
            outcome = decisions[-1].outcome
            # A real posting is tried again, block after block, until enough holds are released. So is this, in memory.
            if not isinstance(outcome.error, LedgerBusy):
                return outcome, state.accounts

    return mongo.atomically(block)


def _decide(
    commands: Sequence[Command], state: State, at: datetime, session: ClientSession
) -> tuple[list[Decision], State]:
    """Return the decisions and the state that they leave. `state` is changed; use the one
    that is returned.

    First come the releases of overdue holds that kept a debit or a close from succeeding,
    then the decisions for `commands`, in order.
    """
    before = state.copy()
    decisions = _fold(commands, state, at)
    in_the_way, cleared = _overdue_in_the_way(commands, decisions, state, at, session)
    if not in_the_way:
        return decisions, state
    holds = repository.find_transactions(in_the_way, session)
    parties = {party for hold in holds for party in (hold.from_account, hold.to_account)}
    before.add(repository.find(parties - before.accounts.keys(), session).accounts, holds)
    return _fold([*(Expire(hold=hold) for hold in in_the_way), *commands], before, at, cleared), before


def _overdue_in_the_way(
    commands: Sequence[Command], decisions: Sequence[Decision], state: State, at: datetime, session: ClientSession
) -> tuple[list[ObjectId], set[ObjectId]]:
    """Return up to EXPIRED_HOLDS_MAX overdue holds to release first, and the payers who will have none left.

    These are holds of payers that lacked funds, and of accounts that this block is to close.
    """
    short: set[ObjectId] = set()
    for command, decision in zip(commands, decisions, strict=True):
        short |= {payer for payer in _short_of_funds(command, decision) if state.accounts[payer].held}
    closed = {
        account.id for d in decisions if (account := d.outcome.account) and account.status is AccountStatus.CLOSED
    }
    if not short and not closed:
        return [], set()
    released = [id_ for id_, known in state.transactions.items() if known.status is TransactionStatus.VOIDED]
    find = partial(repository.find_expired_holds, at, besides=released, session=session)
    found = find(payers=short, limit=EXPIRED_HOLDS_MAX + 1) if short else []
    cleared = set(short)
    if len(found) > EXPIRED_HOLDS_MAX:
        # Each payer gets a share, because one payer with thousands of holds would keep the others waiting.
        share = max(1, EXPIRED_HOLDS_MAX // len(short))
        found, cleared = [], set()
        for payer in sorted(short)[:EXPIRED_HOLDS_MAX]:
            of_payer = find(payers=[payer], limit=share + 1)
            found += of_payer[:share]
            if len(of_payer) <= share:
                cleared.add(payer)
    if closed and len(found) < EXPIRED_HOLDS_MAX:
        found += find(parties=closed, limit=EXPIRED_HOLDS_MAX - len(found))
    return list(dict.fromkeys(found)), cleared


def _short_of_funds(command: Command, decision: Decision) -> set[ObjectId]:
    """Return the payers whose lack of funds made the command, or a part of it, fail."""
    short: set[ObjectId] = set()
    for part in decision.flat():
        error = part.outcome.error
        if not isinstance(error, InsufficientFunds) or part.outcome.replayed:
            continue
        if part.inserted is not None:  # as a declined attempt
            short.add(part.inserted.from_account)
        elif isinstance(command, Batch):  # as a whole, for one of its items
            short.add(command.items[error.members["index"]].from_account)
    return short


def _read_state(commands: Sequence[Command], session: ClientSession, roles: Roles) -> tuple[State, datetime]:
    """Return the state before the commands, and the primary's time.

    Raises ServiceUnavailable if this host's clock is off.
    """
    keys = {(command.user, command.idempotency_key) for command in commands if isinstance(command, Keyed)}
    ids = {named for command in commands if (named := transaction_named_by(command)) is not None}
    accounts = {account for command in commands for account in accounts_named_by(command)}
    asked = clock.now()
    found = repository.find(accounts, session, keys=keys, ids=ids)
    clocks.check(found.at, asked=asked)
    existing = found.accounts
    transactions = [record for record in found.records if isinstance(record, Transaction)]
    parties = {party for about in transactions if about.id in ids for party in (about.from_account, about.to_account)}
    if not parties <= accounts:
        existing += repository.find(parties - accounts, session).accounts
    results = {r for use in found.records if isinstance(use, KeyUse) for r in use.results if isinstance(r, ObjectId)}
    if results:
        transactions += repository.find_transactions(results, session)
    held = {
        account
        for account in _closing(commands)
        if repository.has_open_hold(account, found.at, besides=ids, session=session)
    }
    acts = [act for command in commands if (act := act_of(command)) is not None and act.roles]
    actors = {act.actor for act in acts if isinstance(act.actor, ObjectId)}
    state = State(existing, found.records, transactions, held, roles(actors, session) if actors else {})
    return state, found.at


def _closing(commands: Sequence[Command]) -> set[ObjectId]:
    return {c.account for c in commands if isinstance(c, ChangeStatus) and c.status is AccountStatus.CLOSED}


def _fold(
    commands: Sequence[Command], state: State, at: datetime, cleared: Collection[ObjectId] | None = None
) -> list[Decision]:
    """Return a decision for each command, in order, and apply it to the state.

    If `cleared` is given, a payer is declined for lack of funds only if it is listed there or
    has nothing on hold. Any other payer may have overdue holds left, so the command is put off.
    """
    decisions = []
    for command in commands:
        decision = journal.decide(command, state, at)
        if cleared is not None and any(
            payer not in cleared and state.accounts[payer].held for payer in _short_of_funds(command, decision)
        ):
            decision = Decision(outcome=Outcome(error=LedgerBusy(PUT_OFF)))
        state.apply(decision)
        decisions.append(decision)
    return decisions


def _write(decisions: Sequence[Decision], told: Iterable[Insert], session: ClientSession) -> None:
    """Write what was decided, and what the witnesses tell of it."""
    inserted = [decision.inserted for decision in decisions if decision.inserted is not None]
    key_uses = [decision.key_use for decision in decisions if decision.key_use is not None]
    inserts = (
        repository.new_records([*inserted, *key_uses]),
        repository.new_reversals(inserted),
        repository.new_entries(entry for decision in decisions for entry in decision.entries),
    )
    mongo.insert_all([*inserts, *told], session)
    repository.update_transactions((d.updated for d in decisions if d.updated is not None), session)
    repository.update_statuses((d.outcome.account for d in decisions if d.outcome.account is not None), session)
    repository.count_incoming_holds(Counter(d.held_for for d in decisions if d.held_for is not None), session)
