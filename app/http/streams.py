"""Large answers, sent while they are produced.

The first READY_BYTES_MAX are produced before anything is sent, so most failures can still be answered with a problem
document. If a later piece fails, the connection breaks, so no client takes a part for the whole.
"""

from collections.abc import Generator, Iterator
from itertools import chain
from tempfile import SpooledTemporaryFile

from flask import Response, request

from app.runtime.heavy import Work

READY_BYTES_MAX = 4 * 1024**2
MEMORY_BYTES_MAX = 1024**2
SENT_AT_ONCE_BYTES = 64 * 1024


def answer(pieces: Generator[bytes], work: Work, *, mimetype: str) -> Response:
    """Return an answer of these pieces. They are produced in turns of `work`, which is closed at the end.

    An answer of more than READY_BYTES_MAX is sent in chunks. If it breaks off, the last chunk is missing, so the client
    can tell. HTTP/1.0 has no chunks, so there the whole answer is produced first. Raises what `Work.turn` and `pieces`
    raise.
    """
    bytes_max = READY_BYTES_MAX if request.environ.get("SERVER_PROTOCOL") != "HTTP/1.0" else None
    ready = SpooledTemporaryFile[bytes](MEMORY_BYTES_MAX)
    try:
        with work.turn():
            is_whole = _write(pieces, ready, bytes_max)
    except BaseException:
        pieces.close()
        ready.close()
        work.close()
        raise
    size = ready.tell()
    ready.seek(0)
    if is_whole:
        # Closed now, so that a client that reads slowly does not keep other work waiting.
        pieces.close()
        work.close()
    body = _read(ready) if is_whole else chain(_read(ready), _in_turns(pieces, work))
    response = Response(body, mimetype=mimetype)
    if is_whole:
        response.content_length = size
    response.call_on_close(pieces.close)
    response.call_on_close(ready.close)
    response.call_on_close(work.close)
    return response


def _write(pieces: Iterator[bytes], file: SpooledTemporaryFile[bytes], bytes_max: int | None) -> bool:
    """Write pieces into a file until it has `bytes_max`; return whether all pieces were written."""
    for piece in pieces:
        file.write(piece)
        if bytes_max is not None and file.tell() >= bytes_max:
            return False
    return True


def _read(file: SpooledTemporaryFile[bytes]) -> Iterator[bytes]:
    while some := file.read(SENT_AT_ONCE_BYTES):
        yield some


def _in_turns(pieces: Iterator[bytes], work: Work) -> Iterator[bytes]:
    """Yield the pieces. A turn lasts while a piece is made, not while it is sent."""
    while True:
        with work.turn():
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece
