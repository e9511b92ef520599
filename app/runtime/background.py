"""Background tasks: each worker runs each task in a thread of its own, and stops it when the worker stops.

Several workers run the same task at once, so tasks must be safe under that.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from app.telemetry import metrics

log = structlog.get_logger(__name__)

STOP_TIMEOUT_S = 10.0
PAUSE_AFTER_FAILURE_S = 2.0


@dataclass(frozen=True, slots=True)
class Task:
    """A named task. `run` does some of the work and returns after how many seconds to call it again.

    `stop` makes its work on other threads end soon.
    """

    name: str
    run: Callable[[], float]
    stop: Callable[[], None] = lambda: None


class Background:
    """Runs tasks between `start` and `stop`. For a failure that `is_outage`, the log has no traceback."""

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        is_outage: Callable[[Exception], bool],
        pause_after_failure_s: float = PAUSE_AFTER_FAILURE_S,
    ) -> None:
        self._tasks = tasks
        self._is_outage = is_outage
        self._pause_after_failure_s = pause_after_failure_s
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

    def start(self) -> None:
        """Start a thread for each task. Call it in the worker, after the fork."""
        self._stopping.clear()
        self._threads = [
            threading.Thread(target=self._repeat, args=(task,), name=task.name, daemon=True) for task in self._tasks
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each task finish its current run, and end the threads."""
        self._stopping.set()
        # One limit for all together, because gunicorn kills a worker that ends too late.
        until = time.monotonic() + STOP_TIMEOUT_S
        for task in self._tasks:
            task.stop()
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._threads = []

    def _repeat(self, task: Task) -> None:
        told: type[Exception] | None = None
        while not self._stopping.is_set():
            pause_s = self._pause_after_failure_s
            try:
                pause_s = task.run()
                metrics.TASK_SUCCESS.labels(task.name).set_to_current_time()
                told = None
            except Exception as error:
                # Log a repeated failure of the same type only once, because an outage would fill the log.
                if type(error) is not told:
                    log.warning("task_failed", task=task.name, exc_info=None if self._is_outage(error) else error)
                told = type(error)
            self._stopping.wait(pause_s)
