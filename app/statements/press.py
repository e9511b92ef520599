"""The press: a process beside each worker that draws up long statements, so that no thread of the worker has to.

It writes them as PDF, CSV or JSON, and judges long statements that clients send. The worker decides whose order is
carried out and who waits (`app.runtime.heavy`), and passes on the bytes that the press sends. `printing` is the code
that runs in the press.

It starts when it is first needed. It ends when the worker's end of their socket closes, which happens however the
worker ends. If a press is lost, the requests that waited for it are refused with ServiceUnavailable, and the next order
starts a new one.
"""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

import bson
import orjson
import structlog
from bson import ObjectId
from pymongo.errors import AutoReconnect

import config
from app.errors import AccountNotFound, DomainError, MalformedJson, ServiceUnavailable, ValidationFailed
from app.settings.policies import MongoPolicy
from app.statements.service import Period

log = structlog.get_logger(__name__)

# Drawing this many takes 10 to 30 seconds, depending on how many scripts the texts use. The document is kept until it
# is complete, which takes up to 110 MB.
PDF_ENTRIES_MAX = 100_000
# The press sends a message after every 1,000 entries. If it is silent for this long, it hangs.
SILENCE_MAX_S = 120.0
# The statement is sent in pieces of this size. The socket holds a few of them, so a press waits for a slow reader.
PIECE_BYTES_MAX = 64 * 1024
# An order has an account and two entries, the report of a bug a traceback, a refusal up to 100 names of fields.
MESSAGE_BYTES_MAX = 128 * 1024

# Messages from the press.
TAKEN, PAUSE, PIECE, DONE, AWAY, REFUSED, FAULT = b"T", b"P", b"B", b"D", b"A", b"R", b"F"
# Messages from the worker.
GO_ON = b"G"
# The refusals that the press can ask for.
REFUSALS: dict[str, type[DomainError]] = {
    kind.code: kind for kind in (AccountNotFound, MalformedJson, ValidationFailed)
}
_ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); from app.statements import printing; printing.serve(int(sys.argv[2]))"
)


class PrintingFailed(Exception):
    """There is a bug in the code of the press; the text is its traceback."""


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

    def statement(self, form: str, period: Period, pause: Callable[[], None]) -> Generator[bytes]:
        """Yield a period's statement as pdf, csv or json. Calls `pause` regularly, so that others can go first.

        A PDF is complete before its first piece. The others are drawn up while they are read, and the press waits for a
        slow reader. Raises ValidationFailed for a PDF of too many entries, ServiceUnavailable if the press is lost,
        AutoReconnect if its database is away, and PrintingFailed for a bug. All but the first may come after pieces.
        """
        if form == "pdf" and period.span.size > PDF_ENTRIES_MAX:
            raise ValidationFailed(
                "The period has too many entries for a PDF.",
                errors={
                    "format": [f"A PDF has at most {PDF_ENTRIES_MAX:,} entries. Take a shorter period, CSV or JSON."]
                },
            )
        return self._carried_out(statement_order(form, period), pause)

    def verdict(self, body: bytes, viewer: ObjectId, pause: Callable[[], None]) -> bytes:
        """Return the verdict on a statement as `verdicts.judge` does. Raises what that and `statement` raise."""
        # In memory. It is gone when the last process closes it.
        with open(os.memfd_create("statement"), "w+b") as file:
            file.write(body)
            file.flush()
            return b"".join(self._carried_out(verdict_order(viewer), pause, file))

    def _carried_out(self, order: bytes, pause: Callable[[], None], body: IO[bytes] | None = None) -> Generator[bytes]:
        """Send an order, and yield the pieces of its result."""
        process, answers = self._send(order, body)
        with ExitStack() as stack:
            stack.enter_context(answers)
            said = _receive(answers)
            if not said:
                # The press ended before it took up the order, so it is safe to try again.
                self._replace(process)
                process, answers = self._send(order, body)
                stack.enter_context(answers)
                said = _receive(answers)
            while said:
                kind, content = said[:1], said[1:]
                if kind == PIECE:
                    yield content
                elif kind == PAUSE:
                    pause()
                    with suppress(OSError):  # the next message is missing then too
                        answers.send(GO_ON)
                elif kind == DONE:
                    return
                elif kind != TAKEN:
                    raise _problem(kind, content)
                said = _receive(answers)
        self._replace(process)
        log.error("press_lost", pid=process.pid, exit_code=process.poll())
        raise _lost()

    def _send(self, order: bytes, body: IO[bytes] | None) -> "tuple[subprocess.Popen[bytes], socket.socket]":
        """Send an order to the press, or to a new one if it has ended; return the process, and where it answers."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(SILENCE_MAX_S)
        handles = [theirs.fileno(), *([] if body is None else [body.fileno()])]
        try:
            with theirs, self._lock:
                process, orders = self._running()
                with suppress(OSError):
                    socket.send_fds(orders, [order], handles)
                    return process, ours
                self._end()
                process, orders = self._running()
                socket.send_fds(orders, [order], handles)
                return process, ours
        except OSError as error:
            ours.close()
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
                self._process = subprocess.Popen(  # noqa: S603 -- no argument comes from outside
                    [sys.executable, "-P", "-c", _PROGRAM, str(_ROOT), str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    # The press counts nothing. With this variable it would leave files of counters behind.
                    env=config.environment_without("PROMETHEUS_MULTIPROC_DIR"),
                    pass_fds=[theirs.fileno()],
                )
            self._orders = ours
            ours.settimeout(SILENCE_MAX_S)
            # Not on the command line, which everybody on this machine can read.
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


def _receive(answers: socket.socket) -> bytes:
    """Return the press's next message; empty if there is none, because it has ended or was silent for too long."""
    with suppress(OSError):
        return answers.recv(MESSAGE_BYTES_MAX)
    return b""


def _problem(kind: bytes, content: bytes) -> Exception:
    if kind == AWAY:
        return AutoReconnect(f"The press's database is away: {content.decode()}")
    if kind == REFUSED:
        refusal = orjson.loads(content)
        return REFUSALS[refusal["code"]](refusal["detail"], errors=refusal["errors"])
    return PrintingFailed(content.decode(errors="replace"))


def _lost() -> ServiceUnavailable:
    return ServiceUnavailable("Drawing up the document failed. Nothing was done: try again.")


def statement_order(form: str, period: Period) -> bytes:
    """Return the order for a statement, as `printing` reads it."""
    span = {"before": period.span.before, "end": period.span.end}
    facts = {"account": period.account, "from_time": period.from_time, "to_time": period.to_time, **span}
    return bson.encode({"form": form, **facts})


def verdict_order(viewer: ObjectId) -> bytes:
    """Return the order to judge the statement that `viewer` sent, which is in a file of its own."""
    return bson.encode({"form": "verdict", "viewer": viewer})


press = Press()
