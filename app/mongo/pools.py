"""Counts this process's connections to MongoDB, for Prometheus: how many there are, and how many were in use at once.

The driver reports each connection that is taken or given back, which is often. So this only counts, and a background
task exports the result every few seconds.
"""

import threading

from pymongo import monitoring

from app.telemetry import metrics

NOTE_EVERY_S = 2.0


class PoolWatch(monitoring.ConnectionPoolListener):
    """Follows the pools of a process's client. The driver calls it in the threads that use the connections."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._taken = 0
        self._taken_at_once = 0

    def note(self) -> float:
        """Export the numbers since the last call, and return after how many seconds to call this again."""
        with self._lock:
            taken_at_once, self._taken_at_once = self._taken_at_once, self._taken
        metrics.MONGO_CONNECTIONS.set(self._open)
        metrics.MONGO_CONNECTIONS_TAKEN.set(taken_at_once)
        return NOTE_EVERY_S

    def connection_created(self, event: monitoring.ConnectionCreatedEvent) -> None:
        with self._lock:
            self._open += 1

    def connection_closed(self, event: monitoring.ConnectionClosedEvent) -> None:
        with self._lock:
            self._open -= 1

    def connection_checked_out(self, event: monitoring.ConnectionCheckedOutEvent) -> None:
        with self._lock:
            self._taken += 1
            if self._taken > self._taken_at_once:
                self._taken_at_once = self._taken

    def connection_checked_in(self, event: monitoring.ConnectionCheckedInEvent) -> None:
        with self._lock:
            self._taken -= 1

    def pool_created(self, event: monitoring.PoolCreatedEvent) -> None:
        """Do nothing, as in all methods below: the events of the connections tell enough."""

    def pool_ready(self, event: monitoring.PoolReadyEvent) -> None:
        """Pass over it."""

    def pool_cleared(self, event: monitoring.PoolClearedEvent) -> None:
        """Do nothing. Each of the connections is closed, and reports that."""

    def pool_closed(self, event: monitoring.PoolClosedEvent) -> None:
        """Do nothing. Each of the connections is closed, and reports that."""

    def connection_ready(self, event: monitoring.ConnectionReadyEvent) -> None:
        """Pass over it."""

    def connection_check_out_started(self, event: monitoring.ConnectionCheckOutStartedEvent) -> None:
        """Pass over it."""

    def connection_check_out_failed(self, event: monitoring.ConnectionCheckOutFailedEvent) -> None:
        """Do nothing. The failed request is counted."""


watch = PoolWatch()
