"""The rules of the ledger: what a command does, decided without any I/O.

`decide` is a pure function of a command, the state it meets and a time. The
posting algorithm folds it over a batch; the laws of money are kept here and
nowhere else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from bson import ObjectId

from app.errors import (
    AccountNotActive,
    AccountNotFound,
    BalanceLimitExceeded,
    CurrencyMismatch,
    DomainError,
    IdempotencyKeyReused,
    InsufficientFunds,
    SameAccount,
)
from app.ledger.records import (
    GENESIS_HASH,
    Account,
    AccountKind,
    AccountStatus,
    Command,
    Entry,
    EntryType,
    Failure,
    Outcome,
    Transaction,
    TransactionKind,
    TransactionStatus,
    Transfer,
)
from app.money import AMOUNT_MAX

BALANCE_MAX = AMOUNT_MAX

# Refusals for business reasons. They are recorded as FAILED and spend the key; all others leave no trace.
DECLINES = (InsufficientFunds, AccountNotActive, BalanceLimitExceeded)

_BALANCE_EFFECT = {EntryType.CREDIT: 1, EntryType.DEBIT: -1}
_HELD_EFFECT = {EntryType.HOLD: 1, EntryType.RELEASE: -1}


class State:
    """What a batch of commands meets: accounts, and what idempotency keys were spent on."""

    def __init__(self, accounts: Iterable[Account], recorded: Iterable[Transaction]) -> None:
        self.accounts: dict[ObjectId, Account] = {account.id: account for account in accounts}
        self.recorded: dict[tuple[ObjectId, str], Transaction] = {
            (transaction.user, transaction.idempotency_key): transaction for transaction in recorded
        }

    def apply(self, decision: "Decision") -> None:
        """Move on to the state that the decision leaves."""
        for account in decision.accounts:
            self.accounts[account.id] = account
        if decision.inserted is not None:
            self.recorded[decision.inserted.user, decision.inserted.idempotency_key] = decision.inserted


@dataclass(frozen=True, slots=True)
class Decision:
    """What a command comes to: its outcome, and all that has to be written for it."""

    outcome: Outcome
    entries: tuple[Entry, ...] = ()
    accounts: tuple[Account, ...] = ()
    inserted: Transaction | None = None


def open_journal(
    account: ObjectId, *, kind: AccountKind, user: ObjectId | None, currency: str, at: datetime
) -> tuple[Account, Entry]:
    """Return a new account with entry 0 of its journal: STATUS, ACTIVE, amount 0."""
    blank = Account(account, kind, user, currency, AccountStatus.ACTIVE, -1, 0, 0, GENESIS_HASH, at)
    return _append(blank, EntryType.STATUS, 0, at=at, description=AccountStatus.ACTIVE)


def decide(command: Command, state: State, at: datetime) -> Decision:
    """Decide one command against `state`, which is left as it is.

    A key that was spent is settled first: its first outcome again, or
    IdempotencyKeyReused. The outcome's error is one of `DECLINES`, recorded as a
    FAILED transaction, or AccountNotFound, SameAccount or CurrencyMismatch, which
    leave no trace. `at` is a UTC time in whole milliseconds.
    """
    recorded = state.recorded.get((command.user, command.idempotency_key))
    if recorded is not None:
        return Decision(_repeat(command, recorded))
    try:
        return _transfer(command, state, at)
    except DomainError as refusal:
        return Decision(Outcome(error=refusal))


def _repeat(command: Command, recorded: Transaction) -> Outcome:
    differing = differing_fields(recorded.fingerprint, command.fingerprint)
    if differing:
        return Outcome(
            error=IdempotencyKeyReused(
                f"The idempotency key was used at {recorded.created_at:%Y-%m-%d %H:%M:%S} UTC for a request "
                f"that differs in {', '.join(differing)}.",
                errors={name: ["Differs from the first request with this idempotency key."] for name in differing},
            )
        )
    error = (
        recorded.failure.as_error(recorded.id)
        if recorded.status is TransactionStatus.FAILED and recorded.failure
        else None
    )
    return Outcome(recorded.as_first_answered(), error, replayed=True)


def differing_fields(recorded: Mapping[str, str], asked: Mapping[str, str]) -> list[str]:
    """Return the names of the request fields in which two fingerprints differ."""
    return sorted(name for name in recorded.keys() | asked.keys() if recorded.get(name) != asked.get(name))


def _transfer(command: Transfer, state: State, at: datetime) -> Decision:
    payer, payee = _parties(command, state)
    at = max(at, payer.at, payee.at)
    transaction = Transaction(
        id=command.transaction,
        user=command.user,
        idempotency_key=command.idempotency_key,
        fingerprint=command.fingerprint,
        kind=command.kind,
        from_account=payer.id,
        to_account=payee.id,
        amount=command.amount,
        currency=payer.currency,
        status=TransactionStatus.COMPLETED,
        description=command.description,
        metadata=command.metadata,
        created_at=at,
        completed_at=at,
    )
    try:
        _check_active(payer, payee)
        _check_funds(payer, command.amount)
        _check_limits(payer, payee, command.amount)
    except DECLINES as decline:
        return _declined(transaction, decline)
    payer, debit = _append(
        payer, EntryType.DEBIT, command.amount, at=at, transaction=transaction, counterparty=payee.id
    )
    payee, credit = _append(
        payee, EntryType.CREDIT, command.amount, at=at, transaction=transaction, counterparty=payer.id
    )
    return Decision(Outcome(transaction), (debit, credit), (payer, payee), transaction)


def _declined(transaction: Transaction, decline: DomainError) -> Decision:
    failure = Failure(decline.code, decline.detail)
    failed = replace(transaction, status=TransactionStatus.FAILED, failure=failure, completed_at=None)
    return Decision(Outcome(failed, failure.as_error(failed.id)), inserted=failed)


def _parties(command: Transfer, state: State) -> tuple[Account, Account]:
    if command.from_account == command.to_account:
        raise SameAccount("fromAccount and toAccount are the same account.")
    payer = state.accounts.get(command.from_account)
    payee = state.accounts.get(command.to_account)
    if payer is None or not _may_pay(payer, command):
        raise AccountNotFound("fromAccount is not an account of yours.")
    if payee is None or payee.kind is not AccountKind.CUSTOMER:
        raise AccountNotFound("toAccount does not exist.")
    if payer.currency != payee.currency:
        raise CurrencyMismatch(f"fromAccount is in {payer.currency}, toAccount in {payee.currency}.")
    return payer, payee


def _may_pay(payer: Account, command: Transfer) -> bool:
    if command.kind is TransactionKind.FUNDING:
        return payer.kind is AccountKind.TREASURY
    return payer.kind is AccountKind.CUSTOMER and payer.user == command.user


def _check_active(payer: Account, payee: Account) -> None:
    if payer.status is not AccountStatus.ACTIVE:
        raise AccountNotActive(f"The paying account is {payer.status}.")
    if payee.status is not AccountStatus.ACTIVE:
        raise AccountNotActive("The receiving account is not active.")


def _check_funds(payer: Account, amount: int) -> None:
    if payer.kind is AccountKind.CUSTOMER and payer.available < amount:
        raise InsufficientFunds(
            f"{amount} minor units of {payer.currency} were asked for and {payer.available} are available."
        )


def _check_limits(payer: Account, payee: Account, amount: int) -> None:
    if payee.balance + amount > BALANCE_MAX:
        raise BalanceLimitExceeded("The receiving account can not hold that much.")
    if payer.balance - amount < -BALANCE_MAX:
        raise BalanceLimitExceeded(f"The treasury can not issue that much {payer.currency}.")


def _append(
    account: Account,
    type_: EntryType,
    amount: int,
    *,
    at: datetime,
    transaction: Transaction | None = None,
    counterparty: ObjectId | None = None,
    description: str | None = None,
) -> tuple[Account, Entry]:
    """Return the account after one more entry, and the entry."""
    balance = account.balance + amount * _BALANCE_EFFECT.get(type_, 0)
    held = account.held + amount * _HELD_EFFECT.get(type_, 0)
    # What must hold whatever the rules above decided. A breach is a bug and must not reach the database.
    assert amount > 0 or type_ is EntryType.STATUS
    assert at >= account.at
    assert -BALANCE_MAX <= balance <= BALANCE_MAX
    assert held >= 0
    assert account.kind is AccountKind.TREASURY or balance - held >= 0
    entry = Entry(
        account=account.id,
        sequence=account.sequence + 1,
        type=type_,
        amount=amount,
        balance=balance,
        held=held,
        transaction=transaction.id if transaction else None,
        counterparty=counterparty,
        description=description if transaction is None else transaction.description,
        created_at=at,
        previous_hash=account.hash,
    ).sealed()
    after = replace(account, sequence=entry.sequence, balance=balance, held=held, hash=entry.hash, at=at)
    return after, entry
