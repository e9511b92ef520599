"""Draws up statements: the entries of an account in a period, with sums and balances that agree with them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from bson import ObjectId

from app import clock, ledger
from app.accounts.service import readable_account
from app.clock import LEEWAY, MILLISECOND, SETTLING, at_or_after, whole_milliseconds
from app.errors import ValidationFailed
from app.ledger.records import EntryType
from app.mongo import Document
from app.statements import queries
from app.statements.queries import Span

PERIOD_MAX = timedelta(days=366)
# The same limit as for a PDF. A request body of 4 MiB holds about 8,000 entries.
VERIFIED_ENTRIES_MAX = 100_000
HISTORY_DEFAULT = timedelta(days=30)
TOLD_AT_ONCE = 1_000
NUMBERS_KEPT_MAX = 10_000
_DAWN = datetime.min.replace(tzinfo=UTC)


def never_pause() -> None:
    """Do nothing. It stands for a pause where nobody is kept waiting."""


def named(account: Document) -> str:
    """Return an account's name for people: its number, or its id as long as it has no number."""
    return str(account.get("number") or account["_id"])


@dataclass(frozen=True, slots=True)
class Period:
    """The part of an account's journal that a statement covers. `draw_up` reads all of its entries."""

    account: Document
    from_time: datetime
    to_time: datetime
    span: Span

    @property
    def title(self) -> str:
        return f"statement-{named(self.account)}-{self.from_time:%Y-%m-%d}-{self.to_time:%Y-%m-%d}"


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement without its entries, which `entries` reads.

    The span is fixed first, and everything else is read from it. Its entries cannot change, and
    none can be added in between. So all parts agree, however long the reading takes.
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
    # Called between reads, so that other work can go first.
    pause: Callable[[], None] = never_pause

    @property
    def first_sequence(self) -> int | None:
        return None if self.span.is_empty else self.span.first

    @property
    def last_sequence(self) -> int | None:
        return None if self.span.is_empty else self.span.last

    def entries(self) -> Iterator[Document]:
        """Read the entries, oldest first."""
        return queries.read_span(self.account["_id"], self.span, self.pause)

    def told_entries(self) -> Iterator[Document]:
        """Read the entries for people, oldest first: the other account is named by its number, if it has one."""
        known: dict[ObjectId, str] = {}
        entries = self.entries()
        while some := list(islice(entries, TOLD_AT_ONCE)):
            others = {entry["counterparty"] for entry in some} - known.keys() - {None}
            if len(known) > NUMBERS_KEPT_MAX:
                known, others = {}, {entry["counterparty"] for entry in some} - {None}
            known |= ledger.numbers_of(others) if others else {}
            for entry in some:
                yield {**entry, "counterparty": known.get(entry["counterparty"], entry["counterparty"])}

    def sealed_entries(self) -> Iterator[tuple[Document, bool]]:
        """Read the entries, oldest first, each with whether its hash is right and continues the chain."""
        return queries.read_sealed_span(self.account["_id"], self.span, self.pause)


def find_period(
    account_id: ObjectId, viewer: ObjectId, *, from_time: datetime | None = None, to_time: datetime | None = None
) -> Period:
    """Return the period of a statement; by default the current calendar month in UTC, until now.

    A period that reaches into the future ends now. Raises AccountNotFound for an account that
    `viewer` may not read, and ValidationFailed for a period that ends before it starts or is too long.
    """
    account = readable_account(account_id, viewer)
    from_time, to_time = _period(from_time, to_time, _now(account_id))
    return Period(account, from_time, to_time, queries.find_span(account_id, from_time, to_time))


def find_period_again(
    account_id: ObjectId,
    viewer: ObjectId,
    *,
    from_time: datetime,
    to_time: datetime,
    last_sequence: int | None,
    last_hash: bytes | None,
) -> tuple[Period, range]:
    """Return a period as it was when a statement of it was drawn up, and the sequences of entries that joined it later.

    `last_sequence` is that of the statement's last entry. If the statement has no entries, it is None, and `last_hash`
    is the hash of the account's newest entry at that time. Entries can join later only in the last `SETTLING` before
    the period's end; older ones always belong to the returned period.

    Raises what `find_period` raises, and ValidationFailed if the period has more than VERIFIED_ENTRIES_MAX entries.
    """
    account = readable_account(account_id, viewer)
    # The host that drew up the statement may have a clock that is ahead of this one.
    from_time, to_time = _period(from_time, to_time, _now(account_id) + LEEWAY)
    whole = queries.find_span(account_id, from_time, to_time)
    if whole.size > VERIFIED_ENTRIES_MAX:
        raise ValidationFailed(
            "The period has too many entries to be compared.",
            errors={"from": [f"At most {VERIFIED_ENTRIES_MAX:,} entries are compared. Use shorter statements."]},
        )
    settled = queries.find_entry_before(account_id, _before(to_time, SETTLING))
    settled_sequence = settled["sequence"] if settled else -1
    if last_sequence is None:
        newest = queries.find_sealed(account_id, range(settled_sequence, whole.last + 1), last_hash)
        last_sequence = newest["sequence"] if newest else whole.first - 1
    last_sequence = max(last_sequence, settled_sequence)
    joined = range(last_sequence + 1, whole.last + 1)
    span = queries.cut_span(account_id, whole, last_sequence) if joined else whole
    return Period(account, from_time, to_time, span), joined


def draw_up(period: Period, pause: Callable[[], None] = never_pause) -> Statement:
    """Return the statement of a period, with its sums."""
    account, span = period.account, period.span
    last = span.before if span.is_empty else span.end
    totals = queries.sum_span(account["_id"], span)
    return Statement(
        account=account,
        from_time=period.from_time,
        to_time=period.to_time,
        opening_balance=span.before["balance"] if span.before else 0,
        total_credits=totals.get(EntryType.CREDIT, 0),
        total_debits=totals.get(EntryType.DEBIT, 0),
        closing_balance=last["balance"] if last else 0,
        span=span,
        last_hash=bytes(last["hash"]) if last else None,
        pause=pause,
    )


def balance_history(
    account_id: ObjectId,
    viewer: ObjectId,
    *,
    points: int,
    from_time: datetime | None = None,
    to_time: datetime | None = None,
) -> Document:
    """Return an account's balance at up to `points` moments, from the start of a period to its end, evenly spread.

    By default the period is the last HISTORY_DEFAULT until now. A period that reaches into the future ends now. Before
    the account opened, its balance is 0. `final` tells of each balance whether it can no longer change.

    Raises AccountNotFound, and ValidationFailed for a period that ends before it starts.
    """
    account = readable_account(account_id, viewer)
    now = clock.now()
    to_time = now if to_time is None else min(at_or_after(to_time), now)
    from_time = _before(to_time, HISTORY_DEFAULT) if from_time is None else at_or_after(from_time)
    if from_time > to_time:
        raise _ends_before_it_begins(to_time)
    length = to_time - from_time
    moments = sorted({whole_milliseconds(from_time + length * n / (points - 1)) for n in range(points)})
    # Read first: entries that are settled before the balances are read are settled in the balances.
    settled = ledger.settled_until(account_id)
    balances = queries.find_balances(account_id, moments)
    return {
        "account_id": account_id,
        "currency": account["currency"],
        "points": [
            {"at": at, "balance": balance, "final": at <= settled}
            for at, balance in zip(moments, balances, strict=True)
        ],
    }


def _now(account_id: ObjectId) -> datetime:
    now = clock.now()
    head = queries.find_entry_before(account_id, None)
    # Another host's clock may be ahead of ours. Every entry in the journal is in the past.
    return max(now, head["created_at"] + MILLISECOND) if head else now


def _before(moment: datetime, duration: timedelta) -> datetime:
    return max(moment - _DAWN, duration) - duration + _DAWN


def _period(from_time: datetime | None, to_time: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    to_time = now if to_time is None else min(at_or_after(to_time), now)
    if from_time is None:
        # The period's last moment is just before `to`; take its month.
        last_moment = _before(to_time, MILLISECOND)
        from_time = last_moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    from_time = at_or_after(from_time)
    if from_time > to_time:
        raise _ends_before_it_begins(to_time)
    if to_time - from_time > PERIOD_MAX:
        raise ValidationFailed(
            f"A statement covers at most {PERIOD_MAX.days} days.",
            errors={"from": [f"More than {PERIOD_MAX.days} days before the period's end. Ask for shorter periods."]},
        )
    return from_time, to_time


def _ends_before_it_begins(to_time: datetime) -> ValidationFailed:
    return ValidationFailed(
        "The period ends before it starts.",
        errors={"from": [f"After the period's end, {to_time:%Y-%m-%d %H:%M:%S} UTC."]},
    )
