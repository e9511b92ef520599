"""What readers see: every kind of letter, in text and in HTML."""

import html
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from app.mail.delivery import ATTEMPTS_MAX, backoff_s
from app.mail.letters import render
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
PAYLOADS: dict[MessageKind, dict[str, Any]] = {
    **dict.fromkeys(MessageKind, MONEY),
    MessageKind.ACCOUNT_OPENED: ACCOUNT,
    MessageKind.ACCOUNT_FROZEN: ACCOUNT,
    MessageKind.ACCOUNT_UNFROZEN: ACCOUNT,
    MessageKind.ACCOUNT_CLOSED: ACCOUNT,
    MessageKind.WELCOME: {"at": AT},
    MessageKind.PASSWORD_CHANGED: {"at": AT},
    MessageKind.PASSWORD_RESET: {"at": AT, "token": "t0ken", "expires_at": AT + timedelta(minutes=30)},
}
FORMS = [
    (kind, {**payload, "transaction_kind": transaction_kind, "is_payer": is_payer} if payload is MONEY else payload)
    for kind, payload in PAYLOADS.items()
    for transaction_kind in ("TRANSFER", "FUNDING", "REVERSAL", "HOLD")
    for is_payer in (True, False)
]


@pytest.mark.parametrize(("kind", "payload"), FORMS)
def test_every_letter_says_when_what_and_what_to_do_if_it_was_not_you(kind: MessageKind, payload: Any) -> None:
    letter = render(kind, payload, reader="Asha Rao")

    assert letter.subject
    assert "\n" not in letter.subject
    for part in (letter.text, html.unescape(letter.html)):
        assert letter.subject in part
        assert "Hello Asha Rao," in part
        assert "If this was not you" in part
        assert "22 November 2026, 16:00:05 UTC" in part
        for name in ("account", "transaction", "counterparty", "token"):
            assert str(payload.get(name, "")) in part
        assert payload is not MONEY or "₹500.00" in part
        assert "{{" not in part


@pytest.mark.parametrize("kind", [MessageKind.MONEY_SENT, MessageKind.MONEY_RECEIVED])
def test_text_of_users_can_not_become_markup(kind: MessageKind) -> None:
    payload = {**MONEY, "description": "<script>alert(1)</script><img src=x>"}

    letter = render(kind, payload, reader='"><a href="http://evil.example">Asha</a>')

    assert "<script" not in letter.html
    assert "<img" not in letter.html
    assert "<a " not in letter.html
    assert "<script>alert(1)</script>" in letter.text


def test_styles_are_where_mail_clients_look_for_them() -> None:
    page = render(MessageKind.MONEY_SENT, MONEY, reader="Asha").html

    assert '<h1 style="' in page
    assert "http" not in page, "A mail loads nothing from anywhere."


def test_a_decline_names_its_reason_without_minor_units() -> None:
    letter = render(MessageKind.TRANSFER_DECLINED, MONEY, reader="Asha")

    assert "Insufficient funds" in letter.text
    assert "minor units" not in letter.text


def test_retries_begin_within_ten_seconds_and_spread_over_hours() -> None:
    waits = [[backoff_s(attempts) for _ in range(50)] for attempts in range(1, ATTEMPTS_MAX)]

    assert all(0 < wait <= 10 for wait in waits[0])
    assert all(len(set(of_attempt)) > 1 for of_attempt in waits), "Jitter"
    assert all(max(earlier) < 2 * max(later) for earlier, later in itertools.pairwise(waits))
    assert 3_600 < min(waits[-1]) <= max(waits[-1]) <= 4 * 3_600
