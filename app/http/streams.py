"""Answers that take long to make begin when most of what can go wrong has not, and end whole or visibly broken."""

from collections.abc import Iterator
from itertools import chain
from tempfile import SpooledTemporaryFile

from flask import Response, request

from app.heavy import Work

# Made before the answer begins: until then, whatever goes wrong is answered as the problem it is.
READY_BYTES_MAX = 4 * 1024**2
MEMORY_BYTES_MAX = 1024**2
SENT_AT_ONCE_BYTES = 64 * 1024


def answer(pieces: Iterator[bytes], work: Work, *, mimetype: str) -> Response:
    """Return an answer of these pieces, which are made in the work's turns. Closes the work in the end.

    What needs more than READY_BYTES_MAX goes on being made while it is sent, in chunks, of which a missing last one
    tells that it broke off. HTTP/1.0 has no such sign, so there all of it is made first. Raises as `Work.turn` and the
    making of the pieces do.
    """
    bytes_max = READY_BYTES_MAX if request.environ.get("SERVER_PROTOCOL") != "HTTP/1.0" else None
    ready = SpooledTemporaryFile[bytes](MEMORY_BYTES_MAX)
    try:
        with work.turn():
            is_whole = _write(pieces, ready, bytes_max)
    except BaseException:
        ready.close()
        work.close()
        raise
    size = ready.tell()
    ready.seek(0)
    if is_whole:
        # Who takes the answer slowly keeps nobody else from working.
        work.close()
    body = _read(ready) if is_whole else chain(_read(ready), _in_turns(pieces, work))
    response = Response(body, mimetype=mimetype)
    if is_whole:
        response.content_length = size
    response.call_on_close(ready.close)
    response.call_on_close(work.close)
    return response


def _write(pieces: Iterator[bytes], file: SpooledTemporaryFile[bytes], bytes_max: int | None) -> bool:
    """Write pieces into a file until it has `bytes_max`, and return whether those were all."""
    for piece in pieces:
        file.write(piece)
        if bytes_max is not None and file.tell() >= bytes_max:
            return False
    return True


def _read(file: SpooledTemporaryFile[bytes]) -> Iterator[bytes]:
    while some := file.read(SENT_AT_ONCE_BYTES):
        yield some


def _in_turns(pieces: Iterator[bytes], work: Work) -> Iterator[bytes]:
    """Yield the pieces. A turn lasts while one is made, not while it is sent."""
    while True:
        with work.turn():
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece
