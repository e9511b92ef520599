"""Requests that wait until there is something new for their users.

Each holds a thread, so only some may wait, and half as many of one user. One of them polls the database for all.
"""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from bson import ObjectId

LOOK_EVERY_S = 0.25


class WaitingRoom:
    """Lets up to `seats` threads wait at a time. `look` returns which users have something new after a position."""

    def __init__(self, seats: int, look: Callable[[Mapping[ObjectId, int]], set[ObjectId]]) -> None:
        self._free = seats
        # At least one, or nobody could wait if there is only one seat.
        self._per_user_max = max(1, seats // 2)
        self._taken_by: Counter[ObjectId] = Counter()
        self._is_closed = False
        self._look = look
        self._changed = threading.Condition()
        # The position after which each user's requests wait. Several requests of one user share the smallest position.
        self._behind: dict[ObjectId, dict[object, int]] = defaultdict(dict)
        self._woken: set[object] = set()
        self._looks_again_at = 0.0
        self._is_looking = False

    def close(self) -> None:
        """Let nobody wait any more. All waiting threads return with nothing."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    @contextmanager
    def seat(self, user: ObjectId) -> Iterator[bool]:
        """Take a seat; yield whether there was one for this user."""
        with self._changed:
            has_seat = self._free > 0 and self._taken_by[user] < self._per_user_max
            self._free -= has_seat
            self._taken_by[user] += has_seat
        try:
            yield has_seat
        finally:
            with self._changed:
                self._free += has_seat
                self._taken_by[user] -= has_seat
                # Forget a user who no longer waits.
                self._taken_by += Counter()

    def wait(self, user: ObjectId, position: int, *, until: float) -> bool:
        """Wait until there is something after the position, or until a time of the monotonic clock.

        Return whether there is something; False at once if the room is closed. Raises what `look` raises, if this
        thread is the one that polls.
        """
        me = object()
        with self._changed:
            self._behind[user][me] = position
        try:
            while True:
                with self._changed:
                    if me in self._woken:
                        return True
                    now = time.monotonic()
                    if now >= until or self._is_closed:
                        return False
                    pause_s = self._looks_again_at - now
                    if self._is_looking or pause_s > 0:
                        self._changed.wait(min(until - now, pause_s if pause_s > 0 else LOOK_EVERY_S))
                        continue
                    self._is_looking = True
                    asked = {one: min(places.values()) for one, places in self._behind.items()}
                self._look_for_all(asked)
        finally:
            with self._changed:
                self._woken.discard(me)
                del self._behind[user][me]
                if not self._behind[user]:
                    del self._behind[user]

    def _look_for_all(self, asked: Mapping[ObjectId, int]) -> None:
        found: set[ObjectId] = set()
        try:
            found = self._look(asked)
        finally:
            with self._changed:
                self._is_looking = False
                self._looks_again_at = time.monotonic() + LOOK_EVERY_S
                for user in found:
                    self._woken.update(self._behind.get(user, ()))
                self._changed.notify_all()
