"""The primary's time, which is the bank's time, and the check that this host's clock agrees with it."""

from datetime import UTC, datetime

import structlog
from bson import Timestamp
from pymongo.client_session import ClientSession

from app import clock
from app.errors import ServiceUnavailable
from app.mongo import client
from app.mongo.reads import aggregate_in

# MongoDB would replace Timestamp(0, 0) by the time of the insert.
_BEGINNING = Timestamp(0, 1)

log = structlog.get_logger(__name__)


def check(primary: datetime, *, asked: datetime) -> None:
    """Raise ServiceUnavailable if this host's clock is too far from `primary`, the time that the primary answered.

    `asked` is when it was asked, by this host's clock. The host's clock still matters: ids,
    tokens and leases are made by it, and it decides when holds are swept and mail is due.
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
    """Return the primary's time, for an atomic block without another read that could bring the time along.

    Raises ServiceUnavailable as `check` does.
    """
    asked = clock.now()
    # The collection holds the schema's version, so there is always a document.
    stages: list[client.Document] = [{"$limit": 1}, {"$project": {"now": "$$NOW"}}]
    found = aggregate_in(session, "schema", stages)
    primary: datetime = found[0]["now"] if found else asked
    check(primary, asked=asked)
    return primary


def causal(session: ClientSession) -> Timestamp:
    """Return the latest cluster time that an atomic block has seen; the zero time if it has read nothing yet.

    If a block reads what another one wrote, its causal time is later than the other's, because the other's commit
    advanced the cluster's time, and every answer of the database carries that time.
    """
    told = session.cluster_time
    # Just after the start of a new replica set, a server cannot sign the cluster's time yet, and does not send it.
    time = session.operation_time if told is None else told["clusterTime"]
    return _BEGINNING if time is None else Timestamp(time.time, time.inc)


def check_host() -> None:
    """Check that the primary answers and that this host's clock agrees with it.

    Raises PyMongoError if there is no answer, ServiceUnavailable as `check` does.
    """
    asked = clock.now()
    primary: datetime = client.database().command("hello")["localTime"]
    check(primary.replace(tzinfo=UTC), asked=asked)
