"""The server's part of an answer: headers about the connection, and refusals of invalid requests."""

from functools import lru_cache
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
# Each answer has a few that no other has, such as its request's id, and a dozen that all have.
HEADERS_KNOWN_MAX = 1_000


class BrokenOff(Exception):
    """An answer could not be completed after its start had been sent. The cause is in the log."""


class Answer(Response):
    """gunicorn's response. It also tells the client whether the connection is kept, and for how long."""

    upgrade: bool

    def __init__(self, request: Any, sock: Any, settings: Any, connection: Connection) -> None:
        super().__init__(request, connection, settings)
        self._connection = connection

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        """Take the headers, each checked as gunicorn does. Most answers have the same ones, and those are known."""
        for name, value in headers:
            taken, length, is_upgrade = _checked(name, value)
            self.headers += taken
            if length is not None:
                self.response_length = length
            self.upgrade = self.upgrade or is_upgrade

    def should_close(self) -> bool:
        """Also close if a part of the request is unread, because nobody knows where the next one starts."""
        return bool(super().should_close() or not self._connection.is_read)

    @property
    def is_complete(self) -> bool:
        """Whether all that was announced was written. Otherwise the client would take the next answer for the rest."""
        return self._omits_body or self.response_length in (None, self.sent)

    def default_headers(self) -> list[str]:
        if self.should_close():
            # The client is told now, so this must not change, even if the rest of the request is read later.
            self.force_close()
            return list(super().default_headers())
        return [*super().default_headers(), f"Keep-Alive: timeout={self.cfg.keepalive}\r\n"]


@lru_cache(HEADERS_KNOWN_MAX)
def _checked(name: str, value: str) -> tuple[tuple[tuple[str, str], ...], int | None, bool]:
    """Return what gunicorn makes of a header: what is sent, the body's length, whether it upgrades the connection.

    Raises as gunicorn does.
    """
    scratch = Response(None, None, None)
    scratch.process_headers([(name, value)])
    return tuple(scratch.headers), scratch.response_length, scratch.upgrade


def status_of(fault: errors.ParseException) -> HTTPStatus:
    """Return the status with which the server refuses a request that has this fault."""
    return next((status for kind, status in _STATUSES.items() if isinstance(fault, kind)), HTTPStatus.BAD_REQUEST)


def refusal(status: HTTPStatus, request_id: str, *, is_head: bool) -> bytes:
    """Return a complete answer that refuses a request and says that the connection ends.

    The answer to a HEAD request has no body.
    """
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
    return head.encode() + (b"" if is_head else body)
