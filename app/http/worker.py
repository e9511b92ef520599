"""gunicorn's threaded worker for clients that nobody vouches for.

Out of the box a thread waits for ever for the rest of a request, and for a
client to take its answer: a few dozen connections that stall would occupy them
all. And what is no HTTP is refused as HTML.
"""

import errno
import socket
import time
import uuid
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from gunicorn import util
from gunicorn.http import errors
from gunicorn.workers.gthread import TConn, ThreadWorker

log = structlog.get_logger(__name__)

_STATUSES: dict[type[Exception], HTTPStatus] = {
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    errors.InvalidResponseHeader: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.InvalidResponseHeaderName: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ConfigurationProblem: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.ParseException: HTTPStatus.BAD_REQUEST,
}


class PatientSocket(socket.socket):
    """A connection whose client has to send a request by `receive_by`, and to take each piece of an answer in time.

    One that does not looks like one that hung up, which is what gunicorn knows how to deal with.
    """

    receive_by = 0.0
    send_timeout_s = 0.0

    def recv(self, *args: Any) -> bytes:
        allowed_s = self.receive_by - time.monotonic()
        before = self.gettimeout()
        if before is not None and before < allowed_s:
            return super().recv(*args)
        if allowed_s <= 0:
            return b""
        self.settimeout(allowed_s)
        try:
            return super().recv(*args)
        except TimeoutError:
            return b""
        finally:
            self.settimeout(before)

    def sendall(self, *args: Any) -> None:
        before = self.gettimeout()
        if before is None:
            self.settimeout(self.send_timeout_s)
        try:
            super().sendall(*args)
        except TimeoutError as error:
            raise BrokenPipeError(errno.EPIPE, "The client does not take the answer.") from error
        finally:
            self.settimeout(before)


class PatientWorker(ThreadWorker):
    """Grants clients so many seconds for a request and for each piece of an answer, and refuses as the API does."""

    request_timeout_s = 15

    def enqueue_req(self, conn: TConn) -> None:
        if not isinstance(conn.sock, PatientSocket):
            timeout_s = conn.sock.gettimeout()
            conn.sock = PatientSocket(conn.sock.family, conn.sock.type, conn.sock.proto, fileno=conn.sock.detach())
            conn.sock.settimeout(timeout_s)
            conn.sock.send_timeout_s = self.request_timeout_s
        super().enqueue_req(conn)

    def handle(self, conn: TConn) -> Any:
        conn.sock.receive_by = time.monotonic() + self.request_timeout_s
        return super().handle(conn)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        status = next(
            (status for kind, status in _STATUSES.items() if isinstance(exc, kind)), HTTPStatus.INTERNAL_SERVER_ERROR
        )
        request_id = uuid.uuid4().hex
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("bug", request_id=request_id, exc_info=exc)
        else:
            # What the client sent is in the error's text, and has no place in a log.
            reason, address = type(exc).__name__, addr[0] if addr else ""
            log.warning("request_unreadable", reason=reason, address=address, request_id=request_id)
        try:
            util.write_nonblock(client, _problem(status, request_id))
        except OSError:
            log.debug("request_unanswerable", request_id=request_id)


def _problem(status: HTTPStatus, request_id: str) -> bytes:
    # Of HTTP itself, and none of the API's reasons: RFC 9457, section 4.2.1.
    problem = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": status.description or status.phrase,
        "code": status.name.lower(),
        "requestId": request_id,
    }
    body = orjson.dumps(problem) + b"\n"
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        "Connection: close\r\n"
        "Content-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n"
        f"X-Request-ID: {request_id}\r\n\r\n"
    )
    return head.encode() + body
