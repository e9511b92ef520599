"""What happens around every request: its id, its line in the log, the headers of its answer."""

import time
import uuid
from typing import Any

import orjson
import structlog
from flask import Flask, Response, g, request
from flask.json.provider import JSONProvider

from app.http import checks, headers, problems, proxies, rate_limits, routing
from app.networks import parse_networks
from app.policies import HttpPolicy

log = structlog.get_logger(__name__)

REQUEST_ID_HEADER = "X-Request-ID"


class OrjsonProvider(JSONProvider):
    """Flask's JSON through orjson."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return orjson.dumps(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        body = args[0] if args else kwargs
        return Response(orjson.dumps(body) + b"\n", mimetype="application/json")


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
    structlog.contextvars.bind_contextvars(request_id=g.request_id)
    checks.refuse_ambiguous(request)
    routing.refuse_call_as_id()


def _finish(response: Response) -> Response:
    response.headers[REQUEST_ID_HEADER] = g.get("request_id", "")
    headers.protect(response)
    if request.method == "OPTIONS" and request.url_rule is not None:
        response.allow = routing.methods_of(request.url_rule.rule)
    rate_limits.add_headers(response)
    log.info(
        "request",
        method=request.method,
        path=request.path,
        status=response.status_code,
        duration_ms=round((time.perf_counter() - g.get("begun", time.perf_counter())) * 1000, 1),
    )
    structlog.contextvars.clear_contextvars()
    return response
