"""The ledger: the only place where money moves.

`configure` it once, then `begin_journal` for each new account and `post` commands.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from bson import ObjectId
from pymongo.client_session import ClientSession

from app import clock
from app.ledger import chain, replay, repository
from app.ledger.commands import Command
from app.ledger.group import GroupCommit
from app.ledger.posting import Witness, post_block, rehearse
from app.ledger.records import Account, AccountKind, Entry, KeyUse, KeyUseKind, Outcome, Transaction
from app.policies import LedgerPolicy

__all__ = [
    "accounts",
    "begin_journal",
    "configure",
    "entry_at",
    "expired_holds",
    "heads",
    "post",
    "rehearse",
    "spend_key",
    "spent_on",
]

_group: GroupCommit | None = None


def configure(policy: LedgerPolicy, *, witnesses: Sequence[Witness]) -> None:
    """Set the limits of this process's postings, and who writes in each block what follows from it."""
    global _group

    def post_in_sight(commands: Sequence[Command], timeout_s: float) -> list[Outcome]:
        return post_block(commands, timeout_s, witnesses)

    _group = GroupCommit(policy, post_in_sight)


def post(commands: Sequence[Command]) -> list[Outcome]:
    """Post the commands in order and return the outcome of each; see `GroupCommit.post` for what it raises."""
    if _group is None:
        raise RuntimeError("app.ledger.configure() was not called.")
    return _group.post(commands)


def begin_journal(
    account: ObjectId, *, kind: AccountKind, user: ObjectId | None, currency: str, session: ClientSession
) -> datetime:
    """Write entry 0 of a new account's journal, in the atomic block that makes the account, and return its time."""
    at = clock.now()
    _, entry = chain.open_journal(account, kind=kind, user=user, currency=currency, at=at)
    repository.insert_entries([entry], session)
    return at


def spent_on(
    user: ObjectId, key: str, fingerprint: Mapping[str, str], session: ClientSession
) -> Transaction | KeyUse | None:
    """Return what the user's idempotency key was spent on, or None if it was not.

    For calls that move no money: they share one namespace of keys with postings. Raises
    IdempotencyKeyReused if the first request was another one.
    """
    found = repository.find_recorded([(user, key)], (), session)
    if not found:
        return None
    (recorded,) = found
    reuse = replay.reuse_of(recorded, fingerprint)
    if reuse is not None:
        raise reuse
    return recorded


def spend_key(
    user: ObjectId, key: str, fingerprint: Mapping[str, str], *, account: ObjectId, session: ClientSession
) -> None:
    """Record, in the atomic block that opens the account, that the user's idempotency key was spent on it.

    A unique index decides about all keys of a user. Whoever loses the race for one runs the block again.
    """
    use = KeyUse(
        id=ObjectId(),
        user=user,
        idempotency_key=key,
        fingerprint=fingerprint,
        kind=KeyUseKind.ACCOUNT,
        created_at=clock.now(),
        account=account,
    )
    repository.insert_records([use], session)


def heads(accounts: Collection[ObjectId]) -> dict[ObjectId, Entry]:
    """Return the newest entry of each account; what it says is the account's balance."""
    return repository.find_heads(accounts)


def entry_at(account: ObjectId, at: datetime) -> Entry | None:
    """Return the newest entry at or before `at`, or None if the journal begins later.

    A journal's times never run backwards, so it says what the balance was at that time.
    """
    return repository.find_entry_at(account, at)


def accounts(ids: Collection[ObjectId]) -> dict[ObjectId, Account]:
    """Return those of the accounts that exist, as their heads leave them."""
    return {account.id: account for account in repository.find_accounts(ids)}


def expired_holds(at: datetime, *, limit: int) -> list[Transaction]:
    """Return up to `limit` open holds whose time is over, the longest expired first."""
    return repository.find_expired_holds(at, limit=limit)
