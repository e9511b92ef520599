"""How the worker runs, and how it stops without losing a request.

A worker is told to stop for one of two reasons. At a reload other workers have been started in its place: it takes
requests until one of them serves, and closes no kept connection earlier than its clients were told, because one of
them may be sending a request just then. At the end of the server nobody comes after it, so it waits for such requests
for a moment only. In both cases it says `Connection: close` in each answer that it begins now, and the client's next
request goes to others.
"""

import selectors
import time
from collections.abc import Callable

from app.http.connections import Stage
from app.http.worker import SWEEP_S, PatientWorker
from app.runtime.succession import Succession

# How long a worker that stops waits for clients to take their last answers.
STOP_LINGER_S = 1.0
# How long it waits for the rest of a head or for the next request on an idle connection, if nothing replaces it.
STOP_REST_S = 1.0
# The part of graceful_timeout that is kept for the last requests. A posting takes less, with its default limit.
LAST_ANSWER_S = 12.0


class RetiringWorker(PatientWorker):
    """Serves until it is told to stop, and then finishes what it has started."""

    # Given after the fork.
    succession = Succession()
    generation = 0
    # Called once when the worker is told to stop. It answers requests that wait for something to happen.
    end_waiting: Callable[[], None] = staticmethod(lambda: None)

    def run(self) -> None:
        self.poller.register(self.method_queue.fileno(), selectors.EVENT_READ, self.method_queue.run_callbacks)
        while self.alive and self.is_parent_alive():
            self._serve_all()
        # This happens even if the master has died. From now on, answers say that their connection ends.
        self.alive = False
        self.end_waiting()
        stands_in_until = time.monotonic() + self.cfg.graceful_timeout
        while self._stands_in() and time.monotonic() < stands_in_until:
            self._serve_all()
        self.set_accept_enabled(False)
        self._stop()

    def _serve_all(self) -> None:
        now = time.monotonic()
        self.door.tell(len(self.connections))
        if (left := self.door.come_back(len(self.connections), now)) is not None:
            self._accept(left)
        shut_s = self.door.opens_in_s(now)
        self.set_accept_enabled(not shut_s and self._has_room())
        self._round(shut_s or SWEEP_S)

    def _stands_in(self) -> bool:
        return self.succession.awaits_successor(self.generation) and bool(self.is_parent_alive())

    def _stop(self) -> None:
        """Finish the requests that have started, and answer the next one on each connection that is kept."""
        # Now, so that new connections are refused or go to another worker, and do not wait until this one ends.
        self.door.retire()
        for listener in self.sockets:
            listener.close()
        begun_at = time.monotonic()
        ends_at = begun_at + self.cfg.graceful_timeout
        while time.monotonic() < ends_at and any(c.stage is not Stage.LINGERING for c in self.connections):
            self._shorten_rests(begun_at, ends_at)
            self._round()
        ends_at = min(ends_at, time.monotonic() + STOP_LINGER_S)
        while time.monotonic() < ends_at and self.connections:
            self._round()
        for pool in (self.tpool, self.arriving_pool):
            pool.shutdown(wait=False)
        for connection in list(self.connections):
            self._close(connection)
        self.poller.close()
        self.method_queue.close()

    def _shorten_rests(self, begun_at: float, ends_at: float) -> None:
        """Limit the wait for requests of which nothing or only a part of the head has arrived."""
        is_replaced = self.succession.is_replaced(self.generation)
        rests_until = max(begun_at, ends_at - LAST_ANSWER_S) if is_replaced else begun_at + STOP_REST_S
        for connection in self.connections:
            if connection.stage in (Stage.IDLE, Stage.HEAD):
                connection.deadline = min(connection.deadline, rests_until)
