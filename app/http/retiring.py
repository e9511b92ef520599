"""How the worker runs, and how it stops: requests that have started are finished."""

import selectors
import time

from app.http.connections import Stage
from app.http.worker import PatientWorker

# How long a worker that stops waits for clients to take their last answers.
STOP_LINGER_S = 1.0


class RetiringWorker(PatientWorker):
    """Serves until it is told to stop, and then ends what it has begun."""

    def run(self) -> None:
        self.poller.register(self.method_queue.fileno(), selectors.EVENT_READ, self.method_queue.run_callbacks)
        while self.alive and self.is_parent_alive():
            self.set_accept_enabled(self._has_room())
            self._turn()
        self.set_accept_enabled(False)
        self._stop()

    def _stop(self) -> None:
        """Finish the requests that have started. Idle connections are closed at once, as HTTP allows at any time."""
        for connection in [c for c in self.connections if c.stage is Stage.IDLE]:
            self._guard(connection, self._on_readable)  # a request may have come just now
            if connection.stage is Stage.IDLE:
                self._close(connection)
        for connection in [c for c in self.connections if c.stage is Stage.HEAD]:
            connection.deadline = min(connection.deadline, time.monotonic() + STOP_LINGER_S)
        ends_at = time.monotonic() + self.cfg.graceful_timeout
        while time.monotonic() < ends_at and any(c.stage is not Stage.LINGERING for c in self.connections):
            self._turn()
        ends_at = min(ends_at, time.monotonic() + STOP_LINGER_S)
        while time.monotonic() < ends_at and self.connections:
            self._turn()
        for pool in (self.tpool, self.arriving_pool):
            pool.shutdown(wait=False)
        for connection in list(self.connections):
            self._close(connection)
        self.poller.close()
        self.method_queue.close()
        for listener in self.sockets:
            listener.close()
