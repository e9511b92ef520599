"""The bank's time is the primary's. A host whose own clock is far from it would spoil more than its own work."""

from datetime import UTC, datetime

import structlog
from pymongo.client_session import ClientSession

from app import clock
from app.errors import ServiceUnavailable
from app.mongo import client

log = structlog.get_logger(__name__)


def check(primary: datetime, *, asked: datetime) -> None:
    """Raise ServiceUnavailable if this host's clock is too far from the primary's, which told its time since `asked`.

    Ids, tokens, leases and the times that holds are swept and mail is due at are by the host's clock.
    """
    off = clock.offset(primary, asked, clock.now())
    if abs(off) <= clock.LEEWAY:
        return
    seconds = round(off.total_seconds(), 1)
    log.error("host_clock_off", ahead_of_database_s=seconds, limit_s=clock.LEEWAY.seconds)
    raise ServiceUnavailable(
        f"This host's clock is {abs(seconds):,} s {'ahead of' if seconds > 0 else 'behind'} the database's, more than "
        f"{clock.LEEWAY.seconds} s, so it posts nothing. Nothing was done."
    )


def now(session: ClientSession) -> datetime:
    """Return the primary's time, in an atomic block that has nothing to read that could bring it along.

    Raises ServiceUnavailable as `check` does.
    """
    asked = clock.now()
    # The schema's version, a document that is always there.
    stages: list[client.Document] = [{"$limit": 1}, {"$project": {"now": "$$NOW"}}]
    found = list(client.database().schema.aggregate(stages, session=session))
    primary: datetime = found[0]["now"] if found else asked
    check(primary, asked=asked)
    return primary


def check_host() -> None:
    """Ask the primary for a sign of life and for its time.

    Raises PyMongoError without an answer, ServiceUnavailable as `check` does.
    """
    asked = clock.now()
    primary: datetime = client.database().command("hello")["localTime"]
    check(primary.replace(tzinfo=UTC), asked=asked)
