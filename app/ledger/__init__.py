"""The ledger: the only place where money moves.

Call `configure` once, `begin_journal` for each new account, and `post` to move money.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from bson import ObjectId
from pymongo.client_session import ClientSession

from app import mongo
from app.account_numbers import AccountNumber
from app.clock import MILLISECOND, SETTLING
from app.ledger import chain, counts, posting, replay, repository
from app.ledger.commands import Command
from app.ledger.group import GroupCommit, is_for_everybody
from app.ledger.numbers import ids_of, numbers_of
from app.ledger.posting import Roles, Witness
from app.ledger.records import Account, AccountKind, Entry, KeyUse, KeyUseKind, Outcome, Transaction
from app.ledger.repository import HEADS, Funds
from app.mongo import clocks
from app.runtime.turns import Turns
from app.settings.policies import LedgerPolicy

__all__ = [
    "HEADS",
    "Funds",
    "Standing",
    "about_to_post",
    "accounts",
    "begin_journal",
    "configure",
    "count_holds",
    "expired_holds",
    "funds",
    "ids_of",
    "is_for_everybody",
    "numbers_of",
    "post",
    "rehearse",
    "settled_until",
    "spend_key",
    "spent_on",
    "standing_at",
    "take_turns",
]

_group: GroupCommit | None = None
_turns = Turns()
_roles: Roles | None = None


def configure(policy: LedgerPolicy, *, witnesses: Sequence[Witness], roles: Roles) -> None:
    """Set the limits of this process's postings, the witnesses of each block, and the function that looks up roles."""
    global _group, _roles

    def post_in_sight(commands: Sequence[Command], timeout_s: float) -> list[Outcome]:
        return posting.post_block(commands, timeout_s, witnesses, roles, _turns.collided)

    _group = GroupCommit(policy, post_in_sight, _turns)
    _roles = roles


def take_turns(file: int) -> None:
    """Make this process take turns with others when their blocks conflict. All of them inherited the open `file`."""
    _turns.file = file


@contextmanager
def about_to_post() -> Iterator[None]:
    """Have the next block wait a moment for this thread, which is going to post before the context ends."""
    group = _chosen()
    group.expect()
    try:
        yield
    finally:
        group.expect_no_more()


def post(commands: Sequence[Command]) -> list[Outcome]:
    """Post the commands in order and return the outcome of each; see `GroupCommit.post` for what it raises."""
    group = _chosen()
    try:
        outcomes = group.post(commands)
    except Exception:
        counts.count_failure(commands)
        raise
    counts.count(commands, outcomes)
    return outcomes


def rehearse(command: Command) -> tuple[Outcome, dict[ObjectId, Account]]:
    """Return the outcome that the command would have now, and the accounts as it would leave them; write nothing."""
    # It may take long, and posts nothing.
    _chosen().expect_no_more()
    assert _roles is not None
    return posting.rehearse(command, _roles)


def _chosen() -> GroupCommit:
    if _group is None:
        raise RuntimeError("app.ledger.configure() was not called.")
    return _group


def begin_journal(
    account: ObjectId,
    *,
    kind: AccountKind,
    user: ObjectId | None,
    currency: str,
    number: AccountNumber,
    session: ClientSession,
) -> datetime:
    """Write entry 0 of a new account's journal, in the atomic block that opens the account, and return its time.

    Raises ServiceUnavailable if this host's clock is off.
    """
    at = clocks.now(session)
    _, entry = chain.open_journal(account, kind=kind, user=user, currency=currency, at=at, number=number)
    mongo.insert_all([repository.new_entries([entry])], session)
    return at


def spent_on(
    user: ObjectId, key: str, fingerprint: Mapping[str, str], session: ClientSession
) -> Transaction | KeyUse | None:
    """Return what the user's idempotency key was spent on, or None if it was not.

    This is for calls that move no money. They share one namespace of keys with postings.
    Raises IdempotencyKeyReused if the key was spent on a different request.
    """
    recorded = repository.find_recorded(user, key, session)
    if recorded is None:
        return None
    reuse = replay.reuse_of(recorded, fingerprint)
    if reuse is not None:
        raise reuse
    return recorded


def spend_key(
    user: ObjectId,
    key: str,
    fingerprint: Mapping[str, str],
    *,
    account: ObjectId,
    at: datetime,
    session: ClientSession,
) -> None:
    """Record, in the atomic block that opens the account, that the user's idempotency key was spent on it.

    A unique index makes each key of a user unique. A caller that loses the race for a key runs its block again.
    """
    use = KeyUse(
        id=ObjectId(),
        user=user,
        idempotency_key=key,
        fingerprint=fingerprint,
        kind=KeyUseKind.ACCOUNT,
        created_at=at,
        account=account,
    )
    mongo.insert_all([repository.new_records([use])], session)


def funds(accounts: Collection[ObjectId]) -> dict[ObjectId, Funds]:
    """Return what the newest entry of each account says of its money."""
    return repository.find_funds(accounts)


@dataclass(frozen=True, slots=True)
class Standing:
    """An account at a given time: its newest `entry` by then, or None if its journal starts later.

    `is_final`: no new entry can get that time or an earlier one. `ahead`: how far the time lies in the future.
    """

    entry: Entry | None
    is_final: bool
    ahead: timedelta


def settled_until(account: ObjectId) -> datetime:
    """Return the time up to which no new entry can get a place in the account's journal."""
    heads, now = repository.find_heads_and_time([account])
    assert now is not None
    return _settled_until(heads[account], now)


def _settled_until(head: Entry, now: datetime) -> datetime:
    # A journal's times never run backwards, so no entry can be added before the head. One may share its millisecond.
    return max(head.created_at - MILLISECOND, now - SETTLING)


def standing_at(account: ObjectId, at: datetime) -> Standing:
    """Return the account at a given time. A journal's times never run backwards, so one entry decides it."""
    # Read the head first: once an entry after `at` is visible, all entries before it are visible too.
    heads, now = repository.find_heads_and_time([account])
    assert now is not None
    is_final = at <= _settled_until(heads[account], now)
    return Standing(repository.find_entry_at(account, at), is_final, max(at - now, timedelta()))


def accounts(ids: Collection[ObjectId]) -> dict[ObjectId, Account]:
    """Return the accounts that exist, each with the balance of its newest entry."""
    return {account.id: account for account in repository.find(ids).accounts}


def count_holds(at: datetime) -> dict[str, int]:
    """Return how many pending holds are `open` and how many are `overdue`, each COUNTED_MAX at most."""
    return repository.count_holds(at)


def expired_holds(at: datetime, *, limit: int, besides: Collection[ObjectId] = ()) -> list[ObjectId]:
    """Return up to `limit` overdue holds, other than `besides`, the longest overdue first."""
    return repository.find_expired_holds(at, limit=limit, besides=besides)
