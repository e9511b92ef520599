"""Refusals as problem documents (RFC 9457), and the handlers that turn every error into one."""

from http import HTTPStatus
from typing import Any

import structlog
from flask import Flask, Response, request
from marshmallow import INCLUDE, fields
from pymongo.errors import PyMongoError
from werkzeug.exceptions import HTTPException

from app import mongo
from app.errors import (
    PROBLEMS,
    BodyTooLarge,
    DomainError,
    InternalError,
    MalformedJson,
    MethodNotAllowed,
    NotFound,
    ServiceUnavailable,
    UnsupportedMediaType,
    blank_problem,
)
from app.fields import CamelSchema, Line
from app.http.incoming import current_id
from app.http.results import json_response
from app.http.routing import methods_of
from app.mongo.readiness import NotReady

log = structlog.get_logger(__name__)

PROBLEM_CONTENT_TYPE = "application/problem+json"
REPLAYED_HEADER = "Idempotency-Replayed"
RETRY_AFTER_UNREADY_S = 2
_HTTP_PROBLEMS: dict[int, type[DomainError]] = {
    404: NotFound,
    405: MethodNotAllowed,
    413: BodyTooLarge,
    415: UnsupportedMediaType,
}


class ProblemSchema(CamelSchema):
    """A refusal (RFC 9457). Some codes have further members, such as the declined transaction's `transactionId`."""

    class Meta:
        unknown = INCLUDE

    type = fields.String(required=True, metadata={"description": "The page that explains this problem."})
    title = fields.String(required=True)
    status = fields.Integer(required=True, metadata={"format": "int32"})
    detail = fields.String(required=True, metadata={"description": "What is wrong with this request."})
    code = fields.String(
        required=True,
        metadata={
            "description": "Stable, so that programs can act on it. There may be further ones.",
            "x-extensible-enum": sorted(PROBLEMS),
        },
    )
    request_id = Line(length_max=64, required=True)
    transaction_id = fields.String(
        metadata={"description": "For a declined posting: the FAILED transaction that records it."}
    )
    index = fields.Integer(
        metadata={"format": "int32", "description": "For an atomic batch: which transfer was refused, from 0."}
    )
    errors = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata={"description": "For invalid fields: each field, or the first 100, with what is wrong with it."},
    )


def register(app: Flask) -> None:
    """Answer every error of the application with a problem document."""
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
        "requestId": current_id(),
        **({"errors": error.errors} if error.errors else {}),
        **error.members,
    }


def problem_response(error: DomainError) -> Response:
    """Return the response that refuses."""
    response = json_response(problem_document(error), error.status, content_type=PROBLEM_CONTENT_TYPE)
    if error.status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = _challenge(error)
    if error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    if error.replayed:
        response.headers[REPLAYED_HEADER] = "true"
    return response


def _challenge(error: DomainError) -> str:
    if error.bearer_error is None:
        # Without a token in the request, the challenge names no error (RFC 6750, section 3.1).
        return "Bearer"
    return f'Bearer error="{error.bearer_error}", error_description="{error.title}"'


def _on_http_exception(error: HTTPException) -> Response:
    if error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return error.get_response()  # type: ignore[return-value] # without an environ it is a plain one
    if error.code == HTTPStatus.REQUEST_TIMEOUT:
        # Not one of our problems but plain HTTP: the request was shorter than announced.
        document = blank_problem(HTTPStatus.REQUEST_TIMEOUT, current_id())
        return json_response(document, error.code, content_type=PROBLEM_CONTENT_TYPE)
    kind = _HTTP_PROBLEMS.get(
        error.code, InternalError if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR else MalformedJson
    )
    response = problem_response(kind(error.description if kind is MalformedJson else None))
    for name, value in error.get_headers():
        if name == "Allow":
            response.headers[name] = ", ".join(sorted(methods_of(request.path))) or value
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
