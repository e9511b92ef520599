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
# If they did not, because they are busy or stuck, nothing is left to them for so long.
TAKES_ALL_S = 0.05
# A worker leaves a connection to the others if it has more than the one with the fewest, by more than this many and by
# more than this part of those. With smaller limits, those who connect for each request would often wait.
SURPLUS_MIN = 4
SURPLUS_PART = 16
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
        # The listener at which a connection was left, and whether the others had their time and still have fewer.
        self._left: Any = None
        self._were_others_late = False
        self._takes_all_until = 0.0
        self._failed = 0

    def tell(self, connections: int) -> None:
        """Let the other workers know how many connections this one has."""
        self._occupancy.tell(self._age, connections)

    def retire(self) -> None:
        """Let the other workers know that this one accepts no more."""
        self._occupancy.vacate(self._age)

    def is_open(self, now: float) -> bool:
        return now >= self._opens_at

    def opens_in_s(self, now: float) -> float:
        return max(0.0, self._opens_at - now)

    def leaves(self, listener: Any, connections: int) -> bool:
        """Return whether another worker should get the connection that waits there. If so, the door is shut so long."""
        now = time.monotonic()
        if now < self._takes_all_until or not self._has_surplus(connections):
            return False
        self._left = listener
        self._shut_until(now + LEFT_TO_OTHERS_S)
        return True

    def take_left(self, connections: int, now: float) -> Any:
        """Return the listener at which a connection was left, once the others have had their time. None: there is none.

        Whoever asks accepts now, so that a client is served even if all other workers are stuck.
        """
        if self._left is None or not self.is_open(now):
            return None
        listener, self._left = self._left, None
        self._were_others_late = self._has_surplus(connections)
        return listener

    def _has_surplus(self, connections: int) -> bool:
        if connections <= SURPLUS_MIN:
            return False  # saves the look at the others
        fewest = self._occupancy.fewest()
        return connections > fewest + max(SURPLUS_MIN, fewest // SURPLUS_PART)

    def _shut_until(self, moment: float) -> None:
        self._opens_at = max(self._opens_at, moment)

    def note_accepted(self) -> None:
        self._failed = 0
        if self._were_others_late:
            self._were_others_late = False
            self._takes_all_until = time.monotonic() + TAKES_ALL_S

    def note_failure(self, error: OSError) -> bool:
        """Go on accepting, or pause. Return whether the system has no room. Raises `error` if the listener is broken.

        Most errors concern one new connection only.
        """
        if error.errno in LISTENER_BROKEN:
            raise error
        self._were_others_late = False
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
