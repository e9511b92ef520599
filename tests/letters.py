"""Payloads for every kind of letter, in every form that the kind has."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId

from app.outbox.messages import MessageKind

AT = datetime(2026, 11, 22, 16, 0, 5, tzinfo=UTC)
MONEY: dict[str, Any] = {
    "at": AT,
    "account": ObjectId(),
    "is_payer": True,
    "transaction": ObjectId(),
    "transaction_kind": "TRANSFER",
    "amount": 50_000,
    "held_amount": 60_000,
    "currency": "INR",
    "counterparty": ObjectId(),
    "description": "Rent",
    "balance": 123_400,
    "available": 120_000,
    "expires_at": AT + timedelta(days=7),
    "failure": {"code": "insufficient_funds", "detail": "50000 minor units"},
}
ACCOUNT = {"at": AT, "account": ObjectId(), "currency": "EUR", "name": "Savings"}
WEBHOOK = {"at": AT, "host": "shop.example"}
PAYLOADS: dict[MessageKind, dict[str, Any]] = {
    **dict.fromkeys(MessageKind, MONEY),
    MessageKind.ACCOUNT_OPENED: ACCOUNT,
    MessageKind.ACCOUNT_FROZEN: ACCOUNT,
    MessageKind.ACCOUNT_UNFROZEN: ACCOUNT,
    MessageKind.ACCOUNT_CLOSED: ACCOUNT,
    MessageKind.WELCOME: {"at": AT},
    MessageKind.PASSWORD_CHANGED: {"at": AT},
    MessageKind.WEBHOOK_DISABLED: WEBHOOK,
    MessageKind.PASSWORD_RESET: {"at": AT, "token": "t0ken", "expires_at": AT + timedelta(minutes=30)},
}


def _forms(kind: MessageKind, payload: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if payload is WEBHOOK:
        yield from ({**payload, "reason": reason} for reason in ("gone", "failing", "secret_lost"))
    elif payload is MONEY:
        for transaction_kind in ("TRANSFER", "FUNDING", "REVERSAL", "HOLD"):
            for is_payer in (True, False):
                yield {**payload, "transaction_kind": transaction_kind, "is_payer": is_payer}
        if kind in (MessageKind.MONEY_SENT, MessageKind.MONEY_RECEIVED):
            is_payer = kind is MessageKind.MONEY_SENT
            yield {**payload, "transaction_kind": "REVERSAL", "is_payer": is_payer, "reverses": ObjectId()}
        if kind is MessageKind.HOLD_CAPTURED:
            yield {**payload, "transaction_kind": "HOLD", "held_amount": payload["amount"]}
    else:
        yield payload


FORMS = [(kind, form) for kind, payload in PAYLOADS.items() for form in _forms(kind, payload)]
