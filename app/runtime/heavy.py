"""Limits work that needs much processor time, so that it cannot slow down everything else.

A `Share` limits one kind of work in one process. A piece of work is admitted or refused at
once. Admitted work waits for a turn, runs, and pauses now and then to let others go first.
Requests without heavy work never wait here.
"""

import threading
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from itertools import count
from time import monotonic

from app.errors import ServiceUnavailable
from app.settings.policies import WorkPolicy

RETRY_AFTER_S = 5
NAMES_MAX = 4


class Share:
    """Admits at most `admitted_max` pieces of work, and `per_user_max` of one user.

    At most `at_once` of them run at the same time, and `per_user_at_once` of one user. Work
    that gets no turn within `wait_max_s` is refused.
    """

    def __init__(
        self,
        *,
        admitted_max: int,
        at_once: int,
        per_user_max: int = 2,
        per_user_at_once: int = 2,
        wait_max_s: float = 10.0,
    ) -> None:
        self.set_limits(admitted_max=admitted_max, at_once=at_once, per_user_at_once=per_user_at_once)
        self._per_user_max = per_user_max
        self._wait_max_s = wait_max_s
        self._changed = threading.Condition()
        self._admitted = 0
        self._admitted_of: Counter[Hashable] = Counter()
        self._running = 0
        self._running_of: Counter[Hashable] = Counter()
        # The waiting users by their numbers in the queue, in the order in which they came.
        self._waiting: dict[int, Hashable | None] = {}
        self._numbers = count()

    def set_limits(self, *, admitted_max: int, at_once: int, per_user_at_once: int) -> None:
        """Set the limits. Call this only when the process starts."""
        self._admitted_max = admitted_max
        self._at_once = at_once
        self._per_user_at_once = per_user_at_once

    def admit(self, user: Hashable | None = None) -> "Work":
        """Return a piece of work, which must be closed; raises ServiceUnavailable if there is too much already.

        Work without a user does not count towards any user's limit.
        """
        with self._changed:
            if user is not None and self._admitted_of[user] >= self._per_user_max:
                raise _refusal(f"You have {self._per_user_max} such requests under way. Wait until one is done.")
            if self._admitted >= self._admitted_max:
                raise _refusal("There are too many such requests just now.")
            self._admitted += 1
            if user is not None:
                self._admitted_of[user] += 1
        return Work(self, user)

    @contextmanager
    def turn(self, user: Hashable | None = None) -> Iterator["Work"]:
        """Do a piece of work in one turn; raises ServiceUnavailable before it starts."""
        with self.admit(user) as work, work.turn():
            yield work

    def begin(self, user: Hashable | None, wait_max_s: float | None) -> None:
        """Wait for a turn; raises ServiceUnavailable after `wait_max_s`, if given."""
        deadline = None if wait_max_s is None else monotonic() + wait_max_s
        with self._changed:
            number = next(self._numbers)
            self._waiting[number] = user
            try:
                while self._next() != number:
                    left_s = None if deadline is None else deadline - monotonic()
                    if left_s is not None and left_s <= 0:
                        raise _refusal("The requests before yours took too long.")
                    self._changed.wait(left_s)
                self._running += 1
                self._running_of[user] += 1
            finally:
                del self._waiting[number]
                # The next one in the queue may be able to run now.
                self._changed.notify_all()

    def end(self, user: Hashable | None) -> None:
        """End a turn, so that the next one can start."""
        with self._changed:
            self._running -= 1
            _less(self._running_of, user)
            self._changed.notify_all()

    def leave(self, user: Hashable | None) -> None:
        """Count a piece of work as done."""
        with self._changed:
            self._admitted -= 1
            if user is not None:
                _less(self._admitted_of, user)

    @property
    def is_wanted(self) -> bool:
        """Whether anybody is waiting for a turn."""
        return bool(self._waiting)

    @property
    def wait_max_s(self) -> float:
        return self._wait_max_s

    def _next(self) -> int | None:
        """Return the number of the first in the queue whose user is below the limit, or None if nobody may run."""
        if self._running >= self._at_once:
            return None
        for number, user in self._waiting.items():
            if user is None or self._running_of[user] < self._per_user_at_once:
                return number
        return None


class Work:
    """A piece of admitted work. It runs in turns, and counts until it is closed."""

    def __init__(self, share: Share, user: Hashable | None) -> None:
        self._share = share
        self._user = user
        self._has_turn = False
        self._is_open = True
        self._was_begun = False

    def __enter__(self) -> "Work":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn and take it. The first wait raises ServiceUnavailable if it takes too long."""
        self._share.begin(self._user, None if self._was_begun else self._share.wait_max_s)
        self._has_turn = self._was_begun = True
        try:
            yield
        finally:
            self._has_turn = False
            self._share.end(self._user)

    def pause(self) -> None:
        """Let waiting work go first. Long work calls this now and then. Outside a turn it does nothing."""
        if self._has_turn and self._share.is_wanted:
            self._share.end(self._user)
            self._share.begin(self._user, None)

    def close(self) -> None:
        """Stop counting this work. Closing it again does nothing."""
        if self._is_open:
            self._is_open = False
            self._share.leave(self._user)


def _less(counter: Counter[Hashable], user: Hashable | None) -> None:
    counter[user] -= 1
    if not counter[user]:
        del counter[user]


def _refusal(why: str) -> ServiceUnavailable:
    refusal = ServiceUnavailable(f"{why} Nothing was done. Try again in {RETRY_AFTER_S} seconds.")
    refusal.retry_after_seconds = RETRY_AFTER_S
    return refusal


_usual = WorkPolicy()
# Requests that write or compare long parts of a journal, such as statements.
documents = Share(
    admitted_max=_usual.documents_max,
    at_once=_usual.documents_at_once,
    per_user_at_once=_usual.documents_per_user_at_once,
)
# Requests that hash passwords, which is slow by design and open to anybody. They have a share of their own, so that
# statements do not keep people from logging in.
passwords = Share(admitted_max=_usual.passwords_max, at_once=_usual.passwords_at_once)
# Requests that look up the name of a host, which may take long. They need no processor time, but each holds a thread.
names = Share(admitted_max=NAMES_MAX, at_once=NAMES_MAX)


def configure(policy: WorkPolicy) -> None:
    """Set how much of this process heavy work may take."""
    documents.set_limits(
        admitted_max=policy.documents_max,
        at_once=policy.documents_at_once,
        per_user_at_once=policy.documents_per_user_at_once,
    )
    passwords.set_limits(
        admitted_max=policy.passwords_max, at_once=policy.passwords_at_once, per_user_at_once=policy.passwords_at_once
    )
