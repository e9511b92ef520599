"""How an answer goes out: what the server adds to the application's, and its own refusals of what is no request."""

from http import HTTPStatus
from typing import Any

import orjson
from gunicorn.http import errors
from gunicorn.http.wsgi import Response

from app.errors import blank_problem
from app.http.connections import Connection

_STATUSES: dict[type[Exception], HTTPStatus] = {
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
}


class Answer(Response):
    """gunicorn's response, which says whether the connection goes on, and for how long it is kept."""

    def __init__(self, request: Any, sock: Any, settings: Any, connection: Connection) -> None:
        super().__init__(request, connection, settings)
        self._connection = connection

    def should_close(self) -> bool:
        """Where a part of the request is unread, nobody knows where the next one begins."""
        return bool(super().should_close() or not self._connection.is_read)

    def default_headers(self) -> list[str]:
        if self.should_close():
            # Said once and kept to, although the rest may be read after this.
            self.force_close()
            return list(super().default_headers())
        return [*super().default_headers(), f"Keep-Alive: timeout={self.cfg.keepalive}\r\n"]


def status_of(fault: errors.ParseException) -> HTTPStatus:
    """Return with which status the server refuses what has this fault."""
    return next((status for kind, status in _STATUSES.items() if isinstance(fault, kind)), HTTPStatus.BAD_REQUEST)


def refusal(status: HTTPStatus, request_id: str) -> bytes:
    """Return the whole answer that refuses, behind which the connection ends."""
    body = orjson.dumps(blank_problem(status, request_id)) + b"\n"
    retry = "Retry-After: 2\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else ""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        "Connection: close\r\n"
        "Content-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        f"{retry}X-Request-ID: {request_id}\r\n\r\n"
    )
    return head.encode() + body
