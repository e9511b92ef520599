"""gunicorn's threaded worker, made safe against slow clients: no client can occupy a thread by sending slowly.

The main thread reads what clients send and never waits for any of them. It hands a small request
to a thread once its head and its body have arrived. A connection goes through these stages:

    IDLE → HEAD → BODY → SERVED (by a thread) → FLUSHING → IDLE …, or → LINGERING → closed

A thread starts earlier, while the body is still arriving, in two cases: the body is larger than
SMALL_BODY_BYTES_MAX, or the client asked to be told before it sends the body (`Expect: 100-continue`).
A few separate threads do this, so slow senders delay only each other.

If the client or a timeout cuts a request off, it is never carried out. The client gets status 408, and
nothing after the request is read. Small bodies that are cut off are refused here, and those that a thread reads while
they arrive in `connections.ArrivingBody`. `parsing` checks again, in case another server is used.

When a connection ends, our side closes first, and for a while we discard what the client still sends.
If we closed the socket at once, the kernel would reset the connection and the client could lose the answer.
"""

import selectors
import socket
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import Any

import structlog
from gunicorn.http.errors import ParseException

from app.http import answers
from app.http.answering import AnsweringWorker
from app.http.connections import ClientAway, Connection, Pace, Progress, SlowTakers, Stage
from app.http.crew import Calls, Crew
from app.http.door import Door
from app.http.framing import Heads, PlainSettings
from app.http.lanes import Lane, Lanes, lane_of
from app.http.refusals import Refusals
from app.runtime import descriptors
from app.runtime.occupancy import Occupancy

log = structlog.get_logger(__name__)

# How often the deadlines of connections are checked.
SWEEP_S = 0.5
# When there is no room for another connection, the slowest client is dropped, if it has been slow for this long: its
# head is incomplete, or its body or its answer is behind the rate that `Pace` demands.
GRACE_S = 1.0
# What comes after the last answer is discarded: for so long, until such a pause, and so much of it at most.
LINGER_S = 30.0
LINGER_PAUSE_S = 5.0
LINGER_BYTES_MAX = 16 * 1024**2
# An idle connection is closed a little later than announced, because a request may be on its way.
KEEP_ALIVE_LEEWAY_S = 1.0
# There is one extra thread for bodies that are still arriving for every THREADS_PER_ARRIVING_BODY threads, and so many
# requests may wait for each of these.
THREADS_PER_ARRIVING_BODY = 4
ARRIVING_QUEUE_MAX = 4
# For every THREADS_PER_SLOW_TAKER threads, one may wait for a client that takes a large answer slowly.
THREADS_PER_SLOW_TAKER = 8


class PatientWorker(AnsweringWorker):
    """Reads requests on the main thread and answers them on other threads."""

    # Made in the master, for all workers that it starts.
    occupancy = Occupancy()

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.method_queue = Calls()

    def init_process(self) -> None:
        self.connections: dict[Connection, None] = {}  # oldest first
        self.arriving = 0
        arriving_threads = max(1, self.cfg.threads // THREADS_PER_ARRIVING_BODY)
        self.arriving_max = arriving_threads
        self.arriving_pool = ThreadPoolExecutor(arriving_threads)
        self.settings = PlainSettings(self.cfg)
        self.heads = Heads(self.settings)
        self.lanes = Lanes[Connection](self.cfg.threads)
        self.refusals = Refusals()
        self.slow_takers = SlowTakers(max(1, self.cfg.threads // THREADS_PER_SLOW_TAKER))
        self._sweep_at = 0.0
        self.door = Door(self.occupancy, self.age)
        wanted: int = self.cfg.worker_connections
        self.worker_connections = descriptors.clients_max(wanted, threads=self.lanes.threads + arriving_threads)
        if self.worker_connections < wanted:
            self.log.warning("Few files may be open, so at most %d clients can be connected.", self.worker_connections)
        super().init_process()

    def get_thread_pool(self) -> Crew:
        return Crew(self.lanes.threads)

    def _round(self, wait_s: float = SWEEP_S) -> None:
        """Handle the pending events, or wait so long for one. Then check the deadlines."""
        self.wait_for_and_dispatch_events(wait_s)
        now = time.monotonic()
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
            self.notify()
            self.refusals.tell(now)
            for connection in self.lanes.take_late(now):
                self._guard(connection, self._refuse, HTTPStatus.SERVICE_UNAVAILABLE, "waited too long")
            for connection in self.connections:
                if connection.queued is not None and connection.handed_over_at + self.request_timeout_s <= now:
                    connection.queued.cancel()  # does nothing if a thread has it
            for connection in [c for c in self.connections if c.deadline <= now and c.stage is not Stage.SERVED]:
                if connection.stage is Stage.IDLE:
                    self._guard(connection, self._close_if_idle)
                else:
                    self._guard(connection, self._give_up)

    def _has_room(self) -> bool:
        """Return whether there is room for a connection. If there is none, end an idle one, or else the slowest."""
        return len(self.connections) < self.worker_connections or self._end_an_idle_one()

    def _end_an_idle_one(self) -> bool:
        # Whoever has just connected, or just got an answer, may be about to send, and is left in peace for a moment.
        rested = [c for c in self.connections if c.stage is Stage.IDLE and c.rests_since <= time.monotonic() - GRACE_S]
        for connection in [c for c in self.connections if c.stage is Stage.LINGERING] + rested:
            self._guard(connection, self._close_if_idle if connection.stage is Stage.IDLE else self._close)
            if connection.stage is Stage.CLOSED:
                return True
        # None is idle, so the slowest client gives way.
        moving = (c for c in self.connections if c.stage in (Stage.HEAD, Stage.BODY, Stage.FLUSHING))
        slow = min(moving, key=lambda connection: connection.deadline, default=None)
        if slow is not None and slow.deadline < time.monotonic() + self.request_timeout_s - GRACE_S:
            self._guard(slow, self._give_up)
        return False

    def accept(self, listener: Any) -> None:
        """Accept a connection, unless another worker should get it."""
        if not self.door.leave_to_others(listener, len(self.connections)):
            self._accept(listener)

    def _accept(self, listener: Any) -> None:
        try:
            sock, client = listener.accept()
        except OSError as error:
            if self.door.note_failure(error):
                self._end_an_idle_one()
            return
        self.door.note_accepted()
        connection = Connection(
            sock,
            client,
            listener.getsockname(),
            patience_s=self.request_timeout_s,
            slow_takers=self.slow_takers,
        )
        self.connections[connection] = None
        connection.deadline = time.monotonic() + self.request_timeout_s
        self._guard(connection, self._meet)

    def _meet(self, connection: Connection) -> None:
        self._watch(connection, selectors.EVENT_READ)
        # Most clients send a request at once.
        self._on_readable(connection)

    # One connection

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
        """Respond to a socket that has become readable or writable."""
        match connection.stage:
            case Stage.IDLE | Stage.HEAD | Stage.BODY:
                self._on_readable(connection)
            case Stage.SERVED:
                # The client sends before it has its answer. Few do, so we stop watching only now: to do so for every
                # request would cost more.
                self._unwatch(connection)
            case Stage.FLUSHING:
                self._on_writable(connection)
            case Stage.LINGERING:
                self._on_lingering(connection)

    def _guard(self, connection: Connection, react: Callable[..., None], *details: Any) -> None:
        """Close a connection if its client is away or its handling fails, so that the loop goes on for all others."""
        try:
            react(connection, *details)
        except ClientAway:
            self._close(connection)
        except Exception as error:
            log.error("bug", exc_info=error)
            self._close(connection)

    def _on_readable(self, connection: Connection) -> None:
        received = connection.receive()
        if received:
            self._advance(connection, received)
        elif connection.has_ended:
            self._give_up(connection)

    def _advance(self, connection: Connection, received: int) -> None:
        """Handle the bytes of a request that have arrived so far."""
        now, rests_until = time.monotonic(), connection.deadline
        if connection.stage is Stage.IDLE:
            connection.stage = Stage.HEAD
            connection.deadline = now + self.request_timeout_s
        try:
            progress = connection.advance(self.heads)
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
            connection.deadline = rests_until

    def _read_on(self, connection: Connection, received: int, now: float) -> None:
        if connection.stage is not Stage.BODY:
            connection.stage = Stage.BODY
            connection.pace = Pace(self.request_timeout_s, now)
        connection.pace.move(received, now)
        connection.deadline = connection.pace.deadline

    def _serve_arriving(self, connection: Connection, *, can_wait: bool) -> None:
        """Answer a request whose body is still arriving, on one of the extra threads; it may queue if `can_wait`."""
        if self.arriving < self.arriving_max * (1 + ARRIVING_QUEUE_MAX if can_wait else 1):
            self._unwatch(connection)
            connection.stage = Stage.SERVED
            connection.handed_over_at = time.monotonic()
            connection.queued = self.arriving_pool.submit(self._answer, connection)
            # Counted after `submit`, which raises if the system has no thread left. `_guard` then closes the
            # connection.
            self.arriving += 1
            connection.queued.add_done_callback(
                lambda future: self.method_queue.defer(self._guard, connection, self._finish_arriving, future)
            )
        elif can_wait:
            self._refuse(connection, HTTPStatus.SERVICE_UNAVAILABLE, "too many large bodies")
        else:
            # The body may be small. Then the main thread reads it and no thread has to wait.
            connection.let_continue()
            self._read_on(connection, 0, time.monotonic())

    def _serve(self, connection: Connection) -> None:
        """Let a whole request wait for a thread, or refuse it if too many of its kind wait already."""
        assert connection.request is not None
        connection.stage = Stage.SERVED
        connection.handed_over_at = time.monotonic()
        lane = lane_of(connection.request.method, connection.request.path)
        if self.lanes.join(lane, connection, connection.handed_over_at):
            self._start_waiting()
        else:
            self._refuse(connection, HTTPStatus.SERVICE_UNAVAILABLE, "too many requests")

    def _start_waiting(self) -> None:
        while (turn := self.lanes.start()) is not None:
            self.tpool.give(partial(self._answer_and_return, *turn))

    def _answer_and_return(self, lane: Lane, connection: Connection) -> None:
        """Answer on a thread, and give the connection back to the main thread, whatever happens."""
        keeps = False
        try:
            keeps = self._answer(connection)
        except ClientAway:
            pass
        except BaseException as error:
            log.error("bug", exc_info=error)
        finally:
            self.method_queue.defer(self._guard, connection, self._finish, lane, keeps)

    def _finish(self, connection: Connection, lane: Lane, keeps: bool) -> None:
        """Take back a connection from the thread that answered on it."""
        self.tpool.end()
        self.lanes.end(lane)
        self._start_waiting()
        connection.keeps = keeps
        self._flush(connection)

    def _finish_arriving(self, connection: Connection, future: Future[bool]) -> None:
        """Take back a connection from a thread that answered while the body was arriving, or that never started to."""
        self.arriving -= 1
        connection.queued = None
        if future.cancelled():
            self._refuse(connection, HTTPStatus.SERVICE_UNAVAILABLE, "waited too long behind large bodies")
            return
        connection.keeps = future.exception() is None and future.result()
        self._flush(connection)

    def _flush(self, connection: Connection) -> None:
        """Wait until the client has taken the answer. Then keep the connection or end it."""
        if connection.unsent:
            connection.stage = Stage.FLUSHING
            connection.pace = Pace(self.request_timeout_s, time.monotonic())
            connection.deadline = connection.pace.deadline
            self._watch(connection, selectors.EVENT_WRITE)
        elif connection.keeps:
            # A stopping worker keeps it too, because the answer may already have said so.
            self._keep(connection)
        else:
            self._linger(connection)

    def _on_writable(self, connection: Connection) -> None:
        connection.pace.move(connection.flush(), time.monotonic())
        connection.deadline = connection.pace.deadline
        if not connection.unsent:
            self._flush(connection)

    def _keep(self, connection: Connection) -> None:
        """Wait for the next request. A part of it may have arrived already."""
        connection.expect_next()
        connection.stage = Stage.IDLE
        # Behind those that have been idle for longer.
        del self.connections[connection]
        self.connections[connection] = None
        connection.deadline = time.monotonic() + self.settings.keepalive + KEEP_ALIVE_LEEWAY_S
        self._watch(connection, selectors.EVENT_READ)
        if connection.wire:
            self._advance(connection, len(connection.wire))

    def _close_if_idle(self, connection: Connection) -> None:
        self._on_readable(connection)  # a request may have come just now
        if connection.stage is Stage.IDLE:
            self._close(connection)

    def _give_up(self, connection: Connection) -> None:
        """Stop waiting for a client that has closed its side or has run out of time.

        A request of which only a part has arrived is refused; `connections.ArrivingBody` and `parsing` do the same.
        """
        if connection.stage in (Stage.HEAD, Stage.BODY):
            self._refuse(connection, HTTPStatus.REQUEST_TIMEOUT, "incomplete")
        else:
            self._close(connection)

    def _refuse(self, connection: Connection, status: HTTPStatus, reason: str) -> None:
        """Refuse an invalid request or one for which there is no room, and read nothing after it."""
        request_id = uuid.uuid4().hex
        address = connection.client[0] if connection.client else ""
        # The log must not repeat what the client sent.
        self.refusals.note(status, reason, address=address, request_id=request_id)
        connection.keeps = False
        connection.wire.clear()
        connection.sendall(answers.refusal(status, request_id, is_head=connection.is_head))
        connection.flush()
        self._flush(connection)

    def _linger(self, connection: Connection) -> None:
        """Close our side, and discard what the client still sends."""
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
        connection.lingered_bytes += connection.receive()
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
