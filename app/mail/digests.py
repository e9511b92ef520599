"""Digests: one letter about many outbox messages to one reader, with a row for each transaction. Rendering only."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from html import escape
from typing import Any

from bson import ObjectId

from app.auth.languages import Language
from app.mail import letters, links
from app.mail.catalogues import Catalogue, catalogue
from app.mail.choices import type_of
from app.mail.letters import Content, Fact, fill, inert, other_account, own_account, reason_of
from app.mail.mime import Letter
from app.outbox.events import EventType
from app.outbox.messages import MessageKind, OutboxMessage

ROWS_MAX = 500
# Gmail cuts a letter whose HTML is longer than 102 kB. This leaves 22 kB for everything but the rows. Outside the Latin
# script a character takes two or three bytes.
ROWS_BYTES_MAX = 80_000
ROW_MARKUP_BYTES = 70
BALANCES_MAX = 10
WORDS_LENGTH_MAX = 60

_MOVED = {MessageKind.MONEY_SENT, MessageKind.MONEY_RECEIVED}
_STEPS = {
    MessageKind.TRANSFER_DECLINED,
    MessageKind.HOLD_PLACED,
    MessageKind.HOLD_CAPTURED,
    MessageKind.HOLD_VOIDED,
    MessageKind.HOLD_EXPIRED,
}
_STATUSES = {
    MessageKind.ACCOUNT_OPENED,
    MessageKind.ACCOUNT_FROZEN,
    MessageKind.ACCOUNT_UNFROZEN,
    MessageKind.ACCOUNT_CLOSED,
}
# The kinds that a digest can show. Every kind that may share a letter must be here.
KINDS = _MOVED | _STEPS | _STATUSES
# The order of kinds in a digest that its reader chose.
_ORDER = list(EventType)
_OUT = {MessageKind.MONEY_SENT, MessageKind.HOLD_CAPTURED}
_IN = {MessageKind.MONEY_RECEIVED, MessageKind.HOLD_CAPTURED}


class Occasion(StrEnum):
    """Why several messages are in one letter, as the catalogues name it."""

    TOGETHER = "together"
    DEFERRED = "deferred"  # the reader had had the most letters that one gets
    CHOSEN = "chosen"  # the reader wants a digest


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: what happened and with whom, details below it, and the amount with its sign.

    `key` is the same for both sides of one event, so that a payment to oneself makes one row. `flow` is +1 or −1 if
    money moved, and `units` is the amount in minor units of `currency`.
    """

    key: tuple[object, ...]
    what: str
    details: tuple[str, ...]
    amount: str
    at: datetime
    other: str = ""
    flow: int = 0
    units: int = 0
    currency: str = ""
    transaction: ObjectId | None = None


def render(
    messages: Sequence[OutboxMessage],
    *,
    reader: str,
    language: Language = Language.ENGLISH,
    occasion: Occasion = Occasion.TOGETHER,
    public_url: str | None = None,
    off_url: str | None = None,
) -> Letter:
    """Return one letter about the messages, all to one reader, the oldest first.

    If the reader chose a digest, those of one kind come together. `public_url` is where browsers reach the bank,
    `off_url` where the reader turns letters of all these kinds off.
    """
    texts = catalogue(language)
    if occasion is Occasion.CHOSEN:
        messages = sorted(messages, key=lambda message: message.payload["at"])
    balances = list(_balances(messages, texts))
    if occasion is Occasion.CHOSEN:
        messages = sorted(messages, key=_place_of_kind)
    rows = _merged((row_of(message.kind, message.payload, texts) for message in messages), texts)
    moments = [row.at for row in rows]
    is_one_moment = min(moments) == max(moments)
    shown = _fitting(row if is_one_moment else _with_time(row, texts) for row in rows[:ROWS_MAX])
    left_out = len(rows) - len(shown)
    things = "transactions" if all(row.transaction for row in rows) else "events"
    content = Content(
        subject=texts.counted(f"digest.subject.{things}", len(rows)),
        story=texts.text(f"digest.story.{occasion}"),
        advice=texts.text("digest.advice"),
        facts=[*_sums(rows, texts), *balances, *_period(moments, texts)],
        link=links.home(texts, public_url=public_url),
        rows=shown,
        left_out=texts.counted("digest.left_out", left_out) if left_out else None,
    )
    return fill(texts, content, reader=reader, off_url=off_url)


def row_of(kind: str, payload: Mapping[str, Any], texts: Catalogue) -> Row:
    """Return the row of a message; raises KeyError for a message that this version does not know."""
    if kind in _STATUSES:
        what = texts.text(f"digest.row.{kind}", account=own_account(payload))
        return Row((kind, payload["account"], payload["at"]), what, (), "", payload["at"])
    is_payer, other = payload["is_payer"], other_account(payload)
    flow = -1 if is_payer and kind in _OUT else 1 if not is_payer and kind in _IN else 0
    sign = {-1: "−", 0: "", 1: "+"}[flow]
    return Row(
        key=("moved" if kind in _MOVED else kind, payload["transaction"]),
        what=texts.text(f"digest.row.{_form_of(kind, payload)}", other=other),
        details=tuple(_details(payload, texts)),
        amount=sign + texts.amount(payload["amount"], payload["currency"]),
        at=payload["at"],
        other=other,
        flow=flow,
        units=payload["amount"],
        currency=payload["currency"],
        transaction=payload["transaction"],
    )


def _place_of_kind(message: OutboxMessage) -> int:
    type_ = type_of(message)
    return len(_ORDER) if type_ is None else _ORDER.index(type_)


def _form_of(kind: str, payload: Mapping[str, Any]) -> str:
    if kind in _MOVED:
        return letters.form_of(MessageKind.MONEY_SENT if payload["is_payer"] else MessageKind.MONEY_RECEIVED, payload)
    return f"{kind}.{'payer' if payload['is_payer'] else 'payee'}"


def _details(payload: Mapping[str, Any], texts: Catalogue) -> Iterable[str]:
    if payload.get("description"):
        words = payload["description"]
        yield inert(words if len(words) <= WORDS_LENGTH_MAX else words[: WORDS_LENGTH_MAX - 1] + "…")
    if "failure" in payload:
        yield reason_of(payload["failure"], texts)
    yield texts.text("digest.transaction", transaction=payload["transaction"])


def _merged(rows: Iterable[Row], texts: Catalogue) -> list[Row]:
    merged: dict[tuple[object, ...], Row] = {}
    for row in rows:
        other_side = merged.get(row.key)
        if other_side is None:
            merged[row.key] = row
        else:
            # The reader owns both accounts.
            amount, what = texts.amount(row.units, row.currency), other_side.what
            if row.key[0] == "moved":
                payee = (row if row.flow < 0 else other_side).other
                what = texts.text("digest.row.between", other=payee)
            merged[row.key] = replace(other_side, what=what, amount=amount, flow=0)
    return list(merged.values())


def _sums(rows: Sequence[Row], texts: Catalogue) -> Iterable[Fact]:
    for label, flow in (("sent", -1), ("received", 1)):
        currencies = dict.fromkeys(row.currency for row in rows if row.flow == flow)
        for currency in currencies:
            parts = [row.units for row in rows if row.flow == flow and row.currency == currency]
            total = texts.counted("digest.total", len(parts), amount=texts.amount(sum(parts), currency))
            yield Fact(texts.label(label), total, is_main=True)


def _balances(messages: Sequence[OutboxMessage], texts: Catalogue) -> Iterable[Fact]:
    """Yield the balance of each account after its last message, for the first few accounts."""
    last: dict[ObjectId, Mapping[str, Any]] = {}
    for message in messages:
        if "balance" in message.payload:
            last[message.payload["account"]] = message.payload
    for payload in list(last.values())[:BALANCES_MAX]:
        balance = texts.amount(payload["balance"], payload["currency"])
        yield Fact(texts.label("balance"), texts.text("digest.balance", balance=balance, account=own_account(payload)))


def _fitting(rows: Iterable[Row]) -> list[Row]:
    """Return as many of the rows as fit into a letter."""
    shown: list[Row] = []
    left = ROWS_BYTES_MAX
    for row in rows:
        left -= ROW_MARKUP_BYTES + sum(len(escape(part).encode()) for part in (row.what, row.amount, *row.details))
        if left < 0:
            break
        shown.append(row)
    return shown


def _period(moments: Sequence[datetime], texts: Catalogue) -> Iterable[Fact]:
    first, last = min(moments), max(moments)
    if first == last:
        yield Fact(texts.label("time"), texts.time(first))
    else:
        yield Fact(texts.label("from_time"), texts.time(first))
        yield Fact(texts.label("to_time"), texts.time(last))


def _with_time(row: Row, texts: Catalogue) -> Row:
    return replace(row, details=(*row.details, texts.time(row.at)))
