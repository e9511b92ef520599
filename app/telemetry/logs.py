"""JSON lines on standard output, one event each, with the request id where there is one."""

import logging
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

# What lines say about the request that is being answered: its id, and its trace's, if it has one.
about: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))


def configure(level: str) -> None:
    """Log at `level` and above, for this process."""
    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        processors=[add_request, structlog.processors.format_exc_info, _as_line],
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
    )


def add_request(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add the request's id to an event that happened while a request was answered. A processor of structlog's."""
    return {**about.get(), **event}


def _as_line(_logger: WrappedLogger, method: str, event: EventDict) -> bytes:
    event["level"] = method
    event["at"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return orjson.dumps(event, default=_text)


def _text(value: Any) -> str:
    return str(value)
