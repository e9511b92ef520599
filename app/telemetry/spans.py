"""Spans for OpenTelemetry: how long requests, blocks, commands to MongoDB and letters took, and which is part of which.

This is optional: without an address to send spans to, nothing of OpenTelemetry is imported, and `span` returns an
object that does nothing. No span contains anything that a client sent, a name, an address or a token.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pymongo import monitoring

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

_NANOSECONDS_PER_MICROSECOND = 1_000
# Commands that the driver sends by itself.
_SILENT = frozenset({"hello", "ping", "endSessions", "killCursors"})
_NOTHING: AbstractContextManager[None] = nullcontext()

_provider: TracerProvider | None = None
_tracer: Tracer | None = None


def configure(url: str | None, *, service_name: str = "fincore", version: str) -> None:
    """Send spans to `url`, or make none if it is None. Call it after a fork, because a thread sends them."""
    global _provider, _tracer
    if _provider is not None:
        _provider.shutdown()
    _provider = _tracer = None
    if url is None:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # The SDK reads the other variables of OpenTelemetry itself, such as headers and how many traces are kept.
    resource = Resource.create({"service.name": service_name, "service.version": version})
    _provider = TracerProvider(resource=resource)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
    _tracer = _provider.get_tracer("fincore", version)


def is_on() -> bool:
    return _tracer is not None


def span(name: str) -> AbstractContextManager[Span | None]:
    """Return a context that is measured as part of the one around it. It yields the span, or None without spans."""
    if _tracer is None:
        return _NOTHING
    return _measured(_tracer, name)


def request(method: str, traceparent: str | None, tracestate: str | None) -> AbstractContextManager[Span]:
    """Return a context for a request, as part of the trace that its headers name. Only while `is_on`."""
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    assert _tracer is not None
    headers = {"traceparent": traceparent or "", "tracestate": tracestate or ""}
    parent = TraceContextTextMapPropagator().extract(headers)
    return _measured(_tracer, method, context=parent, kind=SpanKind.SERVER)


def answered(span: Span, *, method: str, route: str | None, status: int, request_id: str) -> None:
    """Note how a request was answered."""
    from opentelemetry.trace import StatusCode

    span.set_attribute("http.request.method", method)
    if route is not None:
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    span.set_attribute("fincore.request_id", request_id)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        span.set_status(StatusCode.ERROR)


@contextmanager
def _measured(tracer: Tracer, name: str, **more: Any) -> Iterator[Span]:
    # The library would keep the error's text, which may contain an address, such as one that a mail server refused.
    from opentelemetry.trace import StatusCode

    with tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False, **more) as made:
        try:
            yield made
        except Exception as error:
            made.set_status(StatusCode.ERROR, type(error).__name__)
            raise


def ids_of(span: Span) -> tuple[str, str, str]:
    """Return a span's trace, its own id and its flags, as `traceparent` writes them."""
    context = span.get_span_context()
    return f"{context.trace_id:032x}", f"{context.span_id:016x}", f"{context.trace_flags:02x}"


class CommandSpans(monitoring.CommandListener):
    """Makes a span of each command to MongoDB that is part of another span."""

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Do nothing. The span is made when the duration of the command is known."""

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        self._add(event)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        self._add(event)

    def _add(self, event: monitoring.CommandSucceededEvent | monitoring.CommandFailedEvent) -> None:
        tracer = _tracer
        if tracer is None or event.command_name in _SILENT:
            return
        from opentelemetry.trace import SpanKind, StatusCode, get_current_span

        if not get_current_span().is_recording():
            return
        ended = time.time_ns()
        made = tracer.start_span(
            f"mongodb {event.command_name}",
            kind=SpanKind.CLIENT,
            start_time=ended - event.duration_micros * _NANOSECONDS_PER_MICROSECOND,
            attributes={
                "db.system.name": "mongodb",
                "db.operation.name": event.command_name,
                "db.namespace": event.database_name,
            },
        )
        if isinstance(event, monitoring.CommandFailedEvent):
            made.set_status(StatusCode.ERROR)
        made.end(ended)
