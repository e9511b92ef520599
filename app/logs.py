"""JSON lines on standard output, one event each, with the request id where there is one."""

import logging
import sys

import orjson
import structlog


def configure(level: str) -> None:
    """Log at `level` and above, for this process."""
    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_serialize),
        ],
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
    )


def _serialize(event: object, **_: object) -> bytes:
    return orjson.dumps(event, default=str)
