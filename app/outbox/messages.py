"""Decides who gets which message about what happened. No I/O.

A message names its reader by user id and carries the facts that its mail shows. About the
other party of a transaction it carries the account's id and nothing else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from bson import Int64, ObjectId

from app.ledger.records import Account, AccountKind, AccountStatus, Transaction, TransactionKind, TransactionStatus
from app.ledger.state import Decision


class MessageKind(StrEnum):
    """What a mail is about. Each kind has a template of its name."""

    WELCOME = "welcome"
    MONEY_SENT = "money_sent"
    MONEY_RECEIVED = "money_received"
    TRANSFER_DECLINED = "transfer_declined"
    ACCOUNT_OPENED = "account_opened"
    ACCOUNT_FROZEN = "account_frozen"
    ACCOUNT_UNFROZEN = "account_unfrozen"
    ACCOUNT_CLOSED = "account_closed"
    HOLD_PLACED = "hold_placed"
    HOLD_CAPTURED = "hold_captured"
    HOLD_VOIDED = "hold_voided"
    HOLD_EXPIRED = "hold_expired"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 -- the name of a kind
    PASSWORD_RESET = "password_reset"  # noqa: S105 -- the name of a kind


# Security mail: it goes first, in a letter of its own, and does not count towards its reader's daily letters.
URGENT = frozenset({MessageKind.WELCOME, MessageKind.PASSWORD_CHANGED, MessageKind.PASSWORD_RESET})

_KIND_OF_STATUS = {
    AccountStatus.ACTIVE: MessageKind.ACCOUNT_UNFROZEN,
    AccountStatus.FROZEN: MessageKind.ACCOUNT_FROZEN,
    AccountStatus.CLOSED: MessageKind.ACCOUNT_CLOSED,
}


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message to be sent as mail. `payload` holds the facts that its template shows, and `at`, when it happened."""

    kind: MessageKind
    user: ObjectId
    payload: Mapping[str, Any] = field(hash=False)


def welcome(user: Mapping[str, Any]) -> OutboxMessage:
    """Return the mail to a user who has just registered."""
    return OutboxMessage(MessageKind.WELCOME, user["_id"], {"at": user["created_at"]})


def password_changed(user: Mapping[str, Any], at: datetime) -> OutboxMessage:
    """Return the mail to a user whose password was changed, by the user or through a reset."""
    return OutboxMessage(MessageKind.PASSWORD_CHANGED, user["_id"], {"at": at})


def password_reset(user: Mapping[str, Any], seed: str, *, at: datetime, expires_at: datetime) -> OutboxMessage:
    """Return the mail that brings a reset token to its user. It is not sent after `expires_at`.

    The outbox holds only the token's seed, and only until the mail is sent or given up.
    """
    return OutboxMessage(MessageKind.PASSWORD_RESET, user["_id"], {"at": at, "token": seed, "expires_at": expires_at})


def account_opened(account: Mapping[str, Any]) -> OutboxMessage:
    """Return the mail to the owner of a new account, given as its document."""
    payload = {
        "at": account["created_at"],
        "account": account["_id"],
        "name": account["name"],
        "currency": account["currency"],
    }
    return OutboxMessage(MessageKind.ACCOUNT_OPENED, account["user"], payload)


def for_decisions(decisions: Iterable[Decision], accounts: Mapping[ObjectId, Account]) -> list[OutboxMessage]:
    """Return the messages about these decisions, which are about to be written.

    `accounts` holds the parties. Treasuries get no mail. Decisions that write nothing, such
    as repeats and refusals without a record, make no message.
    """
    return [message for decision in decisions for message in _for_decision(decision, accounts)]


def _for_decision(decision: Decision, accounts: Mapping[ObjectId, Account]) -> Iterable[OutboxMessage]:
    account = decision.outcome.account
    if account is not None and account.user is not None:
        yield OutboxMessage(
            _KIND_OF_STATUS[account.status],
            account.user,
            {"at": account.at, "account": account.id, "currency": account.currency},
        )
    # A reversal also updates the original, but the mail is about the reversal.
    transaction = decision.inserted or decision.updated
    if transaction is None:
        return
    payer, payee = accounts[transaction.from_account], accounts[transaction.to_account]
    for_payer, for_payee = _kinds(transaction)
    yield from _tell(for_payer, payer, payee, transaction, decision)
    if for_payee is not None:
        yield from _tell(for_payee, payee, payer, transaction, decision)


def _kinds(transaction: Transaction) -> tuple[MessageKind, MessageKind | None]:
    """Return the kinds of message that the payer and the payee get about a transaction's new status."""
    match transaction.kind, transaction.status:
        case _, TransactionStatus.FAILED:
            return MessageKind.TRANSFER_DECLINED, None
        case TransactionKind.HOLD, TransactionStatus.PENDING:
            kind = MessageKind.HOLD_PLACED
        case TransactionKind.HOLD, TransactionStatus.COMPLETED:
            kind = MessageKind.HOLD_CAPTURED
        case TransactionKind.HOLD, _:
            kind = MessageKind.HOLD_EXPIRED if transaction.failure else MessageKind.HOLD_VOIDED
        case _:
            return MessageKind.MONEY_SENT, MessageKind.MONEY_RECEIVED
    return kind, kind


def _tell(
    kind: MessageKind, reader: Account, other: Account, transaction: Transaction, decision: Decision
) -> Iterable[OutboxMessage]:
    """Yield the message to the owner of the account `reader`, with the balance that the transaction left there."""
    if reader.user is None:
        return
    own = next((entry for entry in reversed(decision.entries) if entry.account == reader.id), None)
    failure = transaction.failure
    facts: dict[str, Any] = {
        "at": decision.entries[0].created_at if decision.entries else transaction.created_at,
        "account": reader.id,
        "is_payer": reader.id == transaction.from_account,
        "transaction": transaction.id,
        "transaction_kind": transaction.kind.value,
        "reverses": transaction.reverses,
        "amount": Int64(transaction.amount),
        "held_amount": None if transaction.held_amount is None else Int64(transaction.held_amount),
        "currency": transaction.currency,
        "counterparty": other.id if other.kind is AccountKind.CUSTOMER else None,
        "description": transaction.description,
        "expires_at": transaction.expires_at,
        "balance": None if own is None else Int64(own.balance),
        "available": None if own is None else Int64(own.balance - own.held),
        "failure": {"code": failure.code, "detail": failure.detail} if failure else None,
    }
    yield OutboxMessage(kind, reader.user, {name: value for name, value in facts.items() if value is not None})
