"""When a worker accepts a new connection, and when it leaves it to another one.

The system tells all idle workers of a new connection, and whoever accepts first gets it. That is often the same worker
many times in a row. All connections of one client program may then be in one process, while others are idle. So a
worker that has more connections than another leaves a new one to the others for a moment, and takes it if it is still
there.

A worker also pauses when accepting fails, so that an error without an end does not keep it busy.
"""

import errno
import time
from typing import Any

import structlog

from app.runtime.occupancy import Occupancy

log = structlog.get_logger(__name__)

# How long the others may take to accept what this worker leaves to them.
LEFT_TO_OTHERS_S = 0.001
# If they did not, nothing is left for the sake of the one with the fewest for so long, because it is busy or stuck.
PASSED_OVER_S = 0.05
# A worker leaves a connection to the others if it has more than the one with the fewest, by more than four and by more
# than a sixteenth of what that one has. With smaller limits, clients that connect for each request would often wait.
SURPLUS_MIN = 4
SURPLUS_DIVISOR = 16
# After this many failed accepts in a row, the next one waits for PAUSE_S.
FAILED_ACCEPTS_MAX = 16
PAUSE_S = 0.5
# The errors of accept(2) when there is no room for another connection, and when none can ever be accepted again.
NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
LISTENER_BROKEN = (errno.EBADF, errno.EFAULT, errno.EINVAL, errno.ENOTSOCK)


class Door:
    """One worker's part in accepting connections. `age` tells it from the other workers of its server.

    Each round of the worker's loop looks at the clock once and gives that as `now`. If the door opened between two
    looks, the worker would wait without listening.
    """

    def __init__(self, occupancy: Occupancy, age: int) -> None:
        self._occupancy = occupancy
        self._age = age
        self._opens_at = 0.0
        # The listener at which a connection was left.
        self._left: Any = None
        # The place of a worker that had its time to take the connection and still has fewer.
        self._late: int | None = None
        # The places for whose sake nothing is left, and until when.
        self._passed_over: dict[int, float] = {}
        self._failed = 0

    def tell(self, connections: int) -> None:
        """Let the other workers know how many connections this one has."""
        self._occupancy.tell(self._age, connections)

    def retire(self) -> None:
        """Let the other workers know that this one accepts no more."""
        self._occupancy.vacate(self._age)

    def opens_in_s(self, now: float) -> float:
        """Return for how long this worker accepts nothing: 0 if the door is open."""
        return max(0.0, self._opens_at - now)

    def leave_to_others(self, listener: Any, connections: int) -> bool:
        """If another worker should get the connection that waits there, shut the door for a moment and return True."""
        now = time.monotonic()
        if self._emptier(connections, now) is None:
            return False
        self._left = listener
        self._shut_until(now + LEFT_TO_OTHERS_S)
        return True

    def come_back(self, connections: int, now: float) -> Any:
        """Return the listener at which a connection was left, once the others have had their time. None: there is none.

        Whoever asks accepts now, so that a client is served even if all other workers are stuck.
        """
        if self._left is None or now < self._opens_at:
            return None
        listener, self._left = self._left, None
        self._late = self._emptier(connections, now)
        return listener

    def _emptier(self, connections: int, now: float) -> int | None:
        """Return the place of the worker that should get the next connection instead of this one, or None."""
        if connections <= SURPLUS_MIN:
            return None  # saves the look at the others
        emptiest = self._occupancy.emptiest(place for place, until in self._passed_over.items() if now < until)
        if emptiest is None:
            return None
        place, fewest = emptiest
        return place if connections > fewest + max(SURPLUS_MIN, fewest // SURPLUS_DIVISOR) else None

    def _shut_until(self, moment: float) -> None:
        self._opens_at = max(self._opens_at, moment)

    def note_accepted(self) -> None:
        self._failed = 0
        if self._late is not None:
            self._passed_over[self._late] = time.monotonic() + PASSED_OVER_S
            self._late = None

    def note_failure(self, error: OSError) -> bool:
        """Go on accepting, or pause. Return whether the system has no room. Raises `error` if the listener is broken.

        Most errors concern one new connection only.
        """
        if error.errno in LISTENER_BROKEN:
            raise error
        self._late = None
        if error.errno in (errno.EAGAIN, errno.EINTR):
            # Another worker has accepted the connection.
            return False
        self._failed += 1
        is_full = error.errno in NO_ROOM
        reason = errno.errorcode.get(error.errno or 0, str(error))
        if is_full:
            log.error("too_many_connections", reason=reason)
        elif self._failed < FAILED_ACCEPTS_MAX:
            return False
        else:
            self._failed = 0
            log.warning("connections_not_accepted", reason=reason)
        self._shut_until(time.monotonic() + PAUSE_S)
        return is_full
