"""JSON lines on standard output, one event each, with the request id where there is one."""

import logging
import sys
import threading
from collections import deque
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import BinaryIO

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

# The fields of every line about the request that is being answered: its id, and that of its trace, if any.
about: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))

# How many lines are left to the thread that writes. Beyond that nobody reads the log, and everybody waits.
LINES_LEFT_MAX = 1_000
# How often a thread writes what others left to it.
WRITES_FOR_OTHERS_MAX = 3


class Lines:
    """Writes lines to a file, each at once. What comes while a thread writes, that thread writes too.

    A write lets other threads run. If all of them waited for the one that wrote, it would still have to wait for the
    interpreter, and so nobody would go on for a while. But no thread writes for others for long.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lines: deque[bytes] = deque()
        self._lock = threading.Lock()
        # Whoever comes now waits and writes, because the thread that writes is about to stop.
        self._is_closing = False

    def msg(self, line: bytes) -> None:
        # First the line, then the look: so the thread that writes sees it, or has said that it is about to stop.
        self._lines.append(line)
        if not self._lock.acquire(blocking=self._is_closing or len(self._lines) > LINES_LEFT_MAX):
            return
        try:
            self._is_closing = False
            for _ in range(WRITES_FOR_OTHERS_MAX):
                self._write()
                if not self._lines:
                    break
            self._is_closing = True
            self._write()
        finally:
            # Also if nothing could be written: the next one tries to write all.
            self._is_closing = True
            self._lock.release()

    debug = info = warning = error = critical = exception = msg

    def _write(self) -> None:
        if self._lines:
            count = len(self._lines)
            self._file.write(b"".join([self._lines.popleft() + b"\n" for _ in range(count)]))
            self._file.flush()


def configure(level: str) -> None:
    """Log at `level` and above, for this process."""
    lines = Lines(sys.stdout.buffer)
    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        processors=[_as_line],
        logger_factory=lambda *_: lines,
    )


def add_request(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add the request's id to an event that happened while a request was answered. A processor of structlog's."""
    return {**about.get(), **event}


def _as_line(logger: WrappedLogger, method: str, event: EventDict) -> bytes:
    # One processor, because each of structlog's own costs as much as writing the line.
    if "exc_info" in event:
        event = structlog.processors.format_exc_info(logger, method, event)
    line = {**about.get(), **event, "level": method, "at": datetime.now(UTC)}
    return orjson.dumps(line, default=str, option=orjson.OPT_UTC_Z)
