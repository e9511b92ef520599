"""Digests: one letter about many outbox messages to one reader, with a row for each transaction. Rendering only."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bson import ObjectId

from app.mail import links
from app.mail.choices import type_of
from app.mail.letters import Fact, Letter, fill, inert, other_account, own_account, reason_of, time_of
from app.money import format_amount
from app.outbox.events import EventType
from app.outbox.messages import MessageKind, OutboxMessage

ROWS_MAX = 500
BALANCES_MAX = 10
WORDS_LENGTH_MAX = 60

# What happened, in words for the payer and for the payee. The other party's name follows.
_MOVEMENTS: dict[str, tuple[str, str]] = {
    MessageKind.HOLD_PLACED: ("On hold for", "Held for you by"),
    MessageKind.HOLD_CAPTURED: ("Paid out of a hold to", "Received out of a hold from"),
    MessageKind.HOLD_VOIDED: ("Hold released for", "Hold for you released by"),
    MessageKind.HOLD_EXPIRED: ("Hold expired for", "Hold for you expired, by"),
    MessageKind.TRANSFER_DECLINED: ("Declined, to", "Declined, from"),
}
_SENT = {"REVERSAL": "Reversed, back to"}
_RECEIVED = {"REVERSAL": "Came back from", "FUNDING": "Initial funds from"}
_ACCOUNTS: dict[str, str] = {
    MessageKind.ACCOUNT_OPENED: "Account opened:",
    MessageKind.ACCOUNT_FROZEN: "Account frozen:",
    MessageKind.ACCOUNT_UNFROZEN: "Account active again:",
    MessageKind.ACCOUNT_CLOSED: "Account closed:",
}
_MOVED = {MessageKind.MONEY_SENT, MessageKind.MONEY_RECEIVED}
_OUT = {MessageKind.MONEY_SENT, MessageKind.HOLD_CAPTURED}
_IN = {MessageKind.MONEY_RECEIVED, MessageKind.HOLD_CAPTURED}
# In which order a digest has its kinds.
_ORDER = list(EventType)
# The kinds that a digest can show. Every kind that may share a letter must be here.
KINDS = {*_MOVEMENTS, *_ACCOUNTS, *_MOVED}


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: what happened, with whom, details below it, and the amount with its sign.

    `key` is the same for both sides of one event, so that a payment to oneself makes one row. `flow` is +1 or −1 if
    money moved, and `units` is the amount in minor units of `currency`.
    """

    key: tuple[object, ...]
    what: str
    other: str
    details: tuple[str, ...]
    amount: str
    at: datetime
    flow: int = 0
    units: int = 0
    currency: str = ""
    transaction: ObjectId | None = None


def render(
    messages: Sequence[OutboxMessage],
    *,
    reader: str,
    deferred: bool = False,
    chosen: bool = False,
    public_url: str | None = None,
) -> Letter:
    """Return one letter about the messages, all to one reader, the oldest first.

    `deferred`: they exceeded the reader's letters. `chosen`: the reader wants them together; then those of one kind
    come together, the oldest first. `public_url` is where browsers reach the bank.
    """
    if chosen:
        messages = sorted(messages, key=lambda message: message.payload["at"])
    balances = list(_balances(messages))
    if chosen:
        messages = sorted(messages, key=_place_of_kind)
    rows = _merged(row_of(message.kind, message.payload) for message in messages)
    moments = [row.at for row in rows]
    is_one_moment = min(moments) == max(moments)
    shown = [row if is_one_moment else _with_time(row) for row in rows[:ROWS_MAX]]
    noun = "transactions" if all(row.transaction for row in rows) else "events"
    return fill(
        "digest.j2",
        {
            "title": f"{len(rows)} {noun if len(rows) > 1 else noun[:-1]} on your accounts",
            "deferred": deferred,
            "chosen": chosen,
            "facts": [*_sums(rows), *balances, *_period(moments)],
            "rows": shown,
            "left_out": len(rows) - len(shown),
        },
        reader=reader,
        link=links.home(public_url),
    )


def row_of(kind: str, payload: Mapping[str, Any]) -> Row:
    """Return the row of a message; raises KeyError for a message that this version does not know."""
    if kind in _ACCOUNTS:
        key = (kind, payload["account"], payload["at"])
        return Row(key, _ACCOUNTS[kind], own_account(payload), (), "", payload["at"])
    is_payer = payload["is_payer"]
    if kind in _MOVED:
        what = _SENT.get(payload["transaction_kind"], "Sent to") if is_payer else ""
        what = what or _RECEIVED.get(payload["transaction_kind"], "Received from")
    else:
        what = _MOVEMENTS[kind][0 if is_payer else 1]
    flow = -1 if is_payer and kind in _OUT else 1 if not is_payer and kind in _IN else 0
    sign = {-1: "−", 0: "", 1: "+"}[flow]
    return Row(
        key=("moved" if kind in _MOVED else kind, payload["transaction"]),
        what=what,
        other=other_account(payload),
        details=tuple(_details(payload)),
        amount=sign + format_amount(payload["amount"], payload["currency"]),
        at=payload["at"],
        flow=flow,
        units=payload["amount"],
        currency=payload["currency"],
        transaction=payload["transaction"],
    )


def _place_of_kind(message: OutboxMessage) -> int:
    type_ = type_of(message)
    return len(_ORDER) if type_ is None else _ORDER.index(type_)


def _details(payload: Mapping[str, Any]) -> Iterable[str]:
    if payload.get("description"):
        words = payload["description"]
        yield inert(words if len(words) <= WORDS_LENGTH_MAX else words[: WORDS_LENGTH_MAX - 1] + "…")
    if "failure" in payload:
        yield reason_of(payload["failure"])
    yield f"Transaction {payload['transaction']}"


def _merged(rows: Iterable[Row]) -> list[Row]:
    merged: dict[tuple[object, ...], Row] = {}
    for row in rows:
        other_side = merged.get(row.key)
        if other_side is None:
            merged[row.key] = row
        else:
            # The reader owns both accounts.
            amount = format_amount(row.units, row.currency)
            what, other = "Between your accounts, to", (row if row.flow < 0 else other_side).other
            if row.key[0] != "moved":
                what, other = other_side.what, other_side.other
            merged[row.key] = replace(other_side, what=what, other=other, amount=amount, flow=0)
    return list(merged.values())


def _sums(rows: Sequence[Row]) -> Iterable[Fact]:
    for label, flow in (("Sent", -1), ("Received", 1)):
        currencies = dict.fromkeys(row.currency for row in rows if row.flow == flow)
        for currency in currencies:
            parts = [row.units for row in rows if row.flow == flow and row.currency == currency]
            noun = "payments" if len(parts) > 1 else "payment"
            yield Fact(label, f"{format_amount(sum(parts), currency)} in {len(parts)} {noun}", is_main=True)


def _balances(messages: Sequence[OutboxMessage]) -> Iterable[Fact]:
    """Yield the balance of each account after its last message, for the first few accounts."""
    last: dict[ObjectId, Mapping[str, Any]] = {}
    for message in messages:
        if "balance" in message.payload:
            last[message.payload["account"]] = message.payload
    for payload in list(last.values())[:BALANCES_MAX]:
        yield Fact("Balance", f"{format_amount(payload['balance'], payload['currency'])} on {own_account(payload)}")


def _period(moments: Sequence[datetime]) -> Iterable[Fact]:
    first, last = min(moments), max(moments)
    if first == last:
        yield Fact("Time", time_of(first))
    else:
        yield Fact("From", time_of(first))
        yield Fact("To", time_of(last))


def _with_time(row: Row) -> Row:
    return replace(row, details=(*row.details, time_of(row.at)))
