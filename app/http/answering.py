"""The half of the worker that runs on its threads: answers one request with the application."""

import io
import time
import uuid
from http import HTTPStatus
from typing import Any

import structlog
from gunicorn.http import wsgi
from gunicorn.workers.gthread import ThreadWorker

from app.http import answers, framing
from app.http.answers import BrokenOff
from app.http.checks import REPEATED_HEADERS
from app.http.connections import ArrivingBody, ClientAway, Connection

log = structlog.get_logger(__name__)


class AnsweringWorker(ThreadWorker):
    """Answers requests. `PatientWorker` reads them, and calls `_answer` on a thread."""

    request_timeout_s = 15
    settings: framing.PlainSettings

    def _answer(self, connection: Connection) -> bool:
        """Answer a request; return whether the connection is kept."""
        answer = None
        try:
            if time.monotonic() > connection.handed_over_at + self.request_timeout_s and not connection.is_read:
                # The request has queued too long. The client should come back later instead of sending the rest.
                connection.sendall(
                    answers.refusal(HTTPStatus.SERVICE_UNAVAILABLE, uuid.uuid4().hex, is_head=connection.is_head)
                )
                return False
            answer, environ = self._begin(connection)
            parts = self.wsgi(environ, answer.start_response)
            try:
                for part in parts:
                    answer.write(part)
                answer.close()
            finally:
                if hasattr(parts, "close"):
                    parts.close()
            connection.flush()
            return not answer.should_close() and answer.is_complete
        except ClientAway as error:
            log.debug("client_away", reason=str(error))
            connection.unsent.clear()
            return False
        except BrokenOff:
            return False
        except Exception as error:
            request_id = uuid.uuid4().hex
            log.error("bug", request_id=request_id, exc_info=error)
            if answer is None or not answer.headers_sent:
                connection.sendall(
                    answers.refusal(HTTPStatus.INTERNAL_SERVER_ERROR, request_id, is_head=connection.is_head)
                )
            return False

    def _begin(self, connection: Connection) -> tuple[Any, dict[str, Any]]:
        """Return the answer, still empty, and the request's WSGI environ."""
        request = connection.request
        assert request is not None
        answer, environ = wsgi.create(
            request,
            connection.sock,
            connection.client,
            connection.server,
            self.settings,
            response_class=answers.Answer,
            response_args=(connection,),
        )
        is_there = connection.is_read
        environ["wsgi.multithread"] = True
        environ["wsgi.input"] = (
            io.BytesIO(connection.content) if is_there else io.BufferedReader(ArrivingBody(connection))
        )
        environ[REPEATED_HEADERS] = framing.repeated_headers(name for name, _ in request.headers)
        self.nr += 1
        if self.nr >= self.max_requests:
            self.alive = False
        if not self.alive:
            answer.force_close()
        return answer, environ
