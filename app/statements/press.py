"""The press: a process beside each worker that draws PDFs, so that drawing never blocks the worker's other threads.

The worker decides who may draw and who waits (`app.runtime.heavy`). The press has its own connection to the database
and writes into a file that the worker gives it. It starts when it is first needed. It ends when the worker's end of
their socket closes, which the kernel does however the worker ends. If a press is lost, the requests that waited for it
are refused with ServiceUnavailable, and the next order starts a new one.
"""

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from types import ModuleType
from typing import IO

import bson
import structlog
from pymongo.errors import PyMongoError

from app import mongo
from app.errors import ServiceUnavailable, ValidationFailed
from app.mongo import Document
from app.policies import MongoPolicy
from app.statements import service
from app.statements.queries import Span
from app.statements.service import Period

log = structlog.get_logger(__name__)

# Drawing this many takes 10 to 30 seconds, depending on how many scripts the texts use. The document is kept until it
# is complete, which takes up to 110 MB.
ENTRIES_MAX = 100_000
BYTES_AT_ONCE = 64 * 1024
# The press has lower priority, so other processes get a busy processor first.
NICENESS = 5
# The press sends a message after every 1,000 entries. If it is silent for this long, it hangs.
SILENCE_MAX_S = 120.0
# An order has an account and two entries; the report of a bug has a traceback.
MESSAGE_BYTES_MAX = 64 * 1024
TRACE_LETTERS_MAX = 10_000

_TAKEN, _PAUSE, _DRAWN, _AWAY, _FAULT = b"T", b"P", b"D", b"A", b"F"
_GO_ON = b"G"
_ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); from app.statements import press; press.serve(int(sys.argv[2]))"
)
_DECODED: bson.CodecOptions[Document] = bson.CodecOptions(tz_aware=True)


class DrawingFailed(Exception):
    """There is a bug in the code that draws; the text is its traceback."""


class Press:
    """Starts this worker's press and sends it orders."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._policy: MongoPolicy | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None

    def configure(self, policy: MongoPolicy) -> None:
        """Set the replica set that the press reads."""
        self.close()
        self._policy = policy

    def close(self) -> None:
        """End the process, if there is one. The next order starts another."""
        with self._lock:
            self._end()

    @property
    def pid(self) -> int | None:
        """The process id of the press, if it runs."""
        return self._process.pid if self._process else None

    def draw(self, period: Period, pause: Callable[[], None], file: IO[bytes]) -> None:
        """Let the press draw a period's statement into a file. Calls `pause` regularly, so that others can go first.

        Raises ServiceUnavailable if the database is away or the press is lost, and DrawingFailed for a bug.
        """
        process, told = self._ask(period, pause, file)
        if not told:
            # The press ended before it took up the order, so it is safe to try again.
            self._replace(process)
            process, told = self._ask(period, pause, file)
        if told in (b"", _TAKEN):
            self._replace(process)
            log.error("press_lost", pid=process.pid, exit_code=process.poll())
            raise _lost()
        if told[:1] == _AWAY:
            log.warning("database_away", error=told[1:].decode())
            raise ServiceUnavailable
        if told[:1] == _FAULT:
            raise DrawingFailed(told[1:].decode(errors="replace"))

    def _ask(
        self, period: Period, pause: Callable[[], None], file: IO[bytes]
    ) -> "tuple[subprocess.Popen[bytes], bytes]":
        """Send an order; return the process that got it, and its last message.

        The message is empty if the order was not taken up, and _TAKEN if it was taken up but never finished.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                process = self._send(_order(period), theirs, file)
            ours.settimeout(SILENCE_MAX_S)
            last = b""
            with suppress(OSError):  # the press was silent for too long, or has ended
                while told := ours.recv(MESSAGE_BYTES_MAX):
                    if told not in (_TAKEN, _PAUSE):
                        return process, told
                    last = _TAKEN
                    if told == _PAUSE:
                        pause()
                        ours.send(_GO_ON)
        return process, last

    def _send(self, order: bytes, theirs: socket.socket, file: IO[bytes]) -> "subprocess.Popen[bytes]":
        """Send an order to the press, or to a new one if the press has ended; return the process that got it."""
        handles = [theirs.fileno(), file.fileno()]
        try:
            with self._lock:
                process, orders = self._running()
                with suppress(OSError):
                    socket.send_fds(orders, [order], handles)
                    return process
                self._end()
                process, orders = self._running()
                socket.send_fds(orders, [order], handles)
                return process
        except OSError as error:
            log.error("press_not_started", exc_info=error)
            raise _lost() from error

    def _running(self) -> "tuple[subprocess.Popen[bytes], socket.socket]":
        if self._process is not None and self._process.poll() is not None:
            self._end()
        if self._process is None or self._orders is None:
            assert self._policy is not None, "configure() was not called."
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                # A new program, because a fork would copy locks that other threads hold. It is not told to end with
                # its parent by `app.runtime.leash`, because the kernel would end it with the thread that starts it.
                self._process = subprocess.Popen(  # noqa: S603 -- no argument is from outside
                    [sys.executable, "-P", "-c", _PROGRAM, str(_ROOT), str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
            self._orders = ours
            ours.settimeout(SILENCE_MAX_S)
            # Not on the command line, because everybody on this machine can read it.
            ours.send(bson.encode({"uri": self._policy.uri, "timeout_ms": self._policy.timeout_ms}))
        return self._process, self._orders

    def _end(self) -> None:
        if self._orders is not None:
            self._orders.close()
            self._orders = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _replace(self, process: "subprocess.Popen[bytes]") -> None:
        """End this press, unless it has been replaced already. The next order starts a new one."""
        with self._lock:
            if self._process is process:
                self._end()


def _lost() -> ServiceUnavailable:
    return ServiceUnavailable("Drawing the document failed. Nothing was done: try again.")


press = Press()


def as_pdf(period: Period, pause: Callable[[], None]) -> Iterator[bytes]:
    """Yield a period's statement as PDF, once it is complete.

    Raises ValidationFailed if the period has too many entries, and as `Press.draw` does.
    """
    if period.span.size > ENTRIES_MAX:
        raise ValidationFailed(
            "The period has too many entries for a PDF.",
            errors={"format": [f"A PDF has at most {ENTRIES_MAX:,} entries. Take a shorter period, CSV or JSON."]},
        )
    # The file has no name, so nothing is left of it if a process is killed.
    with TemporaryFile() as file:
        press.draw(period, pause, file)
        file.seek(0)
        while some := file.read(BYTES_AT_ONCE):
            yield some


def _order(period: Period) -> bytes:
    return bson.encode(
        {
            "account": period.account,
            "from_time": period.from_time,
            "to_time": period.to_time,
            "before": period.span.before,
            "end": period.span.end,
        }
    )


# In the press


def serve(handle: int) -> None:
    """Draw the documents that are ordered over this socket, until its other end is closed."""
    # These signals are for the worker, which may still wait for a document when the bank stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(NICENESS)
    orders = socket.socket(fileno=handle)
    _pdf()
    gc.freeze()
    mongo.connect(MongoPolicy(**bson.decode(orders.recv(MESSAGE_BYTES_MAX))))
    while True:
        order, handles, _, _ = socket.recv_fds(orders, MESSAGE_BYTES_MAX, 2)
        if not order:
            # End at once, because nobody waits for a document any more.
            os._exit(0)
        threading.Thread(target=_fill, args=(order, *handles), daemon=True).start()


def _pdf() -> ModuleType:
    # Imported only in the press. The worker does not need the fonts and the library: 20 MB and half a second.
    from app.statements import pdf

    return pdf


def _fill(order: bytes, connection: int, handle: int) -> None:
    """Carry out an order, and send the worker the result."""
    with suppress(OSError), socket.socket(fileno=connection) as worker, os.fdopen(handle, "wb") as file:
        worker.send(_TAKEN)
        worker.send(_drawn(order, worker, file))


def _drawn(order: bytes, worker: socket.socket, file: IO[bytes]) -> bytes:
    facts = bson.decode(order, _DECODED)
    period = Period(facts["account"], facts["from_time"], facts["to_time"], Span(facts["before"], facts["end"]))

    def pause() -> None:
        worker.send(_PAUSE)
        if not worker.recv(MESSAGE_BYTES_MAX):
            raise BrokenPipeError

    try:
        _pdf().draw(service.draw_up(period, pause), file)
        file.flush()
    except PyMongoError as error:
        if mongo.is_away(error):
            return _AWAY + type(error).__name__.encode()
        return _FAULT + traceback.format_exc()[-TRACE_LETTERS_MAX:].encode()
    except Exception:  # noqa: BLE001 -- the worker gets the traceback and raises
        return _FAULT + traceback.format_exc()[-TRACE_LETTERS_MAX:].encode()
    return _DRAWN
