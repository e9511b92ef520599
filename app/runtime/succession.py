"""Tells the processes of a server whether others will replace them, in memory that all of them share."""

import mmap


class Succession:
    """Counts a server's generations of workers: each reload begins a new one.

    It is made in the master and inherited by its workers. Only the master starts a generation or ends the succession. A
    worker of a new generation says that it serves.
    """

    def __init__(self) -> None:
        # The newest generation, the newest one with a worker that serves, and whether no other will follow.
        self._numbers = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q")

    @property
    def newest(self) -> int:
        return self._numbers[0]

    @property
    def is_over(self) -> bool:
        return self._numbers[2] != 0

    def begin(self) -> None:
        self._numbers[0] += 1

    def end(self) -> None:
        self._numbers[2] = 1

    def serves(self, generation: int) -> None:
        """Say that a worker of this generation takes requests."""
        self._numbers[1] = max(self._numbers[1], generation)

    def is_replaced(self, generation: int) -> bool:
        """Return whether another generation has been started in place of this one."""
        return self.newest > generation and not self.is_over

    def awaits_successor(self, generation: int) -> bool:
        """Return whether this generation is being replaced by one that does not serve yet."""
        return self.is_replaced(generation) and self._numbers[1] <= generation
