"""Chance that a test decides."""

import threading


class Draws:
    """Stands in for `randbelow`: draws these numbers in order, whoever asks."""

    def __init__(self, *drawn: int) -> None:
        self._drawn = iter(drawn)
        self._lock = threading.Lock()

    def __call__(self, below: int) -> int:
        with self._lock:
            drawn = next(self._drawn)
        assert 0 <= drawn < below
        return drawn
