"""Time as the bank keeps it: UTC, in whole milliseconds, as MongoDB stores it."""

from datetime import UTC, datetime, timedelta

MILLISECOND = timedelta(milliseconds=1)
# How much the clocks of clients, hosts and the database may differ. Comparing times of two of them must allow for it.
LEEWAY = timedelta(seconds=10)
# Once a moment is this long past, no new entry can get a time before it. An entry's time is when its block started, by
# the primary's clock, but the entry is visible only when the block has committed, up to 25 s later (POST_TIMEOUT_MS).
# The rest allows for clocks that differ.
SETTLING = timedelta(seconds=60)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC) - timedelta(milliseconds=1)


def now() -> datetime:
    """Return the current time of this host, in whole milliseconds."""
    return whole_milliseconds(datetime.now(UTC))


def offset(told: datetime, before: datetime, after: datetime) -> timedelta:
    """Return how far this host's clock is ahead of another clock, at least; negative if it is behind.

    The other clock answered `told` at some moment between `before` and `after` on this host's
    clock. The result is zero if both may agree. All three are whole milliseconds.
    """
    if told < before:
        return before - told
    return min(after - told, timedelta())


def whole_milliseconds(moment: datetime) -> datetime:
    """Return the moment as MongoDB stores it, cut to whole milliseconds."""
    return moment.replace(microsecond=moment.microsecond // 1_000 * 1_000)


def milliseconds(moment: datetime) -> int:
    """Return whole milliseconds since 1970, computed without floats."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000 + delta.microseconds // 1_000


def from_milliseconds(since_1970: int) -> datetime:
    """Return the moment that is this many milliseconds after the start of 1970."""
    return _EPOCH + timedelta(milliseconds=since_1970)


def at_or_after(moment: datetime) -> datetime:
    """Return the first whole millisecond at or after `moment`.

    Stored times are whole milliseconds, so a bound between two milliseconds means the later one.
    """
    excess = moment.microsecond % 1_000
    if not excess or moment > _LATEST:
        return moment
    return moment + timedelta(microseconds=1_000 - excess)
