"""Tells the workers of a server how many connections each of them has, in memory that all of them share."""

import mmap

PLACES = 128
_NUMBER_BYTES = 8


class Occupancy:
    """Has a place for each worker, in which it keeps the number of its connections.

    It is made in the master and inherited by its workers. Nothing is locked, two workers whose ages differ by a
    multiple of PLACES share a place, and a number may be outdated at once. So these numbers may decide only who goes
    first.
    """

    def __init__(self) -> None:
        # One more than the number of connections, because 0 stands for nobody.
        self._numbers = memoryview(mmap.mmap(-1, PLACES * _NUMBER_BYTES)).cast("q")

    def tell(self, age: int, connections: int) -> None:
        """Say how many connections the worker of this age has, so that it can be given more."""
        self._numbers[age % PLACES] = connections + 1

    def vacate(self, age: int) -> None:
        """Say that the worker of this age accepts no more connections."""
        self._numbers[age % PLACES] = 0

    def fewest(self) -> int:
        """Return how many connections the worker has that has the fewest. If there is none: 0."""
        return min(filter(None, self._numbers), default=1) - 1
