"""The ledger: the only place where money moves.

`configure` it once, then `begin_journal` for each new account and `post` commands.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from bson import ObjectId
from pymongo.client_session import ClientSession

from app import clock
from app.ledger import chain, posting, repository
from app.ledger.commands import Command
from app.ledger.group import GroupCommit
from app.ledger.posting import Roles, Witness
from app.ledger.records import Account, AccountKind, Entry, Outcome, Transaction
from app.policies import LedgerPolicy

__all__ = ["accounts", "begin_journal", "configure", "entry_at", "expired_holds", "heads", "post", "rehearse"]

_group: GroupCommit | None = None
_roles: Roles | None = None


def configure(policy: LedgerPolicy, *, witnesses: Sequence[Witness], roles: Roles) -> None:
    """Set the limits of this process's postings, who writes in each block what follows from it, and who tells there
    which roles users have."""
    global _group, _roles

    def post_in_sight(commands: Sequence[Command], timeout_s: float) -> list[Outcome]:
        return posting.post_block(commands, timeout_s, witnesses, roles)

    _group = GroupCommit(policy, post_in_sight)
    _roles = roles


def post(commands: Sequence[Command]) -> list[Outcome]:
    """Post the commands in order and return the outcome of each; see `GroupCommit.post` for what it raises."""
    if _group is None:
        raise RuntimeError("app.ledger.configure() was not called.")
    return _group.post(commands)


def rehearse(command: Command) -> tuple[Outcome, dict[ObjectId, Account]]:
    """Return what the command would come to now, with the accounts as it would leave them; write nothing."""
    if _roles is None:
        raise RuntimeError("app.ledger.configure() was not called.")
    return posting.rehearse(command, _roles)


def begin_journal(
    account: ObjectId, *, kind: AccountKind, user: ObjectId | None, currency: str, session: ClientSession
) -> datetime:
    """Write entry 0 of a new account's journal, in the atomic block that makes the account, and return its time."""
    at = clock.now()
    _, entry = chain.open_journal(account, kind=kind, user=user, currency=currency, at=at)
    repository.insert_entries([entry], session)
    return at


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
