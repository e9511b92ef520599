"""One client's connection: what has come of its next request, and what of the last answer it has not taken yet.

Nothing here waits for a client but `ArrivingBody.read` and `Connection.sendall`, which
threads call; both give up on a client that does not keep up.
"""

import enum
import errno
import io
import select
import socket
import threading
import time
from typing import Any

from gunicorn.http.errors import ParseException
from gunicorn.http.message import Request

from app.http import framing
from app.http.framing import Body

RECEIVE_BYTES = 64 * 1024
SEND_BYTES = 64 * 1024
# A body up to this size is read before a thread hears of the request.
SMALL_BODY_BYTES_MAX = 64 * 1024
# As much of an answer is kept for a client that takes its time; beyond it the thread that answers waits.
UNSENT_BYTES_MAX = 256 * 1024
# Slower than this, after REQUEST_TIMEOUT_S, is as good as standing still.
RATE_MIN_BYTES_S = 20_000
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class IncompleteBody(OSError):
    """The client broke off, or stopped for too long, before the end of the body that it announced."""


class Stage(enum.Enum):
    """What a connection is waiting for."""

    IDLE = "nothing of a request has come"
    HEAD = "a part of a head has come"
    BODY = "a head and a part of a small body have come"
    SERVED = "a thread has it"
    FLUSHING = "an answer is there and the client has not taken all of it"
    LINGERING = "our side has ended, the client may still be sending"
    CLOSED = "over"


class Progress(enum.Enum):
    """What can be done with what has come."""

    INCOMPLETE = "wait for more"
    WHOLE = "answer it"
    ARRIVING = "answer it with a body of which the rest is read meanwhile"


class Pace:
    """How long to wait for a client who has to send or take bytes: never `patience_s` for nothing at all, and after
    as long altogether no slower than RATE_MIN_BYTES_S."""

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
    """A client's socket, never blocking, with what was read from it and what is still to be written to it."""

    def __init__(self, sock: socket.socket, client: Any, server: Any, *, patience_s: float, slow_takers: Any) -> None:
        self.sock = sock
        self.client = client
        self.server = server
        self.stage = Stage.IDLE
        self.deadline = 0.0
        self.has_ended = False  # the client's side
        self.wire = bytearray()  # received, and not yet part of a request
        self.unsent = bytearray()
        self.watched_for = 0  # the event that the main thread is told of
        self.keeps = False  # whether it goes on behind the answer
        self.lingered_bytes = 0
        self.lingers_until = 0.0
        self.patience_s = patience_s
        self.pace = Pace(patience_s, 0.0)
        self._slow_takers: threading.Semaphore = slow_takers
        self.expect_next()
        sock.setblocking(False)

    def expect_next(self) -> None:
        """Forget the request that was answered; what came behind it is the beginning of the next one."""
        self.request: Request | None = None
        self.handed_over_at = 0.0  # to the threads
        self.body: Body | None = None
        self.content = bytearray()
        self.fault: ParseException | None = None
        self.awaits_continue = False
        self._searched = 0

    @property
    def is_read(self) -> bool:
        """Whether the request was read to its end, so that what follows on the wire is another one."""
        return self.fault is None and self.body is not None and self.body.is_whole

    def receive(self) -> int:
        """Read what is there, without waiting; return how much. Raises OSError if the connection is broken."""
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except (BlockingIOError, InterruptedError):
            return 0
        self.has_ended = not data
        self.wire += data
        return len(data)

    def advance(self, settings: Any) -> Progress:
        """Make a request of what has come, as far as possible; raises ParseException where it is none.

        A fault within a body is for whoever reads the body to raise.
        """
        if self.request is None and not self._take_head(settings):
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

    def _take_head(self, settings: Any) -> bool:
        if self.wire == b"\r\n":
            # What some clients send behind a body (RFC 9112, section 2.2) begins no request.
            self.wire.clear()
        end = framing.find_head_end(self.wire, self._searched)
        if end is None:
            self._searched = len(self.wire)
            if self._searched > framing.HEAD_BYTES_MAX:
                raise framing.fault_of_endless_head(bytes(self.wire), settings, self.client)
            return False
        self.request = framing.parse_head(bytes(self.wire[:end]), settings, self.client)
        self.body = framing.body_of(self.request)
        del self.wire[:end]
        # gunicorn would tell it to go on before anybody has looked at the request.
        self.awaits_continue = self.request._expected_100_continue and not self.wire
        self.request._expected_100_continue = False
        return True

    def let_continue(self) -> None:
        """Tell a client that sends its body only when told to (RFC 9110, section 10.1.1)."""
        if self.awaits_continue:
            self.awaits_continue = False
            self.sendall(CONTINUE)
            self.flush()

    def sendall(self, data: bytes) -> None:
        """Keep what is to be sent until it is much, or `flush`; raises OSError if the client takes too little of it.

        gunicorn's responses write through this as if it were the socket, a head and a body apart.
        """
        self.unsent += data
        if len(self.unsent) > SEND_BYTES:
            self.flush()
            if len(self.unsent) > UNSENT_BYTES_MAX:
                self._wait_until_taken()

    def flush(self) -> int:
        """Send of what is kept as much as the client takes at once; return how much."""
        if not self.unsent:
            return 0
        try:
            sent = self.sock.send(self.unsent)
        except (BlockingIOError, InterruptedError):
            return 0
        if sent == len(self.unsent):
            self.unsent.clear()
        else:
            del self.unsent[:sent]
        return sent

    def _wait_until_taken(self) -> None:
        if not self._slow_takers.acquire(blocking=False):
            raise BrokenPipeError(errno.EPIPE, "Too many clients do not take their answers.")
        try:
            pace = Pace(self.patience_s, time.monotonic())
            while len(self.unsent) > UNSENT_BYTES_MAX:
                if not is_ready(self.sock, select.POLLOUT, pace.deadline):
                    raise BrokenPipeError(errno.EPIPE, "The client does not take the answer.")
                pace.move(self.flush(), time.monotonic())
        finally:
            self._slow_takers.release()


class ArrivingBody(io.RawIOBase):
    """A body of which a part is still on its way. Who reads it waits for a client that has to keep up a rate.

    Raises IncompleteBody for a client that does not, and ParseException where what comes is no body.
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
