"""A clock that a test moves."""


class Clock:
    """Takes the place of the module `time`."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now
