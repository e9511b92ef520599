"""Turns: the processes of a host that get in each other's way do their work one after another.

It only saves work that would be in vain. Whatever is correct must be so without it, because nobody waits for long:
a process that holds its turn for more than WAIT_MAX_S, because it was stopped or is stuck, is passed over, and for the
next WAIT_AGAIN_S nobody who passed it over waits for it again.

A turn is the lock on a byte of a file, which the system takes from a process that ends, however it ends. Such a lock
cannot be waited for with a limit, so it is tried again and again. That alone would be unfair, because whoever gives a
turn back and wants the next one would try first. So whoever waits for the turn holds the lock on another byte, the
GATE, and everybody else waits behind it.
"""

import fcntl
import os
import time
from types import TracebackType
from typing import Self

GATE, TURN = 0, 1
# Whoever met another takes turns for so many pieces of work. With more, they meet less often; with fewer, processes
# that seldom meet wait less often for nothing.
TURNS_AFTER_COLLISION = 20
# Whoever meets another again right after that takes twice as many, up to so many.
TURNS_MAX = 320
# The wait for a turn, and how long a process that has waited so long in vain does not wait again.
WAIT_MAX_S = 0.5
WAIT_AGAIN_S = 5.0
# How often a lock is tried. Each time takes some 10 µs of the processor.
PAUSE_S = 0.001


class Turns:
    """One process's part in the turns. Enter it for each piece of work, in one thread at a time.

    `file` is the number of an open file that all these processes have inherited. Without one, or while nothing
    collides, entering does nothing.
    """

    def __init__(self, file: int | None = None) -> None:
        self.file = file
        self._left = 0
        # How many were taken after the last collision, and how much work was done without turns since.
        self._taken = 0
        self._without = 0
        self._has_turn = False
        self._waits_again_at = 0.0

    def __enter__(self) -> Self:
        if self._left:
            self._left -= 1
            self._take()
        else:
            self._without += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._has_turn:
            self._has_turn = False
            self._unlock(TURN)

    def collided(self) -> None:
        """Note that another process got in the way, and take a turn for the rest of this piece of work."""
        if self.file is None:
            return
        meets_often = self._without <= self._taken
        self._taken = min(2 * self._taken, TURNS_MAX) if self._taken and meets_often else TURNS_AFTER_COLLISION
        self._left = self._taken
        self._without = 0
        if not self._has_turn:
            self._take()

    def _take(self) -> None:
        """Wait for the turn, but not for long."""
        now = time.monotonic()
        until = now + WAIT_MAX_S if now >= self._waits_again_at else now
        if self._lock(GATE, until):
            try:
                self._has_turn = self._lock(TURN, until)
            finally:
                self._unlock(GATE)
        if not self._has_turn and until > now:
            self._waits_again_at = time.monotonic() + WAIT_AGAIN_S

    def _lock(self, byte: int, until: float) -> bool:
        assert self.file is not None
        while True:
            try:
                fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte, os.SEEK_SET)
                return True
            except OSError:
                # Somebody has it, or the system has no lock to give.
                if time.monotonic() >= until:
                    return False
            time.sleep(PAUSE_S)

    def _unlock(self, byte: int) -> None:
        assert self.file is not None
        fcntl.lockf(self.file, fcntl.LOCK_UN, 1, byte, os.SEEK_SET)
