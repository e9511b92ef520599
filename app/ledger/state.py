"""The input and the output of `journal.decide`: the state before a command, and the decision about it."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from bson import ObjectId

from app.acts import Act, Change
from app.ledger.records import Account, Entry, KeyUse, Outcome, Transaction, TransactionStatus
from app.ledger.values import made_quickly


class State:
    """The state before a batch of commands.

    `transactions` are the transactions that the commands are about. `held` names the
    accounts to be closed that have an open hold, as payer or payee, other than these
    transactions. `roles` are the roles of the users who act for the bank.
    """

    def __init__(
        self,
        accounts: Iterable[Account],
        recorded: Iterable[Transaction | KeyUse],
        transactions: Iterable[Transaction] = (),
        held: Collection[ObjectId] = (),
        roles: Mapping[ObjectId, str] | None = None,
    ) -> None:
        self.accounts: dict[ObjectId, Account] = {account.id: account for account in accounts}
        self.recorded = {(record.user, record.idempotency_key): record for record in recorded}
        self.transactions: dict[ObjectId, Transaction] = {transaction.id: transaction for transaction in transactions}
        self.roles: Mapping[ObjectId, str] = roles or {}
        self._held = frozenset(held)

    def apply(self, decision: "Decision") -> None:
        """Change to the state that the decision leaves."""
        for part in decision.parts:
            self.apply(part)
        for account in decision.accounts:
            self.accounts[account.id] = account
        for transaction in (decision.inserted, decision.updated):
            if transaction is not None:
                self.transactions[transaction.id] = transaction
        for record in (decision.inserted, decision.key_use):
            if record is not None:
                self.recorded[record.user, record.idempotency_key] = record

    def add(self, accounts: Iterable[Account], transactions: Iterable[Transaction]) -> None:
        """Make more accounts and transactions known."""
        self.accounts.update((account.id, account) for account in accounts)
        self.transactions.update((transaction.id, transaction) for transaction in transactions)

    def copy(self) -> "State":
        """Return a copy that can change without changing this state."""
        other = State((), (), held=self._held, roles=self.roles)
        # Copied as they are, because each of their keys takes a while to hash.
        other.accounts, other.recorded = self.accounts.copy(), self.recorded.copy()
        other.transactions = self.transactions.copy()
        return other

    def allows(self, act: Act) -> bool:
        """Tell whether the actor has a role that the act needs. An actor on the CLI is no user, and always may."""
        return not act.roles or not isinstance(act.actor, ObjectId) or self.roles.get(act.actor) in act.roles

    def has_open_holds(self, account: ObjectId, at: datetime) -> bool:
        """Tell whether the account is payer or payee of an open hold that is not overdue."""
        return account in self._held or any(
            transaction.status is TransactionStatus.PENDING
            and not transaction.is_overdue(at)
            and account in (transaction.from_account, transaction.to_account)
            for transaction in self.transactions.values()
        )


@made_quickly
@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The decision about a command: its outcome, and everything that must be written for it.

    `held_for` is the payee of a new hold. Its account document is marked, so that a close
    that races with the hold conflicts with it. `act` and `change` are for the audit log: who
    did it, and what it changed. `parts` are the decisions about a batch's items.
    """

    outcome: Outcome
    entries: tuple[Entry, ...] = ()
    accounts: tuple[Account, ...] = ()
    inserted: Transaction | None = None
    updated: Transaction | None = None
    key_use: KeyUse | None = None
    held_for: ObjectId | None = None
    act: Act | None = None
    change: Change | None = None
    parts: "tuple[Decision, ...]" = ()

    def flat(self) -> "Iterator[Decision]":
        """Yield the parts and then this decision itself, in the order in which they happen."""
        for part in self.parts:
            yield from part.flat()
        yield self


@dataclass(frozen=True, slots=True)
class Decided:
    """All decisions of one block, in order, and the accounts as the block leaves them. Witnesses get this."""

    at: datetime
    decisions: tuple[Decision, ...]
    accounts: Mapping[ObjectId, Account]

    @property
    def acts(self) -> Iterator[tuple[Act, Change]]:
        """Each act that the audit log records, with what it changed."""
        for decision in self.decisions:
            if decision.act is not None and decision.change is not None:
                yield decision.act, decision.change
