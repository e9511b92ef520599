"""Statements: what happened on an account in a period, as one consistent whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bson import ObjectId

from app.accounts.service import readable_account
from app.errors import ValidationFailed
from app.ledger.records import EntryType
from app.mongo import Document
from app.statements import queries
from app.statements.queries import Span, at_or_after

PERIOD_MAX = timedelta(days=366)
_DAWN = datetime.min.replace(tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement without its entries, which `entries` reads.

    The span is fixed first and all else read from it. Its entries can not change and
    no other can get in between, so all parts agree however long the reading takes.
    """

    account: Document
    from_time: datetime
    to_time: datetime
    opening_balance: int
    total_credits: int
    total_debits: int
    closing_balance: int
    span: Span
    last_hash: bytes | None

    @property
    def first_sequence(self) -> int | None:
        return None if self.span.is_empty else self.span.first

    @property
    def title(self) -> str:
        return f"statement-{self.account['_id']}-{self.from_time:%Y-%m-%d}-{self.to_time:%Y-%m-%d}"

    @property
    def last_sequence(self) -> int | None:
        return None if self.span.is_empty else self.span.last

    def entries(self) -> Iterator[Document]:
        """Read the entries, oldest first."""
        return queries.read_span(self.account["_id"], self.span)


def draw_up(
    account_id: ObjectId, viewer: ObjectId, *, from_time: datetime | None = None, to_time: datetime | None = None
) -> Statement:
    """Return the statement of a period: by default the calendar month in UTC until now.

    A period that reaches into the future ends now. Raises AccountNotFound for an account
    that `viewer` may not read, ValidationFailed for a period that is none or is too long.
    """
    account = readable_account(account_id, viewer)
    head = queries.find_entry_before(account_id, None)
    # A clock elsewhere may be ahead of ours; what is in the journal has happened by now.
    now = at_or_after(datetime.now(UTC))
    if head is not None:
        now = max(now, head["created_at"] + _MILLISECOND)
    from_time, to_time = _period(from_time, to_time, now)
    span = queries.find_span(account_id, from_time, to_time)
    before = span.before
    last = before if span.is_empty else span.end
    totals = queries.sum_span(account_id, span)
    return Statement(
        account=account,
        from_time=from_time,
        to_time=to_time,
        opening_balance=before["balance"] if before else 0,
        total_credits=totals.get(EntryType.CREDIT, 0),
        total_debits=totals.get(EntryType.DEBIT, 0),
        closing_balance=last["balance"] if last else 0,
        span=span,
        last_hash=bytes(last["hash"]) if last else None,
    )


def _period(from_time: datetime | None, to_time: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    to_time = now if to_time is None else min(at_or_after(to_time), now)
    if from_time is None:
        # The month of the period's last moment, which is the one before `to`.
        last_moment = max(to_time - _DAWN, _MILLISECOND) - _MILLISECOND + _DAWN
        from_time = last_moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    from_time = at_or_after(from_time)
    if from_time > to_time:
        raise ValidationFailed(
            "The period ends before it begins.",
            errors={"from": [f"After the period's end, {to_time:%Y-%m-%d %H:%M:%S} UTC."]},
        )
    if to_time - from_time > PERIOD_MAX:
        raise ValidationFailed(
            f"A statement covers at most {PERIOD_MAX.days} days.",
            errors={"from": [f"More than {PERIOD_MAX.days} days before the period's end. Ask for shorter periods."]},
        )
    return from_time, to_time
