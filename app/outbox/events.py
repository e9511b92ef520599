"""The events that programs get, made from outbox messages. No I/O.

Each message makes one event, except that a reversal also makes one for the transaction that it
reverses. An event is thin: ids, an amount and a time, and nothing of the other party.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from app.ledger.records import TransactionKind
from app.outbox.messages import MessageKind, OutboxMessage, SilentKind

# Like all ids of the API.
_ID_LENGTH = 24


class EventType(StrEnum):
    MONEY_SENT = "money.sent"
    MONEY_RECEIVED = "money.received"
    TRANSFER_DECLINED = "transfer.declined"
    HOLD_PLACED = "hold.placed"
    HOLD_CAPTURED = "hold.captured"
    HOLD_VOIDED = "hold.voided"
    HOLD_EXPIRED = "hold.expired"
    TRANSACTION_REVERSED = "transaction.reversed"
    ACCOUNT_OPENED = "account.opened"
    ACCOUNT_RENAMED = "account.renamed"
    ACCOUNT_FROZEN = "account.frozen"
    ACCOUNT_UNFROZEN = "account.unfrozen"
    ACCOUNT_CLOSED = "account.closed"
    PAYEE_ADDED = "payee.added"
    USER_WELCOME = "user.welcome"
    USER_PASSWORD_CHANGED = "user.password_changed"  # noqa: S105 -- the name of a type
    USER_PASSWORD_RESET = "user.password_reset"  # noqa: S105 -- the name of a type


TYPE_OF_KIND: dict[str, EventType] = {
    MessageKind.WELCOME: EventType.USER_WELCOME,
    MessageKind.MONEY_SENT: EventType.MONEY_SENT,
    MessageKind.MONEY_RECEIVED: EventType.MONEY_RECEIVED,
    MessageKind.TRANSFER_DECLINED: EventType.TRANSFER_DECLINED,
    MessageKind.ACCOUNT_OPENED: EventType.ACCOUNT_OPENED,
    MessageKind.ACCOUNT_FROZEN: EventType.ACCOUNT_FROZEN,
    MessageKind.ACCOUNT_UNFROZEN: EventType.ACCOUNT_UNFROZEN,
    MessageKind.ACCOUNT_CLOSED: EventType.ACCOUNT_CLOSED,
    MessageKind.HOLD_PLACED: EventType.HOLD_PLACED,
    MessageKind.HOLD_CAPTURED: EventType.HOLD_CAPTURED,
    MessageKind.HOLD_VOIDED: EventType.HOLD_VOIDED,
    MessageKind.HOLD_EXPIRED: EventType.HOLD_EXPIRED,
    MessageKind.PASSWORD_CHANGED: EventType.USER_PASSWORD_CHANGED,
    MessageKind.PASSWORD_RESET: EventType.USER_PASSWORD_RESET,
    SilentKind.ACCOUNT_RENAMED: EventType.ACCOUNT_RENAMED,
    SilentKind.PAYEE_ADDED: EventType.PAYEE_ADDED,
}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a user's programs are told. Its id is always the same. `data` has the members of the answer."""

    id: str
    type: EventType
    created_at: datetime
    data: Mapping[str, Any]


# An event's members, and where a message's payload has them.
_MEMBERS = (
    ("account_id", "account"),
    ("transaction_id", "transaction"),
    ("payee_id", "payee"),
    ("amount", "amount"),
    ("held_amount", "held_amount"),
    ("currency", "currency"),
)
_MOVED = frozenset({EventType.MONEY_SENT, EventType.MONEY_RECEIVED})


def events_of(told: Iterable[OutboxMessage], *, source: str) -> list[Event]:
    """Return the events that these messages stand for, in order.

    `source` names what the messages were worked out from: the same source always makes the same ids.
    """
    made = [made for message in told for made in _made_of(message)]
    return [
        Event(hashlib.sha256(f"{source}/{number}".encode()).hexdigest()[:_ID_LENGTH], type_, at, data)
        for number, (type_, at, data) in enumerate(made)
    ]


def _made_of(message: OutboxMessage) -> Iterator[tuple[EventType, datetime, Mapping[str, Any]]]:
    type_ = TYPE_OF_KIND.get(message.kind)
    if type_ is None:
        # A newer version wrote it.
        return
    payload = message.payload
    data = {name: payload[member] for name, member in _MEMBERS if member in payload}
    if "failure" in payload:
        data["failure_code"] = payload["failure"]["code"]
    yield type_, payload["at"], data
    # A declined reversal reversed nothing.
    if type_ in _MOVED and payload.get("transaction_kind") == TransactionKind.REVERSAL:
        about = {**data, "transaction_id": payload["reverses"], "reversed_by": payload["transaction"]}
        yield EventType.TRANSACTION_REVERSED, payload["at"], about
