"""Decides what is news, and who gets which message about it. No I/O.

A block of the ledger writes its news, as ids. The messages are worked out from the ledger when
they are sent. A message names its reader by user id and has the facts that its mail shows. Of
the other party of a transaction it has only the account's id and number.
"""

import hashlib
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from bson import Int64, ObjectId

from app.clock import milliseconds
from app.ledger.records import (
    AccountKind,
    AccountStatus,
    Entry,
    EntryType,
    Identity,
    Transaction,
    TransactionKind,
    TransactionStatus,
)
from app.ledger.state import Decided, Decision

# Stands for no reader in `sides`.
NOBODY = 0xFFFF


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
    WEBHOOK_DISABLED = "webhook_disabled"


class SilentKind(StrEnum):
    """What a message without a mail is about. Only programs get it."""

    ACCOUNT_RENAMED = "account_renamed"
    PAYEE_ADDED = "payee_added"


class MessageState(StrEnum):
    """Whether a message waits, was sent, or was given up."""

    PENDING = "PENDING"
    SENT = "SENT"
    DEAD = "DEAD"


# Security mail: it goes first, in a letter of its own, and does not count towards its reader's letters.
URGENT = frozenset(
    {
        MessageKind.WELCOME,
        MessageKind.ACCOUNT_FROZEN,
        MessageKind.ACCOUNT_UNFROZEN,
        MessageKind.ACCOUNT_CLOSED,
        MessageKind.PASSWORD_CHANGED,
        MessageKind.PASSWORD_RESET,
        MessageKind.WEBHOOK_DISABLED,
    }
)


class Happening(StrEnum):
    """What happened to a transaction, or to an account."""

    MOVED = "moved"
    DECLINED = "declined"
    HOLD_PLACED = "hold_placed"
    HOLD_CAPTURED = "hold_captured"
    HOLD_VOIDED = "hold_voided"
    HOLD_EXPIRED = "hold_expired"
    ACCOUNT_FROZEN = "account_frozen"
    ACCOUNT_UNFROZEN = "account_unfrozen"
    ACCOUNT_CLOSED = "account_closed"


_EVENT_OF_STATUS = {
    AccountStatus.ACTIVE: Happening.ACCOUNT_UNFROZEN,
    AccountStatus.FROZEN: Happening.ACCOUNT_FROZEN,
    AccountStatus.CLOSED: Happening.ACCOUNT_CLOSED,
}
# The events about an account. All others are about a transaction.
OF_ACCOUNTS = frozenset(_EVENT_OF_STATUS.values())
# The kinds of message that the payer and the payee get.
_KINDS: dict[Happening, tuple[MessageKind, MessageKind | None]] = {
    Happening.MOVED: (MessageKind.MONEY_SENT, MessageKind.MONEY_RECEIVED),
    Happening.DECLINED: (MessageKind.TRANSFER_DECLINED, None),
    Happening.HOLD_PLACED: (MessageKind.HOLD_PLACED, MessageKind.HOLD_PLACED),
    Happening.HOLD_CAPTURED: (MessageKind.HOLD_CAPTURED, MessageKind.HOLD_CAPTURED),
    Happening.HOLD_VOIDED: (MessageKind.HOLD_VOIDED, MessageKind.HOLD_VOIDED),
    Happening.HOLD_EXPIRED: (MessageKind.HOLD_EXPIRED, MessageKind.HOLD_EXPIRED),
}
# The entries that an event leaves. Each account has at most one of them.
_ENTRIES: dict[Happening, frozenset[EntryType]] = {
    Happening.MOVED: frozenset({EntryType.DEBIT, EntryType.CREDIT}),
    Happening.DECLINED: frozenset(),
    Happening.HOLD_PLACED: frozenset({EntryType.HOLD}),
    Happening.HOLD_CAPTURED: frozenset({EntryType.DEBIT, EntryType.CREDIT}),
    Happening.HOLD_VOIDED: frozenset({EntryType.RELEASE}),
    Happening.HOLD_EXPIRED: frozenset({EntryType.RELEASE}),
}


@dataclass(frozen=True, slots=True)
class News:
    """One thing that happened to a transaction or an account, by its id. `at` is known only for an account."""

    event: Happening
    subject: ObjectId
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A message to be sent as mail. `payload` has the facts that its letter shows, and `at`, the time of the event.

    `kind` is a MessageKind or a SilentKind, unless a newer version wrote the message. `news` is the news from which it
    was worked out, if any.
    """

    kind: str
    user: ObjectId
    payload: Mapping[str, Any] = field(hash=False)
    news: News | None = None

    def identity(self) -> str:
        """Return the id of a message that was worked out from news. It is always the same."""
        payload = self.payload
        what = (self.kind, payload.get("transaction", ""), payload["account"], milliseconds(payload["at"]))
        return hashlib.sha256("/".join(map(str, what)).encode()).hexdigest()[:32]


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
        "number": account["number"],
        "name": account["name"],
        "currency": account["currency"],
    }
    return OutboxMessage(MessageKind.ACCOUNT_OPENED, account["user"], payload)


def account_renamed(account: Mapping[str, Any], at: datetime) -> OutboxMessage:
    """Return the message, without a mail, that the owner gave an account another name."""
    return OutboxMessage(SilentKind.ACCOUNT_RENAMED, account["user"], {"at": at, "account": account["_id"]})


def payee_added(payee: Mapping[str, Any], currency: str) -> OutboxMessage:
    """Return the message, without a mail, that a user saved a payee, given as its document."""
    payload = {"at": payee["created_at"], "payee": payee["_id"], "currency": currency}
    return OutboxMessage(SilentKind.PAYEE_ADDED, payee["user"], payload)


def webhook_disabled(user: ObjectId, *, host: str, reason: str, at: datetime) -> OutboxMessage:
    """Return the mail to the owner of a webhook that the bank has turned off. It is about no event."""
    return OutboxMessage(MessageKind.WEBHOOK_DISABLED, user, {"at": at, "host": host, "reason": reason})


def news_of(decisions: Iterable[Decision]) -> list[News]:
    """Return the news in these decisions, in order.

    There is none in decisions that write nothing, such as repeats and refusals without a record.
    """
    news = []
    for decision in decisions:
        account = decision.outcome.account
        if account is not None:
            news.append(News(_EVENT_OF_STATUS[account.status], account.id, account.at))
        # A reversal also updates the original, but the news is the reversal.
        transaction = decision.inserted or decision.updated
        if transaction is not None:
            news.append(News(_happening(transaction), transaction.id))
    return news


def readers_of(decided: Decided) -> tuple[list[ObjectId], bytes]:
    """Return the readers of a block's news, and for each piece of news which of them it is for.

    Each piece has two numbers of two bytes: the indexes, in the list of readers, of the owner of its payer (or of its
    account) and of its payee. NOBODY stands for the owner of a treasury and for one who is not told.
    """
    numbers: dict[ObjectId | None, int] = {None: NOBODY}
    sides = array("H")
    for decision in decided.decisions:
        account = decision.outcome.account
        if account is not None:
            sides.extend((numbers.setdefault(account.user, len(numbers) - 1), NOBODY))
        transaction = decision.inserted or decision.updated
        if transaction is not None:
            payer = decided.accounts[transaction.from_account].user
            payee = decided.accounts[transaction.to_account].user
            if transaction.status is TransactionStatus.FAILED:
                payee = None
            sides.append(numbers.setdefault(payer, len(numbers) - 1))
            sides.append(numbers.setdefault(payee, len(numbers) - 1))
    if sys.byteorder == "big":
        sides.byteswap()
    return [reader for reader in numbers if reader is not None], sides.tobytes()


def own_news(news: Sequence[News], reader_number: int, sides: bytes) -> Iterator[tuple[int, News]]:
    """Yield the pieces of a block's news for this reader, each with its number in the block."""
    whose = array("H", sides)
    if sys.byteorder == "big":
        whose.byteswap()
    for number, each in enumerate(news):
        if reader_number in (whose[2 * number], whose[2 * number + 1]):
            yield number, each


def _happening(transaction: Transaction) -> Happening:
    match transaction.kind, transaction.status:
        case _, TransactionStatus.FAILED:
            return Happening.DECLINED
        case TransactionKind.HOLD, TransactionStatus.PENDING:
            return Happening.HOLD_PLACED
        case TransactionKind.HOLD, TransactionStatus.COMPLETED:
            return Happening.HOLD_CAPTURED
        case TransactionKind.HOLD, _:
            return Happening.HOLD_EXPIRED if transaction.failure else Happening.HOLD_VOIDED
        case _:
            return Happening.MOVED


def about_account(news: News, identity: Identity) -> list[OutboxMessage]:
    """Return the message to the account's owner. Treasuries have none."""
    if identity.user is None:
        return []
    payload = {"at": news.at, "account": news.subject, "currency": identity.currency}
    if identity.number is not None:
        payload["number"] = identity.number
    return [OutboxMessage(MessageKind(news.event.value), identity.user, payload, news)]


def about_transaction(
    news: News, transaction: Transaction, entries: Sequence[Entry], parties: Mapping[ObjectId, Identity]
) -> list[OutboxMessage]:
    """Return the messages about a transaction as it was at the event, whatever happened to it since.

    `entries` are all of the transaction, and `parties` are its accounts. Treasuries get no message.
    """
    if news.event is Happening.HOLD_PLACED:
        transaction = transaction.as_first_answered()
    own = {entry.account: entry for entry in entries if entry.type in _ENTRIES[news.event]}
    at = next(iter(own.values())).created_at if own else transaction.created_at
    payer, payee = transaction.from_account, transaction.to_account
    messages = []
    for kind, account, other in zip(_KINDS[news.event], (payer, payee), (payee, payer), strict=True):
        user = parties[account].user
        if kind is not None and user is not None:
            counterparty = other if parties[other].kind is AccountKind.CUSTOMER else None
            numbers = (parties[account].number, None if counterparty is None else parties[other].number)
            facts = _facts(transaction, at, account, counterparty, numbers, own.get(account))
            messages.append(OutboxMessage(kind, user, facts, news))
    return messages


def _facts(
    transaction: Transaction,
    at: datetime,
    account: ObjectId,
    counterparty: ObjectId | None,
    numbers: tuple[str | None, str | None],
    own: Entry | None,
) -> dict[str, Any]:
    """Return the facts for the owner of `account`, with the balance that the event left there.

    `numbers` are those of the account and of the counterparty.
    """
    failure = transaction.failure
    facts: dict[str, Any] = {
        "at": at,
        "account": account,
        "is_payer": account == transaction.from_account,
        "transaction": transaction.id,
        "transaction_kind": transaction.kind.value,
        "reverses": transaction.reverses,
        "amount": Int64(transaction.amount),
        "held_amount": None if transaction.held_amount is None else Int64(transaction.held_amount),
        "currency": transaction.currency,
        "counterparty": counterparty,
        "number": numbers[0],
        "counterparty_number": numbers[1],
        "description": transaction.description,
        "expires_at": transaction.expires_at,
        "balance": None if own is None else Int64(own.balance),
        "available": None if own is None else Int64(own.balance - own.held),
        "failure": {"code": failure.code, "detail": failure.detail} if failure else None,
    }
    return {name: value for name, value in facts.items() if value is not None}
