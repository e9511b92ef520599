"""Gives every request an id, a line in the log, and the headers of its answer. `application` calls it."""

import os
import random
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import orjson
import structlog
from flask import Flask, Response
from flask.json.provider import JSONProvider
from prometheus_client import Counter, Histogram

from app import mongo
from app.errors import ServiceUnavailable
from app.http import checks, headers, problems, proxies, rate_limits, routing, traces
from app.http.answers import BrokenOff
from app.http.incoming import Incoming
from app.http.results import add_headers, json_response
from app.mongo import together
from app.mongo.measures import seconds_of_thread
from app.networks import parse_networks
from app.settings.policies import HttpPolicy
from app.telemetry import logs, metrics

log = structlog.get_logger(__name__)

REQUEST_ID_HEADER = "X-Request-ID"
_REQUEST_ID_IN_ENVIRON = "HTTP_X_REQUEST_ID"
_TRACE_IN_ENVIRON = "HTTP_TRACEPARENT"
REQUEST_ID_BITS = 128
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


# Ids of requests are no secrets, and to ask the kernel for each of them would let another thread run meanwhile.
_chance = random.Random()  # nosec B311
# It starts from the kernel's chance, also in a process that was forked.
os.register_at_fork(after_in_child=_chance.seed)


def _new_id() -> str:
    return f"{_chance.getrandbits(REQUEST_ID_BITS):032x}"


class OrjsonProvider(JSONProvider):
    """Flask's JSON through orjson."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return orjson.dumps(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        return json_response(args[0] if args else kwargs)


def register(app: Flask, policy: HttpPolicy, numbers: routing.Numbers) -> None:
    """Give the application its JSON, limits, error handlers and response headers."""
    app.config["MAX_CONTENT_LENGTH"] = policy.body_bytes_max
    app.json = OrjsonProvider(app)
    routing.register(app, numbers)
    problems.register(app)
    headers.register(app, cors_origins=policy.cors_origins)
    rate_limits.register(app, policy)
    networks = parse_networks(policy.trusted_proxies)
    app.wsgi_app = proxies.ClientAddress(app.wsgi_app, networks)  # type: ignore[assignment,method-assign] # as Flask documents it


def begin(incoming: Incoming) -> None:
    """Give the request its id, and refuse what two readers could understand differently. Raises a problem."""
    offered = incoming.environ.get(_REQUEST_ID_IN_ENVIRON, "")
    incoming.request_id = offered if checks.is_sane_id(offered) else _new_id()
    incoming.database_begun = seconds_of_thread()
    if incoming.trace is None:  # with spans it has one already
        incoming.trace = traces.read(incoming.environ.get(_TRACE_IN_ENVIRON))
    trace = {} if incoming.trace is None else {"trace_id": incoming.trace.id}
    logs.about.set({"request_id": incoming.request_id, **trace})
    together.forget()
    checks.refuse_ambiguous(incoming)
    routing.refuse_call_as_id(incoming)
    rate_limits.check_anonymous(incoming)


def finish(incoming: Incoming, response: Response) -> Response:
    """Give the response the headers that all responses have, count it, and write the request's line in the log."""
    told = [(REQUEST_ID_HEADER, incoming.request_id), *rate_limits.headers(incoming)]
    if incoming.trace is not None:
        told.append((traces.RESPONSE_HEADER, str(incoming.trace)))
    add_headers(response, told)
    headers.protect(incoming, response)
    if incoming.method == "OPTIONS" and incoming.url_rule is not None:
        response.allow = routing.methods_of(incoming.url_rule.rule)
    line = _line(incoming, response)
    _count(incoming, response.status_code)
    if response.is_streamed and not response.direct_passthrough and incoming.method != "HEAD":
        response.response = _Told(response.response, line, request_id=incoming.request_id, begun=incoming.begun)
    else:
        log.info("request", **line, duration_ms=_milliseconds_since(incoming.begun))
    logs.about.set({})
    return response


def _line(incoming: Incoming, response: Response) -> dict[str, Any]:
    """Return the log's line about a request. It has the caller's id, and nothing that the caller sent."""
    return {
        "method": incoming.method,
        "path": incoming.path,
        "route": _route(incoming),
        "status": response.status_code,
        "user": None if incoming.claims is None else incoming.claims["sub"],
        "database_ms": round((seconds_of_thread() - incoming.database_begun) * 1000, 1),
    }


def _route(incoming: Incoming) -> str | None:
    return None if incoming.url_rule is None else incoming.url_rule.rule


def _count(incoming: Incoming, status: int) -> None:
    # Clients choose the method, and each new word would be kept for ever.
    method = incoming.method if incoming.method in METHODS else "other"
    count, seconds = _metrics(_route(incoming) or "none", method, status)
    count.inc()
    seconds.observe(time.perf_counter() - incoming.begun)


@cache  # one for each route, method and status, because the library's own look-up costs more than counting
def _metrics(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    return metrics.REQUESTS.labels(route, method, status), metrics.REQUEST_SECONDS.labels(route, method)


class _Told:
    """An answer that is produced while it is sent. Its line in the log is written at the end.

    `sent` in that line says whether all of it was sent, our side failed, or the client left.
    """

    def __init__(self, pieces: Iterable[Any], line: Mapping[str, Any], *, request_id: str, begun: float) -> None:
        self._pieces = iter(pieces)
        self._line = {"request_id": request_id, **line}
        self._begun = begun
        self._sent = "in part: the client left"

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self._pieces)
        except StopIteration:
            self._sent = "all"
            raise
        except Exception as error:
            self._sent = "in part: broken off"
            known = {"request_id": self._line["request_id"], "error": type(error).__name__}
            if mongo.is_away(error):
                log.warning("database_away", **known)
            elif isinstance(error, ServiceUnavailable):
                log.warning("answer_broken_off", **known)
            else:
                log.error("bug", **known, exc_info=error)
            # The server then breaks the connection, so the client does not take a part for the whole.
            raise BrokenOff from error

    def close(self) -> None:
        log.info("request", **self._line, duration_ms=_milliseconds_since(self._begun), sent=self._sent)


def _milliseconds_since(begun: float) -> float:
    return round((time.perf_counter() - begun) * 1000, 1)
