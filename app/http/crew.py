"""Threads that answer requests, and how they call back the main thread.

They replace ThreadPoolExecutor and gunicorn's own queue and do less: nobody waits for a future, and the main thread is
woken once for all calls that it has not seen yet. Each wake-up and each hand-over costs a request more than it seems,
because the woken thread has to wait for the interpreter's lock.
"""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

Work = Callable[[], None]


class Crew:
    """Up to `size` threads. There are as many as ever had work at one time. Only one thread gives them work."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._threads = 0
        self._open = 0
        self._work: SimpleQueue[Work | None] = SimpleQueue()

    def give(self, work: Work) -> None:
        """Have a thread do this. What it raises is lost. The caller must call `end` when the work is done."""
        self._open += 1
        self._work.put(work)
        if self._threads < min(self._open, self._size):
            # A process that ends does not wait for work that never ends.
            thread = threading.Thread(target=self._serve, name=f"answers-{self._threads}", daemon=True)
            # If no thread can be started, the existing ones do the work, or the next one that can be started.
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._threads += 1

    def end(self) -> None:
        """Count one piece of work as done."""
        self._open -= 1

    def shutdown(self, *, wait: bool = False) -> None:
        """Let each thread end after its present work. gunicorn calls this too; nobody waits for the threads."""
        assert not wait
        for _ in range(self._threads):
            self._work.put(None)
        self._threads = self._size

    def _serve(self) -> None:
        while (work := self._work.get()) is not None:
            # Nothing may end a thread, not even a failure to write the log, as on a full disk.
            with contextlib.suppress(BaseException):
                work()


class Calls:
    """Calls that other threads want the main thread to make. Its descriptor is readable when there are some.

    It has the interface of gunicorn's own queue.
    """

    def __init__(self) -> None:
        self._calls: deque[Callable[[], Any]] = deque()
        self._is_told = False
        self._descriptor = -1

    def init(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def defer(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Have the main thread make a call. Wake it, unless it was woken already and has not looked yet."""
        self._calls.append(partial(call, *arguments))
        if not self._is_told:
            self._is_told = True
            # A worker that has ended makes no more calls.
            with contextlib.suppress(OSError):
                os.eventfd_write(self._descriptor, 1)

    def run_callbacks(self, _socket: Any = None) -> None:
        """Make the waiting calls. Call this on the main thread when the descriptor is readable."""
        os.eventfd_read(self._descriptor)
        # Reset before looking, so that a call that comes in between wakes the main thread again.
        self._is_told = False
        for _ in range(len(self._calls)):
            self._calls.popleft()()
