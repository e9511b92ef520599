"""How much is measured: all of it, or with --brief just enough to see that a benchmark still works."""

import sys
from typing import TypeVar

BRIEF_OPTION = "--brief"
Amount = TypeVar("Amount", int, float)


def extent(full: Amount, *, brief: Amount) -> Amount:
    """Return how many, how large or how long."""
    return brief if BRIEF_OPTION in sys.argv else full


def argument(default: int, *, brief: int) -> int:
    """Return the number on the command line, if there is one."""
    numbers = [word for word in sys.argv[1:] if word.isdecimal()]
    return int(numbers[0]) if numbers else extent(default, brief=brief)
