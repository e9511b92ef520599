"""Wrong passwords: counted per client and per account, and answered with growing delays.

Delays hit the guesser first: the client's address at this account, then that address at all accounts. The account
itself gets a delay only after more wrong guesses than one address could make, and even then not for addresses from
which its owner has logged in before. So nobody can lock out an owner by guessing.

A delay only blocks the next check of a password. Existing sessions go on.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from pymongo.errors import PyMongoError

from app import clock
from app.auth import repository
from app.errors import TooManyAttempts
from app.mongo import Document

# After ALARM_FAILURES failures at one account within ALARM_WINDOW, the audit log tells the operators.
ALARM_FAILURES = 5
ALARM_WINDOW = timedelta(minutes=15)
# How long an address stays known after its user last came from there.
KNOWN_FOR = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Policy:
    """How many failures are free, how long the delay may become, and when the failures are forgotten.

    The first failure that is not free causes a delay of one second, and each further one doubles it. Failures are
    forgotten `memory` after the last one, or with `from_first` after the first one. With `of_many`, several people's
    failures are counted together; a refusal then always names `delay_max`, so that it does not tell how often others
    guessed.
    """

    free: int
    delay_max: timedelta
    memory: timedelta
    from_first: bool = False
    of_many: bool = False


# One client guesses one person's password. A login from that client clears the count.
GUESSER = Policy(free=5, delay_max=timedelta(minutes=15), memory=timedelta(days=1))
# One address guesses at many accounts. Many people may share it, so more failures are free and the delays are short.
ADDRESS = Policy(free=50, delay_max=timedelta(minutes=1), memory=timedelta(minutes=15), from_first=True)
# Many addresses guess one person's password. A single one, slowed by GUESSER, cannot make so many guesses in a day.
ACCOUNT = Policy(free=150, delay_max=timedelta(minutes=1), memory=timedelta(days=1), of_many=True)


@dataclass(frozen=True, slots=True)
class Target:
    """Something for which wrong guesses are counted: an account, an address, or a pair of both."""

    id: str
    policy: Policy


@dataclass(frozen=True, slots=True)
class Guesses:
    """The guesses of one client at one account.

    `email` need not belong to a user. Without a network, guesses count only for the account, by the policy GUESSER.
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
        """The account comes first, because the operators are told about the first target."""
        if self.network is None:
            return [self.account]
        return [self.account, self.pair, Target(f"address:{self.network}", ADDRESS)]

    def admit(self) -> None:
        """Admit one check of the password; raises TooManyAttempts while a delay lasts.

        The account's own delay does not apply to addresses from which its owner has come before.
        """
        is_known = self.network is not None and repository.is_known(self._known_id, clock.now())
        admit([target for target in self.targets if not (is_known and target.policy.of_many)])

    def record_failure(self) -> bool:
        """Count a wrong password; return whether it was the account's ALARM_FAILURES-th within ALARM_WINDOW."""
        return record_failure(self.targets)

    def forgive(self) -> None:
        """Forget this client's and the account's failures, and remember the client, because the owner came from it."""
        for target in (self.account, self.pair):
            forget(target)
        self.know()

    def know(self) -> None:
        """Remember that the account's owner came from this network."""
        # The call has taken effect, so no failure here may make it look as if it had not.
        with suppress(PyMongoError):
            if self.network is not None:
                repository.remember_known(self._known_id, clock.now() + KNOWN_FOR)

    @property
    def _known_id(self) -> str:
        return _hash(f"known {self.email} {self.network}")


def session_holder(user_id: object) -> Target:
    """Return the target for guesses at the current password, made by a session of the user's own.

    It is separate from `Guesses`, so that nobody without a session can block the owner's change of the password.
    """
    return Target(f"holder:{user_id}", GUESSER)


def admit(targets: Sequence[Target]) -> None:
    """Admit one check of a password; raises TooManyAttempts while a target's delay lasts.

    Once failures are no longer free, only one check is admitted after each delay, even if many ask at the same moment.
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
    """Count a wrong password for each target.

    Return whether it was the first target's ALARM_FAILURES-th within ALARM_WINDOW.
    """
    now = clock.now()
    rows = [repository.count_failure(target.id, _count(target.policy, now)) for target in targets]
    # The update that reaches ALARM_FAILURES empties the list, so exactly one of many failures at once sees it empty.
    return bool(rows) and not rows[0]["recent"]


def forget(target: Target) -> None:
    """Forget the target's failures, because the owner has given the right password.

    If the database is away, they are remembered until they expire.
    """
    with suppress(PyMongoError):
        repository.delete_failures(target.id)


def forget_user(user: Document, *, network: str | None) -> None:
    """Forget the failures and remember the client, because the owner has just set a new password from it."""
    forget(session_holder(user["_id"]))
    Guesses(user["email"], network).forgive()


def delay_after(failures: int, policy: Policy) -> timedelta:
    """Return how long to wait after this number of failures."""
    if failures < policy.free:
        return timedelta()
    doublings = min(failures - policy.free, 32)
    return min(policy.delay_max, timedelta(seconds=2**doublings))


def _wait(row: Document, delay: timedelta, now: datetime) -> timedelta:
    # Rows of version 1 lack this member. They expire within a day after the update.
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
