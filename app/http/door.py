"""When a worker accepts new connections.

It pauses when accepting fails, so that an error without an end does not keep it busy.
"""

import errno
import time

import structlog

log = structlog.get_logger(__name__)

# After this many failed accepts in a row, the next one waits for PAUSE_S.
FAILED_ACCEPTS_MAX = 16
PAUSE_S = 0.5
# The errors of accept(2) when there is no room for another connection, and when none can ever be accepted again.
NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
LISTENER_BROKEN = (errno.EBADF, errno.EFAULT, errno.EINVAL, errno.ENOTSOCK)


class Door:
    """One worker's part in accepting connections."""

    def __init__(self) -> None:
        self._opens_at = 0.0
        self._failed = 0

    def is_open(self) -> bool:
        return time.monotonic() >= self._opens_at

    def note_accepted(self) -> None:
        self._failed = 0

    def note_failure(self, error: OSError) -> bool:
        """Go on accepting, or pause. Return whether the system has no room. Raises `error` if the listener is broken.

        Most errors concern one new connection only.
        """
        if error.errno in LISTENER_BROKEN:
            raise error
        if error.errno in (errno.EAGAIN, errno.EINTR):
            return False
        self._failed += 1
        is_full = error.errno in NO_ROOM
        if is_full:
            log.error("too_many_connections", reason=errno.errorcode[error.errno])
        elif self._failed < FAILED_ACCEPTS_MAX:
            return False
        else:
            self._failed = 0
            log.warning("connections_not_accepted", reason=errno.errorcode.get(error.errno or 0, str(error)))
        self._opens_at = time.monotonic() + PAUSE_S
        return is_full
