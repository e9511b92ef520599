"""The program of the press: carries out the orders that its worker sends.

`press` is the worker's side, and defines the messages that both sides exchange.
"""

import gc
import os
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from tempfile import TemporaryFile

import bson
import orjson
from pymongo.errors import PyMongoError

from app import mongo
from app.errors import DomainError
from app.mongo import Document
from app.settings.policies import MongoPolicy
from app.statements import press, render, service, verdicts
from app.statements.queries import Span
from app.statements.service import Period, Statement

# The press has lower priority, so other processes get a busy processor first.
NICENESS = 5
TRACE_LETTERS_MAX = 10_000
# Where to answer an order, and the statement to be judged.
HANDLES_MAX = 2
_DECODED: bson.CodecOptions[Document] = bson.CodecOptions(tz_aware=True)


def serve(handle: int) -> None:
    """Carry out the orders that come over this socket, until its other end is closed."""
    # These signals are for the worker, which may still wait for a document when the bank stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(NICENESS)
    orders = socket.socket(fileno=handle)
    gc.freeze()
    mongo.connect(MongoPolicy(**bson.decode(orders.recv(press.MESSAGE_BYTES_MAX))))
    while True:
        order, handles, _, _ = socket.recv_fds(orders, press.MESSAGE_BYTES_MAX, HANDLES_MAX)
        if not order:
            # End at once, because nobody waits for a document any more.
            os._exit(0)
        threading.Thread(target=carry_out, args=(order, *handles), daemon=True).start()


def carry_out(order: bytes, answers: int, statement: int | None = None) -> None:
    """Carry out an order, and send the worker the result and how it ended. Takes over the handles."""
    with suppress(_NobodyWaits), socket.socket(fileno=answers) as worker:
        body = b"" if statement is None else _read(statement)
        _tell(worker, press.TAKEN)
        _tell(worker, _send_result(bson.decode(order, _DECODED), body, worker))


class _NobodyWaits(Exception):
    """The worker has closed its end."""


def _tell(worker: socket.socket, message: bytes) -> None:
    """Send a message, and wait for as long as the worker has not read enough of the earlier ones."""
    try:
        worker.send(message)
    except OSError as error:
        raise _NobodyWaits from error


def _send_result(order: Document, body: bytes, worker: socket.socket) -> bytes:
    """Send the pieces of the result, and return the last message."""

    def pause() -> None:
        _tell(worker, press.PAUSE)
        # The worker closes its end if the client has left.
        with suppress(OSError):
            if worker.recv(press.MESSAGE_BYTES_MAX):
                return
        raise _NobodyWaits

    try:
        for written in _result(order, body, pause):
            for begin in range(0, len(written), press.PIECE_BYTES_MAX):
                _tell(worker, press.PIECE + written[begin : begin + press.PIECE_BYTES_MAX])
    except _NobodyWaits:
        raise
    except DomainError as refusal:
        return press.REFUSED + orjson.dumps({"code": refusal.code, "detail": refusal.detail, "errors": refusal.errors})
    except PyMongoError as error:
        return press.AWAY + type(error).__name__.encode() if mongo.is_away(error) else _fault()
    except Exception:  # noqa: BLE001 -- the worker gets the traceback and raises
        return _fault()
    return press.DONE


def _fault() -> bytes:
    return press.FAULT + traceback.format_exc()[-TRACE_LETTERS_MAX:].encode()


def _read(handle: int) -> bytes:
    # Another order may have read it before, so go to its start.
    with open(handle, "rb") as file:
        file.seek(0)
        return file.read()


def _result(order: Document, body: bytes, pause: Callable[[], None]) -> Iterator[bytes]:
    if order["form"] == "verdict":
        return iter([verdicts.judge(body, order["viewer"], pause)])
    period = Period(order["account"], order["from_time"], order["to_time"], Span(order["before"], order["end"]))
    return _FORMS[order["form"]](service.draw_up(period, pause))


def _as_pdf(statement: Statement) -> Iterator[bytes]:
    # Imported only when needed, because the fonts and the library take 20 MB and half a second.
    from app.statements import pdf

    with TemporaryFile() as file:
        pdf.draw(statement, file)
        file.seek(0)
        while some := file.read(press.PIECE_BYTES_MAX):
            yield some


_FORMS = {"pdf": _as_pdf, "csv": render.as_csv, "json": render.as_json}
