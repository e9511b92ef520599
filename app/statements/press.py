"""PDFs are drawn by a process of their own beside each worker, its press, so that they never hold up its other threads.

The worker keeps the turns and the places of those who wait (`app.heavy`). The press has a connection to the database of
its own and writes into a file that the worker gave it. It is started when it is first needed and ends when the worker's
end of their socket is closed, which the kernel does however the worker ends. One that is lost is replaced by the next
order; who waited for it is told to come back.
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

# Drawing them takes 10 to 30 seconds, the longer the more scripts they are in, and, as they wait for the last one, up
# to 110 MB.
ENTRIES_MAX = 100_000
BYTES_AT_ONCE = 64 * 1024
# Others go first where both want a processor.
NICENESS = 5
# The press says something after every 1,000 entries. One that is silent for so long hangs.
SILENCE_MAX_S = 120.0
# An order has an account and two entries, what is told of a fault has a traceback.
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
    """A bug in the press, told by its traceback."""


class Press:
    """The press of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._policy: MongoPolicy | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._orders: socket.socket | None = None

    def configure(self, policy: MongoPolicy) -> None:
        """Say which replica set to read."""
        self.close()
        self._policy = policy

    def close(self) -> None:
        """End the process, if there is one. The next order starts another."""
        with self._lock:
            self._end()

    @property
    def pid(self) -> int | None:
        """The number of the process that draws, if there is one."""
        return self._process.pid if self._process else None

    def draw(self, period: Period, pause: Callable[[], None], file: IO[bytes]) -> None:
        """Have the statement of a period drawn into a file. Calls `pause` now and then, for others to go first.

        Raises ServiceUnavailable if the database is away or the press is lost, DrawingFailed for a bug.
        """
        process, told = self._ask(period, pause, file)
        if not told:
            # It ended before it took the order up, which is nobody's affair.
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
        """Return who had the order and what was told of it last: nothing if it was not even taken up, _TAKEN if it was
        and no end came of it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                process = self._send(_order(period), theirs, file)
            ours.settimeout(SILENCE_MAX_S)
            last = b""
            with suppress(OSError):  # silent for too long, or gone
                while told := ours.recv(MESSAGE_BYTES_MAX):
                    if told not in (_TAKEN, _PAUSE):
                        return process, told
                    last = _TAKEN
                    if told == _PAUSE:
                        pause()
                        ours.send(_GO_ON)
        return process, last

    def _send(self, order: bytes, theirs: socket.socket, file: IO[bytes]) -> "subprocess.Popen[bytes]":
        """Give an order to the press, or to another one if that one has ended since; returns who has it."""
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
                # No fork of this process, in which the locks of other threads lie in wait, and no signal when the
                # thread that starts it ends, as that may be any.
                self._process = subprocess.Popen(  # noqa: S603 -- nothing in it is from outside
                    [sys.executable, "-P", "-c", _PROGRAM, str(_ROOT), str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
            self._orders = ours
            ours.settimeout(SILENCE_MAX_S)
            # Not on its command line, which everybody on this machine can read.
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
        """Have the next order start another press than this one."""
        with self._lock:
            if self._process is process:
                self._end()


def _lost() -> ServiceUnavailable:
    return ServiceUnavailable("Drawing the document broke off. Nothing was done: try again.")


press = Press()


def as_pdf(period: Period, pause: Callable[[], None]) -> Iterator[bytes]:
    """Yield the bytes of a period's statement, once all of it is drawn.

    Raises ValidationFailed if it has too many entries, and as `Press.draw` does.
    """
    if period.span.size > ENTRIES_MAX:
        raise ValidationFailed(
            "The period has too many entries for a PDF.",
            errors={"format": [f"A PDF has at most {ENTRIES_MAX:,} entries. Take a shorter period, CSV or JSON."]},
        )
    # It has no name, so nothing is left of it whoever is killed.
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
    """Draw what is ordered over this socket until its other end is closed."""
    # Who stops the bank tells the worker, which may still wait for a document.
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
            # At once: nobody is left to whom a document would matter.
            os._exit(0)
        threading.Thread(target=_fill, args=(order, *handles), daemon=True).start()


def _pdf() -> ModuleType:
    # Only here: the worker needs neither the fonts nor the library, which take 20 MB and half a second.
    from app.statements import pdf

    return pdf


def _fill(order: bytes, connection: int, handle: int) -> None:
    """Carry out an order, and tell how it went."""
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
    except Exception:  # noqa: BLE001 -- it is told to whom it belongs
        return _FAULT + traceback.format_exc()[-TRACE_LETTERS_MAX:].encode()
    return _DRAWN
