"""Turns: processes of a host whose work conflicts do it one after another.

This only avoids wasted work. Nothing may depend on it for correctness, because nobody waits for long: a process that
holds its turn for more than WAIT_MAX_S, because it was stopped or is stuck, is passed over, and for the next
WAIT_AGAIN_S those who passed it over do not wait for it again.

A turn is the lock on a byte of a file, which the system takes from a process that ends, however it ends. There is no
way to wait for such a lock with a time limit, so it is polled. That alone would be unfair, because a process that gives
a turn back and wants the next one would try first. So the next process in line holds the lock on another byte, the
GATE, and all others wait for that.
"""

import fcntl
import os
import time
from types import TracebackType
from typing import Self

GATE, TURN = 0, 1
# After a conflict, a process takes turns for this many pieces of work. With more, there are fewer conflicts; with
# fewer, processes that seldom conflict wait less often for nothing.
TURNS_AFTER_COLLISION = 20
# How long to wait for a turn, and how long not to wait again after that was in vain.
WAIT_MAX_S = 0.5
WAIT_AGAIN_S = 5.0
# How often a lock is tried. Each try takes about 10 µs of the processor.
PAUSE_S = 0.001


class Turns:
    """One process's part in the turns. Enter it for each piece of work, in one thread at a time.

    `file` is the descriptor of an open file that all these processes have inherited. Without one, or as long as there
    are no conflicts, entering does nothing.
    """

    def __init__(self, file: int | None = None) -> None:
        self.file = file
        self._left = 0
        self._has_turn = False
        self._waits_again_at = 0.0

    def __enter__(self) -> Self:
        if self._left:
            self._left -= 1
            self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._has_turn:
            self._has_turn = False
            self._unlock(TURN)

    def collided(self) -> None:
        """Note a conflict with another process, and take a turn for the rest of this piece of work."""
        if self.file is None:
            return
        self._left = TURNS_AFTER_COLLISION
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
                # Another process has it, or the system has run out of locks.
                if time.monotonic() >= until:
                    return False
            time.sleep(PAUSE_S)

    def _unlock(self, byte: int) -> None:
        assert self.file is not None
        fcntl.lockf(self.file, fcntl.LOCK_UN, 1, byte, os.SEEK_SET)
