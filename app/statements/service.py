"""Statements: what happened on an account in a period, as one consistent whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bson import ObjectId

from app.accounts.service import readable_account
from app.clock import at_or_after
from app.errors import ValidationFailed
from app.ledger.records import EntryType
from app.mongo import Document
from app.statements import queries
from app.statements.queries import Span

PERIOD_MAX = timedelta(days=366)
# An entry has the time at which its block began, by the clock of the host that posted it, and is seen once the block is
# committed. A block that posts has 25 s at most (POST_TIMEOUT_MS), and the clocks of hosts are seconds apart at the
# very worst, so nothing joins a period any more whose end is this long past.
SETTLING = timedelta(seconds=60)
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
    from_time, to_time = _period(from_time, to_time, _now(account_id))
    return _of_span(account, from_time, to_time, queries.find_span(account_id, from_time, to_time))


def draw_up_again(
    account_id: ObjectId,
    viewer: ObjectId,
    *,
    from_time: datetime,
    to_time: datetime,
    last_sequence: int | None,
    last_hash: bytes | None,
) -> Statement:
    """Return the statement of a period as it was when its last entry was `last_sequence`, or, if it had none, when the
    account's newest entry was the one with `last_hash`.

    Entries may have joined the period since, so of the last `SETTLING` before its end those
    after that one are left out. An older entry never is. Raises as `draw_up` does.
    """
    account = readable_account(account_id, viewer)
    from_time, to_time = _period(from_time, to_time, _now(account_id))
    span = queries.find_span(account_id, from_time, to_time)
    settled = queries.find_entry_before(account_id, max(to_time - _DAWN, SETTLING) - SETTLING + _DAWN)
    settled_sequence = settled["sequence"] if settled else -1
    if last_sequence is None:
        newest = queries.find_sealed(account_id, range(settled_sequence, span.last + 1), last_hash)
        last_sequence = newest["sequence"] if newest else span.first - 1
    last_sequence = max(last_sequence, settled_sequence)
    if last_sequence < span.last:
        span = queries.cut_span(account_id, span, last_sequence)
    return _of_span(account, from_time, to_time, span)


def _of_span(account: Document, from_time: datetime, to_time: datetime, span: Span) -> Statement:
    last = span.before if span.is_empty else span.end
    totals = queries.sum_span(account["_id"], span)
    return Statement(
        account=account,
        from_time=from_time,
        to_time=to_time,
        opening_balance=span.before["balance"] if span.before else 0,
        total_credits=totals.get(EntryType.CREDIT, 0),
        total_debits=totals.get(EntryType.DEBIT, 0),
        closing_balance=last["balance"] if last else 0,
        span=span,
        last_hash=bytes(last["hash"]) if last else None,
    )


def _now(account_id: ObjectId) -> datetime:
    now = at_or_after(datetime.now(UTC))
    head = queries.find_entry_before(account_id, None)
    # A clock elsewhere may be ahead of ours; what is in the journal has happened by now.
    return max(now, head["created_at"] + _MILLISECOND) if head else now


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
