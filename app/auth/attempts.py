"""Wrong passwords: counted for each account and each address, and answered with growing delays.

A delay stands in the way of one thing only, the next check of a password for the
same account or from the same address. Sessions that exist go on, whoever guesses.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

from app.auth import repository
from app.errors import TooManyAttempts
from app.mongo import Document

# This many failures of one account within this time are worth telling the operators.
ALARM_FAILURES = 5
ALARM_WINDOW = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Policy:
    """How many failures are free, how long the delay after each further one may become, and when all is forgotten.

    The delay is one second after the first failure that is not free and doubles with each one after it.
    `from_first` forgets a time after the first failure instead of after the last.
    """

    free: int
    delay_max: timedelta
    memory: timedelta
    from_first: bool = False


# Somebody guesses one person's password. The owner's next success forgets it all.
ACCOUNT = Policy(free=5, delay_max=timedelta(minutes=15), memory=timedelta(days=1))
# Somebody guesses at many accounts. Many people may share an address, so it is more patient and the delay is short.
ADDRESS = Policy(free=50, delay_max=timedelta(minutes=1), memory=timedelta(minutes=15), from_first=True)


@dataclass(frozen=True, slots=True)
class Target:
    """What guesses are counted for."""

    id: str
    policy: Policy


def account(email: str) -> Target:
    """Return the target of logins as `email`, which needs to be nobody's."""
    return Target(f"account:{hashlib.sha256(email.encode()).hexdigest()}", ACCOUNT)


def address(client_address: str) -> Target:
    """Return the target of all guesses from a client's address."""
    return Target(f"address:{client_address}", ADDRESS)


def session_holder(user_id: object) -> Target:
    """Return the target of a session's guesses at its own user's password.

    It is apart from `account`, so that nobody outside can keep the owner from changing the password.
    """
    return Target(f"holder:{user_id}", ACCOUNT)


def admit(targets: Sequence[Target]) -> None:
    """Let one check of a password go on; raises TooManyAttempts while a target's delay lasts.

    Once failures are no longer free, each delay admits one check, however many ask at the same moment.
    """
    now = datetime.now(UTC)
    policies = {target.id: target.policy for target in targets}
    rows = repository.find_failures(list(policies), now)
    wait = max((row["blocked_until"] - now for row in rows), default=timedelta())
    if wait > timedelta():
        raise _refusal(wait)
    for row in rows:
        delay = delay_after(row["failures"], policies[row["_id"]])
        if delay and not repository.claim_attempt(row, blocked_until=now + delay):
            raise _refusal(delay)


def record_failure(targets: Sequence[Target]) -> bool:
    """Count a wrong password for each target; return whether it was the first target's ALARM_FAILURES-th of late."""
    now = datetime.now(UTC)
    rows = [repository.count_failure(target.id, _count(target.policy, now)) for target in targets]
    # Reaching the number empties the list, so exactly one of many failures at the same moment sees it empty.
    return bool(rows) and not rows[0]["recent"]


def forget(target: Target) -> None:
    """Forget the target's failures: its owner has shown who they are."""
    repository.delete_failures(target.id)


def forget_user(user: Document) -> None:
    """Forget all failures at the user's password: its owner has just set a new one."""
    for target in (account(user["email"]), session_holder(user["_id"])):
        forget(target)


def delay_after(failures: int, policy: Policy) -> timedelta:
    """Return how long to wait after so many failures."""
    if failures < policy.free:
        return timedelta()
    doublings = min(failures - policy.free, 32)
    return min(policy.delay_max, timedelta(seconds=2**doublings))


def _refusal(wait: timedelta) -> TooManyAttempts:
    seconds = max(1, ceil(wait.total_seconds()))
    refusal = TooManyAttempts(f"Too many wrong passwords. Wait {seconds} seconds before the next try.")
    refusal.retry_after_seconds = seconds
    return refusal


def _count(policy: Policy, now: datetime) -> list[Document]:
    """Return the update that counts one failure. The database computes it, so that no failure is lost in a race."""
    remembered = {"$gt": ["$expires_at", now]}
    of_late = {
        "$filter": {"input": {"$ifNull": ["$recent", []]}, "cond": {"$gt": ["$$this", now - ALARM_WINDOW]}},
    }
    expires_at = now + policy.memory
    delay_ms = {
        "$cond": [
            {"$lt": ["$failures", policy.free]},
            0,
            {
                "$min": [
                    int(policy.delay_max.total_seconds() * 1000),
                    {"$multiply": [1000, {"$pow": [2, {"$min": [32, {"$subtract": ["$failures", policy.free]}]}]}]},
                ]
            },
        ]
    }
    return [
        {
            "$set": {
                "failures": {"$cond": [remembered, {"$add": ["$failures", 1]}, 1]},
                "recent": {"$concatArrays": [of_late, [now]]},
                "expires_at": {"$cond": [remembered, "$expires_at", expires_at]} if policy.from_first else expires_at,
            }
        },
        {
            "$set": {
                "blocked_until": {"$add": [now, {"$toLong": delay_ms}]},
                "recent": {"$cond": [{"$gte": [{"$size": "$recent"}, ALARM_FAILURES]}, [], "$recent"]},
            }
        },
    ]
