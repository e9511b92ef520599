"""The rules of the ledger, decided without any I/O.

`decide` is a pure function of a command, the current state and a time. Posting folds it
over a batch of commands. The laws of money are enforced here and nowhere else.
"""

from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import assert_never

from app.acts import Change
from app.errors import (
    AccountNotActive,
    AccountNotEmpty,
    AccountNotFound,
    AlreadyReversed,
    BalanceLimitExceeded,
    CaptureExceedsHold,
    CurrencyMismatch,
    DomainError,
    Forbidden,
    HoldNotPending,
    InsufficientFunds,
    InvalidStatusTransition,
    NotReversible,
    SameAccount,
    TransactionNotFound,
)
from app.ledger.chain import BALANCE_MAX, append
from app.ledger.commands import (
    Batch,
    Capture,
    ChangeStatus,
    Command,
    Expire,
    Hold,
    Keyed,
    Reversal,
    Transfer,
    Void,
    act_of,
)
from app.ledger.records import (
    STATUS_ACTIONS,
    TRANSITIONS,
    Account,
    AccountKind,
    AccountStatus,
    EntryType,
    Failure,
    KeyUse,
    KeyUseKind,
    Outcome,
    Transaction,
    TransactionKind,
    TransactionStatus,
)
from app.ledger.replay import repeat
from app.ledger.state import Decision, State

# Refusals for business reasons. They are recorded and spend the key; all other refusals leave no trace.
DECLINES = (InsufficientFunds, AccountNotActive, BalanceLimitExceeded)
HOLD_EXPIRED = Failure("hold_expired", "The hold was not captured in time.")


def decide(command: Command, state: State, at: datetime) -> Decision:
    """Decide one command against `state`, which stays unchanged. `at` is UTC in whole milliseconds.

    1. An act that needs a role its actor does not have is Forbidden.
    2. A spent key gets its first outcome again, or IdempotencyKeyReused.
    3. Otherwise the command is carried out or refused. A refusal in `DECLINES` is recorded and
       spends the key. Any other leaves no trace: AccountNotFound, SameAccount, CurrencyMismatch
       (transfers and holds), TransactionNotFound, Forbidden, HoldNotPending, CaptureExceedsHold
       (captures and voids), AlreadyReversed, NotReversible, InvalidStatusTransition,
       AccountNotEmpty.
    """
    if (act := act_of(command)) is not None and not state.allows(act):
        # The actor had the role when the request came in, but may have lost it since.
        return Decision(outcome=Outcome(error=Forbidden(f"This needs the role {' or '.join(sorted(act.roles))}.")))
    if isinstance(command, Keyed):
        recorded = state.recorded.get((command.user, command.idempotency_key))
        if recorded is not None:
            return Decision(outcome=repeat(command, recorded, state))
    try:
        return _first(command, state, at)
    except DomainError as refusal:
        return Decision(outcome=Outcome(error=refusal))


def _first(command: Command, state: State, at: datetime) -> Decision:
    match command:
        case Hold():
            return _hold(command, state, at)
        case Transfer():
            return _transfer(command, state, at)
        case Capture():
            return _capture(command, state, at)
        case Void():
            return _void(command, state, at)
        case Reversal():
            return _reversal(command, state, at)
        case Batch():
            return _batch(command, state, at)
        case Expire():
            return _expire(command, state, at)
        case ChangeStatus():
            return _change_status(command, state, at)
        case _:
            assert_never(command)


def _transfer(command: Transfer, state: State, at: datetime) -> Decision:
    payer, payee = _parties(command, state)
    transaction = _record(command, payer, payee, at)
    try:
        _check_active(payer, payee)
        _check_funds(payer, command.amount)
        moved = _move(transaction, payer, payee)
    except DECLINES as decline:
        return _declined(transaction, decline)
    if command.act is None:
        return moved
    after = {"amount": str(transaction.amount), "currency": transaction.currency, "transaction": str(transaction.id)}
    return replace(moved, act=command.act, change=Change("funds_credited", payee.id, {}, after))


def _hold(command: Hold, state: State, at: datetime) -> Decision:
    payer, payee = _parties(command, state)
    completed = _record(command, payer, payee, at)
    hold = replace(
        completed,
        status=TransactionStatus.PENDING,
        held_amount=command.amount,
        completed_at=None,
        expires_at=completed.created_at + command.lifetime,
    )
    try:
        _check_active(payer, payee)
        _check_funds(payer, command.amount)
    except DECLINES as decline:
        return _declined(hold, decline)
    payer, entry = append(
        payer, EntryType.HOLD, hold.amount, at=hold.created_at, transaction=hold, counterparty=payee.id
    )
    return Decision(
        outcome=Outcome(hold), entries=(entry,), accounts=(payer,), inserted=hold, held_for=command.to_account
    )


def _capture(command: Capture, state: State, at: datetime) -> Decision:
    hold, payer, payee = _open_hold(command, state, at)
    amount = hold.amount if command.amount is None else command.amount
    if amount > hold.amount:
        raise CaptureExceedsHold(f"{amount} was asked for and {hold.amount} is held.")
    at = max(at, payer.at, payee.at)
    key_use = _key_use(command, KeyUseKind.CAPTURE, at, hold)
    try:
        _check_active(payer, payee, tells_payer=command.user == payer.user)
        payer, release = append(payer, EntryType.RELEASE, hold.amount, at=at, transaction=hold, counterparty=payee.id)
        captured = replace(hold, status=TransactionStatus.COMPLETED, amount=amount, completed_at=at)
        moved = _move(captured, payer, payee)
    except DECLINES as decline:
        failure = _failure(decline)
        return Decision(outcome=Outcome(error=failure.as_error()), key_use=replace(key_use, failure=failure))
    decision = replace(moved, entries=(release, *moved.entries), inserted=None, updated=captured, key_use=key_use)
    return _told(decision, command, payee, captured)


def _void(command: Void, state: State, at: datetime) -> Decision:
    hold, payer, payee = _open_hold(command, state, at)
    released = _release(replace(hold, status=TransactionStatus.VOIDED), payer, at, command.reason)
    decision = replace(released, key_use=_key_use(command, KeyUseKind.VOID, max(at, payer.at, payee.at), hold))
    return _told(decision, command, payee, replace(hold, status=TransactionStatus.VOIDED))


def _told(decision: Decision, command: Capture | Void, payee: Account, settled: Transaction) -> Decision:
    """Return the decision, with its audit record if the bank settled the hold rather than the payee."""
    if command.act is None or command.user == payee.user:
        return decision
    before, after = {"status": TransactionStatus.PENDING.value}, {"status": settled.status.value}
    if isinstance(command, Void):
        return replace(decision, act=command.act, change=Change("hold_voided", settled.id, before, after))
    before["amount"], after["amount"] = str(settled.held_amount), str(settled.amount)
    return replace(decision, act=command.act, change=Change("hold_captured", settled.id, before, after))


def _expire(command: Expire, state: State, at: datetime) -> Decision:
    hold = state.transactions.get(command.hold)
    if hold is None or not hold.is_overdue(at):
        raise HoldNotPending
    expired = replace(hold, status=TransactionStatus.VOIDED, failure=HOLD_EXPIRED)
    return _release(expired, state.accounts[hold.from_account], at, None)


def _reversal(command: Reversal, state: State, at: datetime) -> Decision:
    original = state.transactions.get(command.original)
    if original is None:
        raise TransactionNotFound
    if original.status is TransactionStatus.REVERSED:
        raise AlreadyReversed(f"The transaction was reversed by {original.reversed_by}.")
    if original.kind is TransactionKind.REVERSAL or original.status is not TransactionStatus.COMPLETED:
        raise NotReversible(f"This is a {original.status} {original.kind}.")
    payer, payee = state.accounts[original.to_account], state.accounts[original.from_account]
    at = max(at, payer.at, payee.at)
    reversal = Transaction(
        id=command.id,
        user=command.user,
        idempotency_key=command.idempotency_key,
        fingerprint=command.fingerprint,
        salt=command.salt,
        kind=TransactionKind.REVERSAL,
        from_account=payer.id,
        to_account=payee.id,
        amount=original.amount,
        currency=original.currency,
        status=TransactionStatus.COMPLETED,
        description=original.description,
        metadata={"reason": command.act.reason} if command.act.reason else None,
        created_at=at,
        completed_at=at,
        reverses=original.id,
    )
    try:
        _check_active(payer, payee)
        _check_funds(payer, reversal.amount)
        moved = _move(reversal, payer, payee)
    except DECLINES as decline:
        return _declined(reversal, decline)
    reversed_ = replace(original, status=TransactionStatus.REVERSED, reversed_by=reversal.id)
    change = Change("transaction_reversed", original.id, {"status": original.status}, {"status": reversed_.status})
    return replace(moved, updated=reversed_, act=command.act, change=change)


def _batch(command: Batch, state: State, at: datetime) -> Decision:
    state = state.copy()
    parts = []
    for index, item in enumerate(command.items):
        part = decide(item, state, at)
        if part.outcome.error is not None and command.atomic:
            return _refused_batch(command, index, part.outcome.error, at)
        state.apply(part)
        parts.append(part)
    results = tuple(part.inserted.id if part.inserted is not None else _failure(part.outcome.error) for part in parts)
    key_use = replace(_key_use(command, KeyUseKind.BATCH, at), results=results)
    outcome = Outcome(results=tuple(part.outcome for part in parts))
    return Decision(outcome=outcome, key_use=key_use, parts=tuple(parts))


def _refused_batch(command: Batch, index: int, refusal: DomainError, at: datetime) -> Decision:
    failure = replace(_failure(refusal), index=index)
    key_use = replace(_key_use(command, KeyUseKind.BATCH, at), failure=failure)
    is_decline = isinstance(refusal, DECLINES)
    return Decision(outcome=Outcome(error=failure.as_error()), key_use=key_use if is_decline else None)


def _change_status(command: ChangeStatus, state: State, at: datetime) -> Decision:
    account = state.accounts.get(command.account)
    if account is None or (command.owner is not None and account.user != command.owner):
        raise AccountNotFound
    if account.kind is AccountKind.TREASURY:
        raise InvalidStatusTransition("A treasury is always ACTIVE.")
    by_owner = command.owner is not None
    if command.status not in TRANSITIONS[account.status] or (by_owner and account.status is AccountStatus.FROZEN):
        raise InvalidStatusTransition(f"The account is {account.status} and cannot become {command.status}.")
    if command.status is AccountStatus.CLOSED and (account.balance or state.has_open_holds(account.id, at)):
        raise AccountNotEmpty("The account still has money." if account.balance else "The account has open holds.")
    at = max(at, account.at)
    after, entry = append(
        replace(account, status=command.status), EntryType.STATUS, 0, at=at, description=command.status
    )
    change = Change(STATUS_ACTIONS[command.status], account.id, {"status": account.status}, {"status": after.status})
    return Decision(outcome=Outcome(account=after), entries=(entry,), accounts=(after,), act=command.act, change=change)


def _record(command: Transfer, payer: Account, payee: Account, at: datetime) -> Transaction:
    at = max(at, payer.at, payee.at)
    return Transaction(
        id=command.id,
        user=command.user,
        idempotency_key=command.idempotency_key,
        fingerprint=command.fingerprint,
        salt=command.salt,
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


def _move(transaction: Transaction, payer: Account, payee: Account) -> Decision:
    """Return the debit and the credit that carry out a transaction; raises BalanceLimitExceeded."""
    assert transaction.completed_at is not None
    at, amount = transaction.completed_at, transaction.amount
    if payee.balance + amount > BALANCE_MAX:
        raise BalanceLimitExceeded("The receiving account cannot hold that much.")
    if payer.balance - amount < -BALANCE_MAX:
        raise BalanceLimitExceeded(f"The treasury cannot issue that much {payer.currency}.")
    leg = partial(append, at=at, transaction=transaction, record_hash=transaction.record_hash())
    payer_after, debit = leg(payer, EntryType.DEBIT, amount, counterparty=payee.id)
    payee_after, credit = leg(payee, EntryType.CREDIT, amount, counterparty=payer.id)
    return Decision(
        outcome=Outcome(transaction),
        entries=(debit, credit),
        accounts=(payer_after, payee_after),
        inserted=transaction,
    )


def _release(voided: Transaction, payer: Account, at: datetime, reason: str | None) -> Decision:
    at, held = max(at, payer.at), voided.held_amount
    assert held is not None
    payer, entry = append(
        payer, EntryType.RELEASE, held, at=at, transaction=voided, counterparty=voided.to_account, description=reason
    )
    return Decision(outcome=Outcome(voided), entries=(entry,), accounts=(payer,), updated=voided)


def _declined(transaction: Transaction, decline: DomainError) -> Decision:
    failure = _failure(decline)
    failed = replace(transaction, status=TransactionStatus.FAILED, failure=failure, completed_at=None, expires_at=None)
    return Decision(outcome=Outcome(failed, failure.as_error(failed.id)), inserted=failed)


def _failure(error: DomainError | None) -> Failure:
    assert error is not None
    return Failure(error.code, error.detail)


def _parties(command: Transfer, state: State) -> tuple[Account, Account]:
    if command.from_account == command.to_account and command.kind is not TransactionKind.FUNDING:
        raise SameAccount("fromAccount and toAccount are the same account.")
    payer = state.accounts.get(command.from_account)
    payee = state.accounts.get(command.to_account)
    if payee is None or payee.kind is not AccountKind.CUSTOMER:
        raise AccountNotFound("toAccount does not exist.")
    if payer is None or not _may_pay(payer, command):
        raise AccountNotFound("fromAccount is not an account of yours.")
    if payer.currency != payee.currency:
        raise CurrencyMismatch(f"fromAccount is in {payer.currency}, toAccount in {payee.currency}.")
    return payer, payee


def _may_pay(payer: Account, command: Transfer) -> bool:
    if command.kind is TransactionKind.FUNDING:
        return payer.kind is AccountKind.TREASURY
    return payer.kind is AccountKind.CUSTOMER and payer.user == command.user


def _open_hold(command: Capture | Void, state: State, at: datetime) -> tuple[Transaction, Account, Account]:
    """Return a hold that the command's user may settle, with its payer and its payee."""
    hold = state.transactions.get(command.hold)
    if hold is None:
        raise TransactionNotFound
    payer, payee = state.accounts[hold.from_account], state.accounts[hold.to_account]
    if hold.status is TransactionStatus.FAILED and command.act is None and command.user != hold.user:
        # A declined hold is visible to its initiator alone.
        raise TransactionNotFound
    if command.act is None and command.user != payee.user:
        if command.user != payer.user:
            raise TransactionNotFound
        raise Forbidden("Only the payee or the bank settles a hold.")
    if hold.is_overdue(at) or hold.failure == HOLD_EXPIRED:
        raise HoldNotPending("The hold has expired.")
    if hold.status is not TransactionStatus.PENDING:
        raise HoldNotPending(f"This is a {hold.status} {hold.kind}.")
    # Version 1 recorded no salts. The payee's entry will show the record's hash, so it gets one now.
    return replace(hold, salt=hold.salt or command.salt), payer, payee


def _key_use(command: Keyed, kind: KeyUseKind, at: datetime, hold: Transaction | None = None) -> KeyUse:
    return KeyUse(
        id=command.id,
        user=command.user,
        idempotency_key=command.idempotency_key,
        fingerprint=command.fingerprint,
        kind=kind,
        created_at=at,
        transaction=hold.id if hold is not None else None,
    )


def _check_active(payer: Account, payee: Account, *, tells_payer: bool = True) -> None:
    if payer.status is not AccountStatus.ACTIVE:
        raise AccountNotActive(f"The paying account is {payer.status if tells_payer else 'not active'}.")
    if payee.status is not AccountStatus.ACTIVE:
        raise AccountNotActive("The receiving account is not active.")


def _check_funds(payer: Account, amount: int) -> None:
    if payer.kind is AccountKind.CUSTOMER and payer.available < amount:
        raise InsufficientFunds(
            f"{amount} minor units of {payer.currency} were asked for and {payer.available} are available."
        )
