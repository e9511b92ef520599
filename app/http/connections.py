"""One client's connection: the part of its next request that has arrived, and the part of the last answer still unsent.

Only `ArrivingBody.read` and `Connection.sendall` wait for a client. They run on threads, and both
give up on a client that is too slow.
"""

import enum
import errno
import io
import select
import socket
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from gunicorn.http.errors import ParseException
from gunicorn.http.message import Request

from app.http import framing
from app.http.framing import Body, Heads

RECEIVE_BYTES = 64 * 1024
SEND_BYTES = 64 * 1024
# A body up to this size is read completely before the request goes to a thread.
SMALL_BODY_BYTES_MAX = 64 * 1024
# How much of an answer is buffered for a slow client. If there is more, the thread that answers waits.
UNSENT_BYTES_MAX = 256 * 1024
# A client that is still slower than this after REQUEST_TIMEOUT_S is treated as if it had stopped.
RATE_MIN_BYTES_S = 20_000
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ClientAway(OSError):
    """The client has gone, or does not take its answer. Errors of our own files and sockets are never of this kind."""


class IncompleteBody(ClientAway):
    """The client closed the connection, or paused too long, before it had sent the body that it announced.

    `ArrivingBody` raises this for large bodies. `worker` refuses small ones. `parsing` checks again, in case another
    server is used.
    """


class Stage(enum.Enum):
    """How far a connection has come with its request and its answer."""

    IDLE = "no part of a request has arrived"
    HEAD = "a part of a head has arrived"
    BODY = "a head and a part of a small body have arrived"
    SERVED = "a thread is answering"
    FLUSHING = "the client has not yet taken all of the answer"
    LINGERING = "our side is closed, the client may still be sending"
    CLOSED = "both sides are closed"


class Progress(enum.Enum):
    """What to do with a request, given how much of it has arrived."""

    INCOMPLETE = "wait for more"
    WHOLE = "answer it"
    ARRIVING = "answer it and read the rest of its body meanwhile"


class Pace:
    """How long to wait for a client that has to send or take bytes.

    The wait ends when no byte has moved for `patience_s`. After the first `patience_s` it also ends when
    the average rate is below RATE_MIN_BYTES_S.
    """

    def __init__(self, patience_s: float, now: float) -> None:
        self._patience_s = patience_s
        self._begun_at = self._moved_at = now
        self._moved_bytes = 0

    def move(self, count: int, now: float) -> None:
        self._moved_at = now
        self._moved_bytes += count

    @property
    def deadline(self) -> float:
        by_rate = self._begun_at + self._moved_bytes / RATE_MIN_BYTES_S
        return min(self._moved_at, by_rate) + self._patience_s


class Connection:
    """A client's non-blocking socket, with the bytes received from it and the bytes still to be sent to it."""

    def __init__(
        self, sock: socket.socket, client: Any, server: Any, *, patience_s: float, slow_takers: "SlowTakers"
    ) -> None:
        self.sock = sock
        self.client = client
        self.server = server
        self.stage = Stage.IDLE
        self.deadline = 0.0
        self.has_ended = False  # the client's side
        self.wire = bytearray()  # received, not yet parsed
        self.unsent = bytearray()
        self.watched_for = 0  # the event for which the main thread polls the socket; 0: none
        self.keeps = False  # whether the connection is kept after the answer
        self.lingered_bytes = 0
        self.lingers_until = 0.0
        self.queued: Future[bool] | None = None  # a request that may still be waiting for a thread for large bodies
        self.patience_s = patience_s
        self.pace = Pace(patience_s, 0.0)
        self._slow_takers = slow_takers
        self.expect_next()
        sock.setblocking(False)

    def expect_next(self) -> None:
        """Forget the request that was answered. The bytes after it are the start of the next one."""
        self.request: Request | None = None
        self.rests_since = time.monotonic()
        self.handed_over_at = 0.0  # to the threads
        self.body: Body | None = None
        self.content = bytearray()
        self.fault: ParseException | None = None
        self.awaits_continue = False
        self._searched = 0

    @property
    def is_read(self) -> bool:
        """Whether the request was read to its end, so that the next bytes on the wire start another one."""
        return self.fault is None and self.body is not None and self.body.is_whole

    @property
    def is_head(self) -> bool:
        """Whether the request, if there is one, asks for no body."""
        return self.request is not None and self.request.method == "HEAD"

    def receive(self) -> int:
        """Read what has arrived, without waiting; return how many bytes. Raises ClientAway."""
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise ClientAway(*error.args) from error
        self.has_ended = not data
        self.wire += data
        return len(data)

    def advance(self, heads: Heads) -> Progress:
        """Parse the received bytes as far as possible; raises ParseException if the head is invalid.

        A fault in the body is kept in `fault`, for the thread that reads the body to raise.
        """
        if self.request is None and not self._take_head(heads):
            return Progress.INCOMPLETE
        assert self.body is not None
        try:
            self.content += self.body.feed(self.wire)
        except ParseException as fault:
            self.fault = fault
            return Progress.WHOLE
        if self.body.is_whole:
            return Progress.WHOLE
        return Progress.ARRIVING if len(self.content) > SMALL_BODY_BYTES_MAX else Progress.INCOMPLETE

    def _take_head(self, heads: Heads) -> bool:
        if self.wire == b"\r\n":
            # Some clients send an empty line after a body (RFC 9112, section 2.2). It is not a request.
            self.wire.clear()
        end = framing.find_head_end(self.wire, self._searched)
        if end is None:
            self._searched = len(self.wire)
            if self._searched > framing.HEAD_BYTES_MAX:
                raise framing.fault_of_endless_head(bytes(self.wire), heads.settings, self.client)
            return False
        self.request = heads.parse(bytes(self.wire[:end]), self.client)
        self.body = framing.body_of(self.request)
        del self.wire[:end]
        # gunicorn would tell the client to go on before the application has seen the request.
        self.awaits_continue = self.request._expected_100_continue and not self.wire
        self.request._expected_100_continue = False
        return True

    def let_continue(self) -> None:
        """Tell a client to send its body, if it waits to be told (RFC 9110, section 10.1.1)."""
        if self.awaits_continue:
            self.awaits_continue = False
            self.sendall(CONTINUE)
            self.flush()

    def sendall(self, data: bytes) -> None:
        """Buffer `data`, and send the buffer once it is large; raises ClientAway if the client takes it too slowly.

        gunicorn's responses call this as if this were the socket, first with the head and then with the body. The
        buffer lets both leave in one packet.
        """
        self.unsent += data
        if len(self.unsent) > SEND_BYTES:
            self.flush()
            if len(self.unsent) > UNSENT_BYTES_MAX:
                self._wait_until_taken()

    def flush(self) -> int:
        """Send as much of the buffer as the socket takes without waiting; return how many bytes. Raises ClientAway."""
        if not self.unsent:
            return 0
        try:
            sent = self.sock.send(self.unsent)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise ClientAway(*error.args) from error
        if sent == len(self.unsent):
            self.unsent.clear()
        else:
            del self.unsent[:sent]
        return sent

    def _wait_until_taken(self) -> None:
        self._slow_takers.enter(self)
        try:
            pace = Pace(self.patience_s, time.monotonic())
            while len(self.unsent) > UNSENT_BYTES_MAX:
                if not is_ready(self.sock, select.POLLOUT, pace.deadline):
                    raise ClientAway(errno.ETIMEDOUT, "The client does not take the answer.")
                pace.move(self.flush(), time.monotonic())
        finally:
            self._slow_takers.leave(self)


class SlowTakers:
    """The connections whose threads are waiting for the client to take an answer: `places` of them at most.

    If there is one too many, the connection that has been waiting longest is ended. So a client that takes its
    answer quickly never has to make room for slow ones.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._lock = threading.Lock()
        self._waiting: dict[Connection, None] = {}  # oldest first

    def enter(self, connection: Connection) -> None:
        with self._lock:
            if len(self._waiting) >= self._places:
                slowest = next(iter(self._waiting))
                del self._waiting[slowest]
                # Its thread wakes up and finds that it cannot send any more.
                with suppress(OSError):
                    slowest.sock.shutdown(socket.SHUT_RDWR)
            self._waiting[connection] = None

    def leave(self, connection: Connection) -> None:
        with self._lock:
            self._waiting.pop(connection, None)


class ArrivingBody(io.RawIOBase):
    """A body that is still arriving. Reading it waits for the client, as long as the client keeps up the `Pace`.

    Raises IncompleteBody if the client is too slow or closes its side, and ParseException if the body is malformed.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._content = memoryview(bytes(connection.content))
        self._pace = Pace(connection.patience_s, time.monotonic())

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._content:
            if self._connection.fault is not None:
                raise self._connection.fault
            assert self._connection.body is not None
            if self._connection.body.is_whole:
                return 0
            self._receive(self._connection.body)
        count = min(len(buffer), len(self._content))
        buffer[:count] = self._content[:count]
        self._content = self._content[count:]
        return count

    def _receive(self, body: Body) -> None:
        connection = self._connection
        connection.let_continue()
        if not connection.wire:
            if not is_ready(connection.sock, select.POLLIN, self._pace.deadline):
                raise IncompleteBody(errno.ETIMEDOUT, "The client stopped before the end of the body.")
            self._pace.move(connection.receive(), time.monotonic())
            if connection.has_ended:
                raise IncompleteBody(errno.ECONNRESET, "The client broke off before the end of the body.")
        try:
            self._content = memoryview(body.feed(connection.wire))
        except ParseException as fault:
            connection.fault = fault
            raise


def is_ready(sock: socket.socket, event: int, deadline: float) -> bool:
    """Wait for the socket until the deadline; return whether it is ready."""
    poll = select.poll()
    poll.register(sock, event)
    return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
