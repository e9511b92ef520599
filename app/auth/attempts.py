"""Wrong passwords: counted for who guesses and for what is guessed at, and answered with growing delays.

A delay falls on the guesser first: on the client's address at this account, then on that address at all accounts. The
account itself gets slow only after so many guesses that many addresses must have made them, and even then not for
addresses from which its owner has come before. Nobody can shut an owner out by guessing.

A delay stands in the way of one thing only, the next check of a password. Sessions that exist go on, whoever guesses.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from app import clock
from app.auth import repository
from app.errors import TooManyAttempts
from app.mongo import Document

# This many failures of one account within this time are worth telling the operators.
ALARM_FAILURES = 5
ALARM_WINDOW = timedelta(minutes=15)
# An address from which a user came is known for so long after the last time.
KNOWN_FOR = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Policy:
    """How many failures are free, how long the delay after each further one may become, and when all is forgotten.

    The delay is one second after the first failure that is not free and doubles with each one after it.
    `from_first` forgets a time after the first failure instead of after the last. `of_many` counts what several people
    did, so a refusal tells always the same and never how often others guessed.
    """

    free: int
    delay_max: timedelta
    memory: timedelta
    from_first: bool = False
    of_many: bool = False


# Somebody guesses one person's password. The owner's next success from there forgets it all.
GUESSER = Policy(free=5, delay_max=timedelta(minutes=15), memory=timedelta(days=1))
# Somebody guesses at many accounts. Many people may share an address, so it is more patient and the delay is short.
ADDRESS = Policy(free=50, delay_max=timedelta(minutes=1), memory=timedelta(minutes=15), from_first=True)
# Many addresses guess one person's password. One alone, which GUESSER slows, does not get this far in a day.
ACCOUNT = Policy(free=150, delay_max=timedelta(minutes=1), memory=timedelta(days=1), of_many=True)


@dataclass(frozen=True, slots=True)
class Target:
    """What guesses are counted for."""

    id: str
    policy: Policy


@dataclass(frozen=True, slots=True)
class Guesses:
    """Guesses at one account from one client: what they are counted for, and where the account's owner is known.

    `email` needs to be nobody's. Without a client's network the guesses count for the account alone, as one guesser's.
    """

    email: str
    network: str | None

    @property
    def account(self) -> Target:
        return Target(f"account:{_hash(self.email)}", ACCOUNT if self.network else GUESSER)

    @property
    def pair(self) -> Target:
        return Target(f"pair:{_hash(f'{self.email} {self.network}')}", GUESSER)

    @property
    def targets(self) -> list[Target]:
        """The account comes first: it is what the operators are told of."""
        if self.network is None:
            return [self.account]
        return [self.account, self.pair, Target(f"address:{self.network}", ADDRESS)]

    def admit(self) -> None:
        """Let one check of the password go on; raises TooManyAttempts while a delay lasts.

        What others did to the account delays nobody who comes from where its owner has come from.
        """
        is_known = self.network is not None and repository.is_known(self._known_id, clock.now())
        admit([target for target in self.targets if not (is_known and target.policy.of_many)])

    def record_failure(self) -> bool:
        """Count a wrong password; return whether it was the account's ALARM_FAILURES-th of late."""
        return record_failure(self.targets)

    def forgive(self) -> None:
        """Forget the failures at this account from here, and know the client from now on: it is its owner."""
        for target in (self.account, self.pair):
            forget(target)
        self.know()

    def know(self) -> None:
        """Remember that the account's owner comes from here."""
        if self.network is not None:
            repository.remember_known(self._known_id, clock.now() + KNOWN_FOR)

    @property
    def _known_id(self) -> str:
        return _hash(f"known {self.email} {self.network}")


def session_holder(user_id: object) -> Target:
    """Return the target of a session's guesses at its own user's password.

    It is apart from `Guesses`, so that nobody outside can keep the owner from changing the password.
    """
    return Target(f"holder:{user_id}", GUESSER)


def admit(targets: Sequence[Target]) -> None:
    """Let one check of a password go on; raises TooManyAttempts while a target's delay lasts.

    Once failures are no longer free, each delay admits one check, however many ask at the same moment.
    """
    now = clock.now()
    policies = {target.id: target.policy for target in targets}
    delayed = [
        (row, policy, delay)
        for row in repository.find_failures(list(policies), now)
        if (delay := delay_after(row["failures"], policy := policies[row["_id"]]))
    ]
    waits = [
        policy.delay_max if policy.of_many else wait
        for row, policy, delay in delayed
        if (wait := _wait(row, delay, now)) > timedelta()
    ]
    if waits:
        raise _refusal(max(waits))
    for row, policy, delay in delayed:
        if not repository.claim_attempt(row, now):
            raise _refusal(policy.delay_max if policy.of_many else delay)


def record_failure(targets: Sequence[Target]) -> bool:
    """Count a wrong password for each target; return whether it was the first target's ALARM_FAILURES-th of late."""
    now = clock.now()
    rows = [repository.count_failure(target.id, _count(target.policy, now)) for target in targets]
    # Reaching the number empties the list, so exactly one of many failures at the same moment sees it empty.
    return bool(rows) and not rows[0]["recent"]


def forget(target: Target) -> None:
    """Forget the target's failures: its owner has shown who they are."""
    repository.delete_failures(target.id)


def forget_user(user: Document, *, network: str | None) -> None:
    """Forget the failures at the user's password, and know the client: the owner has just set a new one from there."""
    forget(session_holder(user["_id"]))
    Guesses(user["email"], network).forgive()


def delay_after(failures: int, policy: Policy) -> timedelta:
    """Return how long to wait after so many failures."""
    if failures < policy.free:
        return timedelta()
    doublings = min(failures - policy.free, 32)
    return min(policy.delay_max, timedelta(seconds=2**doublings))


def _wait(row: Document, delay: timedelta, now: datetime) -> timedelta:
    # Rows of version 1 have another member in its place. They are gone a day after the update.
    since: datetime | None = row.get("last_failure_at")
    return timedelta() if since is None else since + delay - now


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
    return [
        {
            "$set": {
                "failures": {"$cond": [remembered, {"$add": ["$failures", 1]}, 1]},
                "recent": {"$concatArrays": [of_late, [now]]},
                "last_failure_at": now,
                "expires_at": {"$cond": [remembered, "$expires_at", expires_at]} if policy.from_first else expires_at,
            }
        },
        {"$set": {"recent": {"$cond": [{"$gte": [{"$size": "$recent"}, ALARM_FAILURES]}, [], "$recent"]}}},
    ]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
