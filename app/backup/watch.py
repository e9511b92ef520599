"""Who follows the making, proving or restoring of a copy, such as a terminal."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Watch(Protocol):
    """Is told how it goes."""

    def says(self, text: str) -> None:
        """Be told something that the operator should know."""

    def follows(self, title: str, length: int) -> AbstractContextManager[Callable[[int], None]]:
        """Follow one step; the function that is yielded is called with the number of documents done since last time."""
