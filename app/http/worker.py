"""gunicorn's threaded worker for clients that nobody vouches for: threads get whole requests only.

The main thread reads what clients send, without ever waiting for one of them, and hands
a request to a thread when its head and its body are there. A connection goes round:

    IDLE → HEAD → BODY → SERVED (a thread) → FLUSHING → IDLE …, or → LINGERING → closed

Requests with bodies of more than SMALL_BODY_BYTES_MAX, and those whose client wants to be
told before it sends its body, are answered while the rest of the body arrives. They have
a few threads of their own, so that slow ones wait for each other and for nobody else.

A message that is cut off, by its client or by time, is answered with 408 and never
carried out, and nothing is read of what follows it. At the end of a connection our
side is closed first and what still comes is thrown away for a while: if the socket
were closed at once, the kernel would tell the client that it is broken, and the client would
lose the answer.
"""

import errno
import io
import selectors
import socket
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from threading import BoundedSemaphore
from typing import Any

import structlog
from gunicorn.http import wsgi
from gunicorn.http.errors import ParseException
from gunicorn.workers.gthread import ThreadWorker

from app.http import answers, framing
from app.http.checks import REPEATED_HEADERS
from app.http.connections import ArrivingBody, Connection, Pace, Progress, Stage

log = structlog.get_logger(__name__)

# How often the time of those is looked at who wait.
SWEEP_S = 0.5
# After an answer that ends the connection: how long and how much a client may go on sending, and how long pause.
LINGER_S = 30.0
LINGER_PAUSE_S = 5.0
LINGER_BYTES_MAX = 16 * 1024**2
# A kept connection is closed a little later than announced: a request may be on its way.
KEEP_ALIVE_LEEWAY_S = 1.0
# Of the threads, one to so many is added for bodies that are still arriving.
THREADS_PER_ARRIVING_BODY = 4
# Requests that wait for one of those threads, for each of them.
ARRIVING_QUEUE_MAX = 4
# When a worker stops, this long is left to clients to take their last answers.
STOP_LINGER_S = 1.0


class PatientWorker(ThreadWorker):
    """Reads requests on the main thread and answers them in others."""

    request_timeout_s = 15

    def init_process(self) -> None:
        self.connections: dict[Connection, None] = {}  # in the order in which they came
        self.arriving = 0
        arriving_threads = max(1, self.cfg.threads // THREADS_PER_ARRIVING_BODY)
        self.arriving_max = arriving_threads
        self.arriving_pool = ThreadPoolExecutor(arriving_threads)
        self.slow_takers = BoundedSemaphore(max(1, self.cfg.threads // 2))
        self._sweep_at = self._accepts_again_at = 0.0
        super().init_process()

    # The loop

    def run(self) -> None:
        self.poller.register(self.method_queue.fileno(), selectors.EVENT_READ, self.method_queue.run_callbacks)
        while self.alive and self.is_parent_alive():
            self.set_accept_enabled(self._has_room())
            self._turn()
        self.set_accept_enabled(False)
        self._stop()

    def _turn(self) -> None:
        """Deal with what has happened, or wait a moment until something does."""
        self.wait_for_and_dispatch_events(SWEEP_S)
        now = time.monotonic()
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
            self.notify()
            for connection in [c for c in self.connections if c.deadline <= now and c.stage is not Stage.SERVED]:
                self._guard(connection, self._give_up)

    def _stop(self) -> None:
        """Finish what has begun. Idle connections end at once: clients know that these may end at any time."""
        for connection in [c for c in self.connections if c.stage is Stage.IDLE]:
            self._guard(connection, self._on_readable)  # a request may have come just now
            if connection.stage is Stage.IDLE:
                self._close(connection)
        ends_at = time.monotonic() + self.cfg.graceful_timeout
        while time.monotonic() < ends_at and any(c.stage is not Stage.LINGERING for c in self.connections):
            self._turn()
        ends_at = min(ends_at, time.monotonic() + STOP_LINGER_S)
        while time.monotonic() < ends_at and self.connections:
            self._turn()
        for pool in (self.tpool, self.arriving_pool):
            pool.shutdown(wait=False)
        for connection in list(self.connections):
            self._close(connection)
        self.poller.close()
        self.method_queue.close()
        for listener in self.sockets:
            listener.close()

    def _has_room(self) -> bool:
        """Whether one more connection can be taken; if need be, the one goes that has waited longest for nothing."""
        if time.monotonic() < self._accepts_again_at:
            return False
        return len(self.connections) < self.worker_connections or self._end_an_idle_one()

    def _end_an_idle_one(self) -> bool:
        idle = next((c for c in self.connections if c.stage in (Stage.IDLE, Stage.LINGERING)), None)
        if idle is not None:
            self._close(idle)
        return idle is not None

    def accept(self, listener: Any) -> None:
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                log.error("too_many_connections", reason=errno.errorcode[error.errno])
                self._end_an_idle_one()
                self._accepts_again_at = time.monotonic() + SWEEP_S
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EINTR):
                raise
            return
        connection = Connection(
            sock,
            client,
            listener.getsockname(),
            patience_s=self.request_timeout_s,
            slow_takers=self.slow_takers,
        )
        self.connections[connection] = None
        connection.deadline = time.monotonic() + self.request_timeout_s
        self._watch(connection, selectors.EVENT_READ)
        # Most clients send at once.
        self._guard(connection, self._on_readable)

    # What becomes of a connection

    def _watch(self, connection: Connection, event: int) -> None:
        if not connection.watched_for:
            self.poller.register(connection.sock, event, lambda _sock: self._guard(connection, self._react))
        elif connection.watched_for != event:
            data = self.poller.get_key(connection.sock).data
            self.poller.modify(connection.sock, event, data)
        connection.watched_for = event

    def _unwatch(self, connection: Connection) -> None:
        if connection.watched_for:
            self.poller.unregister(connection.sock)
            connection.watched_for = 0

    def _react(self, connection: Connection) -> None:
        """Do what is to be done when the client has sent something, or has taken something."""
        match connection.stage:
            case Stage.IDLE | Stage.HEAD | Stage.BODY:
                self._on_readable(connection)
            case Stage.SERVED:
                # It speaks out of turn. Most do not, and stay watched, which is cheaper than to begin it again.
                self._unwatch(connection)
            case Stage.FLUSHING:
                self._on_writable(connection)
            case Stage.LINGERING:
                self._on_lingering(connection)

    def _guard(self, connection: Connection, react: Callable[..., None], *details: Any) -> None:
        """Let no connection's fault end the loop, which is everybody's."""
        try:
            react(connection, *details)
        except Exception as error:
            log.error("bug", exc_info=error)
            self._close(connection)

    def _on_readable(self, connection: Connection) -> None:
        try:
            received = connection.receive()
        except OSError:
            self._close(connection)
            return
        if received:
            self._advance(connection, received)
        elif connection.has_ended:
            self._give_up(connection)

    def _advance(self, connection: Connection, received: int) -> None:
        """Go on with what has come of a request."""
        now = time.monotonic()
        if connection.stage is Stage.IDLE:
            connection.stage = Stage.HEAD
            connection.deadline = now + self.request_timeout_s
        try:
            progress = connection.advance(self.cfg)
        except ParseException as fault:
            self._refuse(connection, answers.status_of(fault), type(fault).__name__)
            return
        if progress is Progress.WHOLE:
            self._serve(connection)
        elif progress is Progress.ARRIVING or connection.awaits_continue:
            self._serve_arriving(connection, can_wait=progress is Progress.ARRIVING)
        elif connection.request is not None:
            self._read_on(connection, received, now)
        elif not connection.wire:
            connection.stage = Stage.IDLE

    def _read_on(self, connection: Connection, received: int, now: float) -> None:
        if connection.stage is not Stage.BODY:
            connection.stage = Stage.BODY
            connection.pace = Pace(self.request_timeout_s, now)
        connection.pace.move(received, now)
        connection.deadline = connection.pace.deadline

    def _serve_arriving(self, connection: Connection, *, can_wait: bool) -> None:
        """Answer a request whose body is not there, by a thread that may wait for it, if there is one."""
        if self.arriving < self.arriving_max * (1 + ARRIVING_QUEUE_MAX if can_wait else 1):
            self.arriving += 1
            self._serve(connection, is_arriving=True)
        elif can_wait:
            self._refuse(connection, HTTPStatus.SERVICE_UNAVAILABLE, "too many large bodies")
        else:
            # Its body may be a small one, for which no thread has to wait.
            connection.let_continue()
            self._read_on(connection, 0, time.monotonic())

    def _serve(self, connection: Connection, *, is_arriving: bool = False) -> None:
        if is_arriving:
            self._unwatch(connection)
        connection.stage = Stage.SERVED
        connection.handed_over_at = time.monotonic()
        future = (self.arriving_pool if is_arriving else self.tpool).submit(self._answer, connection)
        future.add_done_callback(
            lambda future: self.method_queue.defer(self._guard, connection, self._finish, future, is_arriving)
        )

    def _finish(self, connection: Connection, future: Future[bool], is_arriving: bool) -> None:
        """Go on with a connection that a thread is done with."""
        self.arriving -= is_arriving
        connection.keeps = not future.cancelled() and future.exception() is None and future.result()
        self._flush(connection)

    def _flush(self, connection: Connection) -> None:
        """Go on behind the answer, once the client has taken it."""
        if connection.unsent:
            connection.stage = Stage.FLUSHING
            connection.pace = Pace(self.request_timeout_s, time.monotonic())
            connection.deadline = connection.pace.deadline
            self._watch(connection, selectors.EVENT_WRITE)
        elif connection.keeps and (self.alive or connection.wire):
            self._keep(connection)
        else:
            self._linger(connection)

    def _on_writable(self, connection: Connection) -> None:
        try:
            connection.pace.move(connection.flush(), time.monotonic())
        except OSError:
            self._close(connection)
            return
        connection.deadline = connection.pace.deadline
        if not connection.unsent:
            self._flush(connection)

    def _keep(self, connection: Connection) -> None:
        """Wait for the next request, which may have come already."""
        connection.expect_next()
        connection.stage = Stage.IDLE
        connection.deadline = time.monotonic() + self.cfg.keepalive + KEEP_ALIVE_LEEWAY_S
        self._watch(connection, selectors.EVENT_READ)
        if connection.wire:
            self._advance(connection, len(connection.wire))

    def _give_up(self, connection: Connection) -> None:
        """Expect no more of a client that has ended, or whose time is over."""
        if connection.stage in (Stage.HEAD, Stage.BODY):
            self._refuse(connection, HTTPStatus.REQUEST_TIMEOUT, "incomplete")
        else:
            self._close(connection)

    def _refuse(self, connection: Connection, status: HTTPStatus, reason: str) -> None:
        """Answer what is no request, and read nothing behind it."""
        request_id = uuid.uuid4().hex
        address = connection.client[0] if connection.client else ""
        # What the client sent has no place in a log.
        log.warning("request_unreadable", reason=reason, address=address, request_id=request_id)
        connection.keeps = False
        connection.wire.clear()
        try:
            connection.sendall(answers.refusal(status, request_id))
            connection.flush()
        except OSError:
            self._close(connection)
        else:
            self._flush(connection)

    def _linger(self, connection: Connection) -> None:
        """End our side, and throw away what the client still sends."""
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(connection)
            return
        connection.wire.clear()
        connection.stage = Stage.LINGERING
        now = time.monotonic()
        connection.lingers_until = now + LINGER_S
        connection.deadline = now + LINGER_PAUSE_S
        self._watch(connection, selectors.EVENT_READ)

    def _on_lingering(self, connection: Connection) -> None:
        try:
            connection.lingered_bytes += connection.receive()
        except OSError:
            connection.has_ended = True
        connection.wire.clear()
        if connection.has_ended or connection.lingered_bytes > LINGER_BYTES_MAX:
            self._close(connection)
        else:
            connection.deadline = min(connection.lingers_until, time.monotonic() + LINGER_PAUSE_S)

    def _close(self, connection: Connection) -> None:
        self._unwatch(connection)
        connection.stage = Stage.CLOSED
        connection.sock.close()
        self.connections.pop(connection, None)

    # In a thread

    def _answer(self, connection: Connection) -> bool:
        """Answer a request; return whether the connection goes on."""
        answer = None
        try:
            if time.monotonic() > connection.handed_over_at + self.request_timeout_s and not connection.is_read:
                # Behind others for so long; the client had better come back than send on.
                connection.sendall(answers.refusal(HTTPStatus.SERVICE_UNAVAILABLE, uuid.uuid4().hex))
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
            return not answer.should_close()
        except OSError as error:
            # The client is not there any more, or does not take its answer.
            log.debug("client_away", error=type(error).__name__)
            connection.unsent.clear()
            return False
        except Exception as error:
            request_id = uuid.uuid4().hex
            log.error("bug", request_id=request_id, exc_info=error)
            if answer is None or not answer.headers_sent:
                connection.sendall(answers.refusal(HTTPStatus.INTERNAL_SERVER_ERROR, request_id))
            return False

    def _begin(self, connection: Connection) -> tuple[Any, dict[str, Any]]:
        """Return the answer, still empty, and what WSGI tells the application of the request."""
        request = connection.request
        assert request is not None
        answer, environ = wsgi.create(
            request,
            connection.sock,
            connection.client,
            connection.server,
            self.cfg,
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
