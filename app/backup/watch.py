"""The observer of the making, proving or restoring of a copy, such as a terminal."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Watch(Protocol):
    """An observer of a long task."""

    def says(self, text: str) -> None:
        """Show something that the operator should know."""

    def follows(self, title: str, length: int) -> AbstractContextManager[Callable[[int], None]]:
        """Follow one step. The yielded function is called with the number of documents done since its last call."""
