"""Decides when a server that ended may be started again."""

import time

RESTART_PAUSE_MIN_S = 1.0
RESTART_PAUSE_MAX_S = 30.0
STEADY_AFTER_S = 60.0


class Restarts:
    """The times at which a server that ended is started again: at once, and then after pauses that double."""

    def __init__(self) -> None:
        self.pause_s = RESTART_PAUSE_MIN_S
        self._next_pause_s = RESTART_PAUSE_MIN_S
        self._due_at_s = 0.0

    def are_due(self) -> bool:
        """Tell whether it may be started now. If so, the next time is due `pause_s` later."""
        overdue_s = time.monotonic() - self._due_at_s
        if overdue_s < 0:
            return False
        self.pause_s = RESTART_PAUSE_MIN_S if overdue_s > STEADY_AFTER_S else self._next_pause_s
        self._due_at_s = time.monotonic() + self.pause_s
        self._next_pause_s = min(2 * self.pause_s, RESTART_PAUSE_MAX_S)
        return True
