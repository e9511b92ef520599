"""Tells the workers of a server how many connections each of them has, in memory that all of them share."""

import mmap
from collections.abc import Iterable

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
        """Say how many connections the worker of this age has."""
        self._numbers[age % PLACES] = connections + 1

    def vacate(self, age: int) -> None:
        """Say that the worker of this age accepts no more connections."""
        self._numbers[age % PLACES] = 0

    def emptiest(self, besides: Iterable[int] = ()) -> tuple[int, int] | None:
        """Return the place with the fewest connections, of those not in `besides`, and how many these are.

        Return None if no worker accepts any.
        """
        numbers = self._numbers.tolist()
        for place in besides:
            numbers[place] = 0
        fewest = min(filter(None, numbers), default=None)
        return None if fewest is None else (numbers.index(fewest), fewest - 1)
