"""Time as the bank keeps it: UTC, in whole milliseconds, as MongoDB stores it."""

from datetime import UTC, datetime, timedelta

# By how much the clocks of clients, hosts and the database may differ. Whoever compares times of two of them allows it.
LEEWAY = timedelta(seconds=10)
# Nothing joins a moment that is this long past. An entry's time is when its block started, by the primary's clock, and
# the entry is seen when the block commits, at most 25 s later (POST_TIMEOUT_MS). The rest allows for clocks.
SETTLING = timedelta(seconds=60)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC) - timedelta(milliseconds=1)


def now() -> datetime:
    """Return the current time of this host, in whole milliseconds."""
    return whole_milliseconds(datetime.now(UTC))


def offset(told: datetime, before: datetime, after: datetime) -> timedelta:
    """Return by how much this host's clock is ahead of another one that told its time between `before` and `after`,
    however long that took; negative if behind, zero if it may be right."""
    # The other one tells whole milliseconds.
    if told < before:
        return before - told
    return min(after - told, timedelta())


def whole_milliseconds(moment: datetime) -> datetime:
    """Return the moment as MongoDB keeps it: what is below the millisecond is cut off."""
    return moment.replace(microsecond=moment.microsecond // 1_000 * 1_000)


def milliseconds(moment: datetime) -> int:
    """Return whole milliseconds since 1970, without passing through a float."""
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000 + delta.microseconds // 1_000


def from_milliseconds(since_1970: int) -> datetime:
    """Return the moment that many milliseconds after 1970 began."""
    return _EPOCH + timedelta(milliseconds=since_1970)


def at_or_after(moment: datetime) -> datetime:
    """Return the first whole millisecond at or after `moment`.

    Stored times are whole milliseconds, so a bound between two of them means the later one.
    """
    excess = moment.microsecond % 1_000
    if not excess or moment > _LATEST:
        return moment
    return moment + timedelta(microseconds=1_000 - excess)
