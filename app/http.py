"""The HTTP shape of everything: problem documents, request ids, and how routes declare themselves."""

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import wraps
from http import HTTPStatus
from typing import Any, TypeVar

import flask_smorest
import orjson
import structlog
from flask import Flask, Response, current_app, g, request
from flask.json.provider import JSONProvider
from marshmallow import INCLUDE, Schema, fields
from pymongo.errors import PyMongoError
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as WrongMethod
from werkzeug.routing import BaseConverter

from app import headers, mongo, rate_limits, request_checks
from app.errors import (
    BodyTooLarge,
    DomainError,
    InternalError,
    MalformedJson,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    ServiceUnavailable,
    UnsupportedMediaType,
    ValidationFailed,
    blank_problem,
)
from app.fields import NO_ID, CamelSchema, IdempotencyKey, Line, property_names, read_id
from app.mongo_schema import NotReady
from app.parsing import NothingSchema, StrictParser

log = structlog.get_logger(__name__)

PROBLEM_CONTENT_TYPE = "application/problem+json"
REQUEST_ID_HEADER = "X-Request-ID"
REPLAYED_HEADER = "Idempotency-Replayed"
RETRY_AFTER_UNREADY_S = 2
# What any call with a body may be refused for.
BODY_PROBLEMS = (MalformedJson, BodyTooLarge, UnsupportedMediaType, ValidationFailed)
# What any call may be refused for.
_PROBLEMS_OF_ALL: tuple[type[DomainError], ...] = (ValidationFailed, RateLimited, InternalError, ServiceUnavailable)
_HTTP_PROBLEMS: dict[int, type[DomainError]] = {
    404: NotFound,
    405: MethodNotAllowed,
    413: BodyTooLarge,
    415: UnsupportedMediaType,
}

View = TypeVar("View", bound=Callable[..., Any])


class OrjsonProvider(JSONProvider):
    """Flask's JSON through orjson."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return orjson.dumps(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        body = args[0] if args else kwargs
        return Response(orjson.dumps(body) + b"\n", mimetype="application/json")


class ProblemSchema(CamelSchema):
    """A refusal (RFC 9457). Some codes have further members, such as the declined transaction's `transactionId`."""

    class Meta:
        unknown = INCLUDE

    type = fields.String(required=True, metadata={"description": "The page that explains this problem."})
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True, metadata={"description": "What is wrong with this very request."})
    code = fields.String(required=True, metadata={"description": "Stable; for programs to decide by."})
    request_id = Line(length_max=64, required=True)
    transaction_id = fields.String(
        metadata={"description": "Of a declined posting: the FAILED transaction that records it."}
    )
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata={"description": "Of a refused request: each field, or the first 100, with what is wrong with it."},
    )


class IdempotencyHeader(IdempotencyKey):
    """An idempotency key of visible ASCII. Clients differ in what they make of anything else in a header, and some
    of two keys make one."""

    default_error_messages = {
        "invisible": "As a header, a key has visible ASCII characters only, and no blanks. In the body it may have any "
        "printable ones."
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not all("!" <= character <= "~" for character in str(value)):
            raise self.make_error("invisible")
        return super()._deserialize(value, attr, data, **kwargs)


class IdempotencyHeaderSchema(CamelSchema):
    """The header that may carry the idempotency key instead of the body."""

    idempotency_key = IdempotencyHeader(data_key="Idempotency-Key", metadata={"description": "Instead of the body's."})


class Blueprint(flask_smorest.Blueprint):
    """A blueprint whose decorators state a route's input, output and refusals."""

    ARGUMENTS_PARSER = StrictParser()

    def arguments(self, schema: Schema, *, location: str = "json", **kwargs: Any) -> Callable[[Any], Any]:
        decorate = super().arguments(schema, location=location, **kwargs)

        def decorator(view: Any) -> Any:
            reading = decorate(view)
            # What `refuse_unread` goes by.
            reading.reads = {location, *getattr(view, "reads", ())}
            return reading

        return decorator

    def keyed_arguments(self, schema: Schema, **kwargs: Any) -> Callable[[View], View]:
        """Like `arguments`, for a body whose idempotency key may come as a header instead."""

        def decorator(view: View) -> View:
            @wraps(view)
            def with_key(*args: Any, **view_args: Any) -> Any:
                *outer, body, headers = args
                return view(*outer, {**body, "idempotency_key": _chosen_key(body, headers)}, **view_args)

            with_headers = self.arguments(IdempotencyHeaderSchema(), location="headers", unknown="exclude")(with_key)
            return self.arguments(schema, **kwargs)(with_headers)  # type: ignore[no-any-return]

        return decorator

    def replays(self, schema: Schema) -> Callable[[View], View]:
        """Document that a repeat under the same idempotency key answers 200 with the first outcome."""
        return self.alt_response(  # type: ignore[no-any-return]
            200,
            schema=schema,
            description="The first outcome again: the key was spent on this same request before.",
            headers={
                REPLAYED_HEADER: {"description": "Marks a repeat.", "schema": {"type": "string", "enum": ["true"]}}
            },
            success=True,
        )

    def refusals(self, *problems: type[DomainError]) -> Callable[[View], View]:
        """Document what a route refuses, one response for each status, and that it may fail as all may.

        All refuse a query or a body that they do not ask for, once they know who asks.
        """
        by_status: dict[int, list[type[DomainError]]] = defaultdict(list)
        for problem in dict.fromkeys((*problems, *_PROBLEMS_OF_ALL)):
            by_status[problem.status].append(problem)

        def decorator(view: View) -> View:
            @wraps(view)
            def refusing(*args: Any, **kwargs: Any) -> Any:
                refuse_unread()
                return view(*args, **kwargs)

            documented: Any = refusing
            for status, of_status in by_status.items():
                documented = self.alt_response(
                    status,
                    schema=_PROBLEM_SCHEMA,
                    content_type=PROBLEM_CONTENT_TYPE,
                    description=" · ".join(f"`{problem.code}`: {problem.title}" for problem in of_status),
                    example=_example(of_status[0]),
                )(documented)
            return documented  # type: ignore[no-any-return]

        return decorator


class Api(flask_smorest.Api):
    """Collects the OpenAPI document; leaves errors to `register` below."""

    DEFAULT_ERROR_RESPONSE_NAME = ""
    ERROR_SCHEMA = ProblemSchema

    def _register_error_handlers(self) -> None:
        pass

    def _init_spec(self, **kwargs: Any) -> None:
        super()._init_spec(**kwargs)
        self.ma_plugin.converter.add_attribute_function(property_names)

    def _register_pagination_header(self) -> None:
        pass


class IdConverter(BaseConverter):
    """An id in a path. What can not be an id names nothing, so that the route answers that it was not found."""

    def to_python(self, value: str) -> Any:
        return read_id(value)

    def to_url(self, value: Any) -> str:
        return str(value or NO_ID)


_PROBLEM_SCHEMA = ProblemSchema()
_NOTHING = NothingSchema()


def register(app: Flask) -> None:
    """Give the application its JSON, request ids, error handlers and response headers."""
    app.json = OrjsonProvider(app)
    app.url_map.converters["id"] = IdConverter
    # A path means itself; merging would redirect to whatever host the client named.
    app.url_map.merge_slashes = False
    app.before_request(_begin)
    app.after_request(_finish)
    app.register_error_handler(DomainError, problem_response)
    app.register_error_handler(HTTPException, _on_http_exception)
    app.register_error_handler(PyMongoError, _on_database_error)
    app.register_error_handler(NotReady, _on_not_ready)
    app.register_error_handler(Exception, _on_bug)


def problem_document(error: DomainError) -> dict[str, Any]:
    """Return the members of a refusal's problem document."""
    return {
        "type": f"/problems/{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "requestId": g.get("request_id", ""),
        **({"errors": error.errors} if error.errors else {}),
        **error.members,
    }


def problem_response(error: DomainError) -> Response:
    """Return the response that refuses."""
    problem = problem_document(error)
    response = Response(orjson.dumps(problem) + b"\n", error.status, content_type=PROBLEM_CONTENT_TYPE)
    if error.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = _challenge(error)
    if error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    if error.replayed:
        response.headers[REPLAYED_HEADER] = "true"
    return response


def _challenge(error: DomainError) -> str:
    if error.bearer_error is None:
        # Who sent no token is told no error (RFC 6750, section 3.1).
        return "Bearer"
    return f'Bearer error="{error.bearer_error}", error_description="{error.title}"'


def _chosen_key(body: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    in_body, in_header = body.get("idempotency_key"), headers.get("idempotency_key")
    if in_body is not None and in_header is not None and in_body != in_header:
        raise ValidationFailed(
            "The body and the header Idempotency-Key carry different keys.",
            errors={"idempotencyKey": ["Differs from the header Idempotency-Key."]},
        )
    key: str | None = in_body if in_body is not None else in_header
    if key is None:
        raise ValidationFailed(
            "An idempotency key is needed.",
            errors={"idempotencyKey": ["Missing here and as the header Idempotency-Key."]},
        )
    return key


def refuse_unread() -> None:
    """Raise a problem of the body or the query, if the request has one that its call does not ask for."""
    reads = getattr(current_app.view_functions[request.endpoint or ""], "reads", ())
    if request.query_string and "query" not in reads:
        Blueprint.ARGUMENTS_PARSER.parse(_NOTHING, location="query")
    if "json" not in reads:
        refuse_unread_body()


def refuse_unread_body() -> None:
    """Raise a problem of the body, if the request has one; an empty object is as good as none."""
    if request_checks.has_body(request):
        Blueprint.ARGUMENTS_PARSER.parse(_NOTHING, location="json")


def _example(problem: type[DomainError]) -> dict[str, Any]:
    return {
        "type": f"/problems/{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.title,
        "code": problem.code,
        "requestId": "0b5c1f9c7d2e4a61b3f8a9c0d1e2f3a4",
    }


def _begin() -> None:
    offered = request.headers.get(REQUEST_ID_HEADER, "")
    g.request_id = offered if request_checks.is_sane_id(offered) else uuid.uuid4().hex
    g.begun = time.perf_counter()
    structlog.contextvars.bind_contextvars(request_id=g.request_id)
    request_checks.refuse_ambiguous(request)
    _refuse_call_as_id()


def _finish(response: Response) -> Response:
    response.headers[REQUEST_ID_HEADER] = g.get("request_id", "")
    headers.protect(response)
    if request.method == "OPTIONS" and request.url_rule is not None:
        response.allow = _methods_of(request.url_rule.rule)
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


def _methods_of(path: str) -> set[str]:
    """Return what the routes with this very path take, not those with an id in place of its last word."""
    rules = current_app.url_map.iter_rules()
    return {method for rule in rules if rule.rule == path for method in rule.methods or ()}


def _refuse_call_as_id() -> None:
    """Raise MethodNotAllowed if what is taken for an id is the last word of another call, such as `create`."""
    if NO_ID in (request.view_args or {}).values() and (methods := _methods_of(request.path)):
        raise WrongMethod(methods)


def _on_http_exception(error: HTTPException) -> Response:
    if error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return error.get_response()  # type: ignore[return-value]
    if error.code == HTTPStatus.REQUEST_TIMEOUT:
        # Of HTTP itself: the request did not come as it was announced.
        problem = orjson.dumps(blank_problem(HTTPStatus.REQUEST_TIMEOUT, g.get("request_id", ""))) + b"\n"
        return Response(problem, error.code, content_type=PROBLEM_CONTENT_TYPE)
    kind = _HTTP_PROBLEMS.get(
        error.code, InternalError if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR else MalformedJson
    )
    response = problem_response(kind(error.description if kind is MalformedJson else None))
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = ", ".join(sorted(_methods_of(request.path))) or value
    return response


def _on_database_error(error: PyMongoError) -> Response:
    if not mongo.is_away(error):
        return _on_bug(error)
    log.warning("database_away", error=type(error).__name__)
    return problem_response(ServiceUnavailable())


def _on_not_ready(error: NotReady) -> Response:
    log.error("database_not_ready", reason=str(error))
    unready = ServiceUnavailable(str(error))
    unready.retry_after_seconds = RETRY_AFTER_UNREADY_S
    return problem_response(unready)


def _on_bug(error: Exception) -> Response:
    log.error("bug", exc_info=error)
    return problem_response(InternalError())
