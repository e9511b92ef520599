"""What every request gets: an id, a line in the log, and the headers of its answer."""

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson
import structlog
from flask import Flask, Response, g, request
from flask.json.provider import JSONProvider
from pymongo.errors import PyMongoError

from app import metrics, mongo
from app.http import checks, headers, problems, proxies, rate_limits, routing, traces
from app.http.results import json_response
from app.mongo.measures import seconds_of_thread
from app.networks import parse_networks
from app.policies import HttpPolicy

log = structlog.get_logger(__name__)

REQUEST_ID_HEADER = "X-Request-ID"
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


class OrjsonProvider(JSONProvider):
    """Flask's JSON through orjson."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return orjson.dumps(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        return json_response(args[0] if args else kwargs)


def register(app: Flask, policy: HttpPolicy) -> None:
    """Give the application its JSON, request ids, limits, error handlers and response headers."""
    app.config["MAX_CONTENT_LENGTH"] = policy.body_bytes_max
    app.json = OrjsonProvider(app)
    routing.register(app)
    app.before_request(_begin)
    app.after_request(_finish)
    problems.register(app)
    headers.register(app, cors_origins=policy.cors_origins)
    rate_limits.register(app, policy)
    networks = parse_networks(policy.trusted_proxies)
    app.wsgi_app = proxies.ClientAddress(app.wsgi_app, networks)  # type: ignore[assignment,method-assign] # as Flask documents it


def _begin() -> None:
    offered = request.headers.get(REQUEST_ID_HEADER, "")
    g.request_id = offered if checks.is_sane_id(offered) else uuid.uuid4().hex
    g.begun = time.perf_counter()
    g.database_begun = seconds_of_thread()
    g.trace = traces.read(request.headers.get(traces.REQUEST_HEADER))
    trace = {} if g.trace is None else {"trace_id": g.trace.id}
    structlog.contextvars.bind_contextvars(request_id=g.request_id, **trace)
    checks.refuse_ambiguous(request)
    routing.refuse_call_as_id()


def _finish(response: Response) -> Response:
    response.headers[REQUEST_ID_HEADER] = g.get("request_id", "")
    headers.protect(response)
    if request.method == "OPTIONS" and request.url_rule is not None:
        response.allow = routing.methods_of(request.url_rule.rule)
    rate_limits.add_headers(response)
    trace = g.get("trace")
    if trace is not None:
        response.headers[traces.RESPONSE_HEADER] = str(trace)
    line = _line(response)
    _count(response.status_code)
    if response.is_streamed and not response.direct_passthrough and request.method != "HEAD":
        response.response = _Told(response.response, line, request_id=g.get("request_id", ""), begun=_begun())
    else:
        log.info("request", **line, duration_ms=_milliseconds_since(_begun()))
    structlog.contextvars.clear_contextvars()
    return response


def _line(response: Response) -> dict[str, Any]:
    """Return what the log says of a request. It names who asked by id, and nothing that was sent."""
    waited_s = seconds_of_thread() - g.get("database_begun", seconds_of_thread())
    return {
        "method": request.method,
        "path": request.path,
        "route": _route(),
        "status": response.status_code,
        "user": g.get("user_id"),
        "database_ms": round(waited_s * 1000, 1),
    }


def _route() -> str | None:
    return None if request.url_rule is None else request.url_rule.rule


def _count(status: int) -> None:
    # A method is a word that clients choose, and each new one would be kept for good.
    method = request.method if request.method in METHODS else "other"
    route = _route() or "none"
    metrics.REQUESTS.labels(route, method, status).inc()
    metrics.REQUEST_SECONDS.labels(route, method).observe(time.perf_counter() - _begun())


class _Told:
    """An answer that is made while it is sent. Its line in the log is written at the end.

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
            is_away = isinstance(error, PyMongoError) and mongo.is_away(error)
            known = {"request_id": self._line["request_id"], "error": type(error).__name__}
            # Raised again, so that the server breaks the connection and the client does not take a part for the whole.
            if is_away:
                log.warning("database_away", **known)
            else:
                log.error("bug", **known, exc_info=error)
            raise

    def close(self) -> None:
        log.info("request", **self._line, duration_ms=_milliseconds_since(self._begun), sent=self._sent)


def _begun() -> float:
    begun: float = g.get("begun", time.perf_counter())
    return begun


def _milliseconds_since(begun: float) -> float:
    return round((time.perf_counter() - begun) * 1000, 1)
