"""JSON lines on standard output, one event each, with the request id where there is one."""

import logging
import os
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

# The fields of every line about the request that is being answered: its id, and that of its trace, if any.
about: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))

STANDARD_OUTPUT = 1


class Lines:
    """Writes each line to a file at once, by one call of the system and without a lock.

    A write lets other threads run. With a lock they would wait for it, and whoever has it for the interpreter. The
    system keeps lines of up to PIPE_BUF (4,096 bytes) apart, also those of other processes.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def msg(self, line: bytes) -> None:
        rest = line + b"\n"
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    debug = info = warning = error = critical = exception = msg


def configure(level: str) -> None:
    """Log at `level` and above, for this process."""
    lines = Lines(STANDARD_OUTPUT)
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
    # One processor for all, because each of structlog's own costs as much as writing the line.
    if "exc_info" in event:
        event = structlog.processors.format_exc_info(logger, method, event)
    line = {**add_request(logger, method, event), "level": method, "at": datetime.now(UTC)}
    return orjson.dumps(line, default=str, option=orjson.OPT_UTC_Z)
