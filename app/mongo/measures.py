"""Times MongoDB's commands, for Prometheus and for the line of each request in the log."""

import threading

from prometheus_client import Histogram
from pymongo import monitoring

from app.telemetry import metrics

_MICROSECONDS = 1_000_000
# Commands that the driver sends by itself, and that nobody waits for.
_SILENT = frozenset({"hello", "ping", "endSessions", "killCursors"})


class _OfThread(threading.local):
    seconds = 0.0


_spent = _OfThread()


def seconds_of_thread() -> float:
    """Return how long this thread has waited for MongoDB since it started. Take the difference of two calls."""
    return _spent.seconds


class CommandTimer(monitoring.CommandListener):
    """Adds up how long commands took. The driver calls it in the thread that waits for the answer."""

    def __init__(self) -> None:
        self._histograms: dict[str, Histogram] = {}

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Do nothing. The answer tells how long the command took."""

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        self._add(event)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        self._add(event)

    def _add(self, event: monitoring.CommandSucceededEvent | monitoring.CommandFailedEvent) -> None:
        seconds = event.duration_micros / _MICROSECONDS
        _spent.seconds += seconds
        histogram = self._histograms.get(event.command_name)
        if histogram is None:
            if event.command_name in _SILENT:
                return
            histogram = self._histograms[event.command_name] = metrics.MONGO_SECONDS.labels(event.command_name)
        histogram.observe(seconds)
