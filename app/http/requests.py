"""What every request gets: an id, a line in the log, and the headers of its answer."""

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import orjson
import structlog
from flask import Flask, Request, Response, g, request
from flask.ctx import _AppCtxGlobals
from flask.json.provider import JSONProvider
from prometheus_client import Counter, Histogram
from pymongo.errors import PyMongoError

from app import metrics, mongo
from app.errors import ServiceUnavailable
from app.http import checks, headers, problems, proxies, rate_limits, routing, traces
from app.http.answers import BrokenOff
from app.http.results import json_response
from app.mongo.measures import seconds_of_thread
from app.networks import parse_networks
from app.policies import HttpPolicy

log = structlog.get_logger(__name__)

REQUEST_ID_HEADER = "X-Request-ID"
REQUEST_ID_BYTES = 16
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


# Flask's `request` and `g` look up the current one at each access, which costs more than most of what is done here.


def _begin() -> None:
    asked, known = request._get_current_object(), g._get_current_object()  # type: ignore[attr-defined] # of proxies
    offered = asked.headers.get(REQUEST_ID_HEADER, "")
    known.request_id = offered if checks.is_sane_id(offered) else secrets.token_hex(REQUEST_ID_BYTES)
    known.begun = time.perf_counter()
    known.database_begun = seconds_of_thread()
    known.trace = traces.read(asked.headers.get(traces.REQUEST_HEADER))
    trace = {} if known.trace is None else {"trace_id": known.trace.id}
    structlog.contextvars.bind_contextvars(request_id=known.request_id, **trace)
    checks.refuse_ambiguous(asked)
    routing.refuse_call_as_id()


def _finish(response: Response) -> Response:
    asked, known = request._get_current_object(), g._get_current_object()  # type: ignore[attr-defined] # of proxies
    request_id, begun = known.get("request_id", ""), known.get("begun", time.perf_counter())
    response.headers[REQUEST_ID_HEADER] = request_id
    headers.protect(asked, response)
    if asked.method == "OPTIONS" and asked.url_rule is not None:
        response.allow = routing.methods_of(asked.url_rule.rule)
    rate_limits.add_headers(response)
    trace = known.get("trace")
    if trace is not None:
        response.headers[traces.RESPONSE_HEADER] = str(trace)
    line = _line(asked, known, response)
    _count(asked, response.status_code, time.perf_counter() - begun)
    if response.is_streamed and not response.direct_passthrough and asked.method != "HEAD":
        response.response = _Told(response.response, line, request_id=request_id, begun=begun)
    else:
        log.info("request", **line, duration_ms=_milliseconds_since(begun))
    structlog.contextvars.clear_contextvars()
    return response


def _line(asked: Request, known: _AppCtxGlobals, response: Response) -> dict[str, Any]:
    """Return what the log says of a request. It names who asked by id, and nothing that was sent."""
    now_s = seconds_of_thread()
    return {
        "method": asked.method,
        "path": asked.path,
        "route": _route(asked),
        "status": response.status_code,
        "user": known.get("user_id"),
        "database_ms": round((now_s - known.get("database_begun", now_s)) * 1000, 1),
    }


def _route(asked: Request) -> str | None:
    return None if asked.url_rule is None else asked.url_rule.rule


def _count(asked: Request, status: int, took_s: float) -> None:
    # A method is a word that clients choose, and each new one would be kept for good.
    requests, seconds = _counters(_route(asked) or "none", asked.method if asked.method in METHODS else "other", status)
    requests.inc()
    seconds.observe(took_s)


@cache
def _counters(route: str, method: str, status: int) -> tuple[Counter, Histogram]:
    return metrics.REQUESTS.labels(route, method, status), metrics.REQUEST_SECONDS.labels(route, method)


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
            if is_away:
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
