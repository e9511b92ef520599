"""Finds where a request starts and ends in the bytes received so far. These rules do no I/O.

Only gunicorn's own parser reads heads. If two parsers read one message, they could disagree about
where it ends, and a client could smuggle bytes into another client's request. This module also
refuses what gunicorn's parser accepts against RFC 9112.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from gunicorn.http import errors
from gunicorn.http.body import CHUNK_EXT_RE
from gunicorn.http.message import Request
from gunicorn.http.unreader import Unreader

# gunicorn limits a request line to 4 kB and a field to 8 kB. No honest client needs more than this in total.
HEAD_BYTES_MAX = 64 * 1024
# How many parsed heads a process keeps, and up to which size. Together they take a few MB.
HEADS_KEPT_MAX = 1_000
KEPT_HEAD_BYTES_MAX = 2_000
CHUNK_LINE_BYTES_MAX = 1024
TRAILERS_BYTES_MAX = 8 * 1024
# How much framing a chunked body may always have. Beyond that, it may not have more framing than content.
FRAMING_BYTES_FREE = 4 * 1024
# The API reads one value of each of these headers. If one is sent twice, readers differ in which value they use.
SINGLE_HEADERS = {
    "AUTHORIZATION": "Authorization",
    "CONTENT-ENCODING": "Content-Encoding",
    "EXPECT": "Expect",
    "IDEMPOTENCY-KEY": "Idempotency-Key",
    "ORIGIN": "Origin",
    "SEC-FETCH-SITE": "Sec-Fetch-Site",
    "X-REQUEST-ID": "X-Request-ID",
    "X-REQUESTED-WITH": "X-Requested-With",
}
# These headers decide where a message ends and whether the connection is kept.
FRAMING_FIELDS = ("CONNECTION", "CONTENT-LENGTH", "HOST", "TRANSFER-ENCODING", "UPGRADE")

# An empty line. It matches bare line feeds too, which gunicorn's parser then refuses.
_HEAD_END = re.compile(rb"\n\r?\n")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
# RFC 3986, section 3.2.2: an IPv6 address in brackets or a name, and an optional port.
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|([A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(:[0-9]{0,5})?")


class Body(Protocol):
    """Takes a body off the wire, piece by piece."""

    is_whole: bool

    def feed(self, wire: bytearray) -> bytes:
        """Remove the body's bytes from the front of `wire` and return the decoded content; the rest stays in `wire`.

        Raises ParseException if the body is malformed. The rest of `wire` then has no meaning.
        """


class LengthBody:
    """A body whose length the head announced."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.is_whole = length == 0

    def feed(self, wire: bytearray) -> bytes:
        part = bytes(wire[: self._left])
        del wire[: len(part)]
        self._left -= len(part)
        self.is_whole = self._left == 0
        return part


class ChunkedBody:
    """A body in chunks (RFC 9112, section 7.1). Each chunk states its own length."""

    def __init__(self, check_trailers: Callable[[bytes], Any]) -> None:
        self._check_trailers = check_trailers
        self._take: Callable[[bytearray], bytes | None] = self._take_size
        self._left = self._said_bytes = self._framing_bytes = 0
        self.is_whole = False

    def feed(self, wire: bytearray) -> bytes:
        parts = []
        while not self.is_whole:
            part = self._take(wire)
            if part is None:
                break
            parts.append(part)
        return b"".join(parts)

    def _take_size(self, wire: bytearray) -> bytes | None:
        end = wire.find(b"\r\n")
        line = bytes(wire[:end] if end >= 0 else wire[: CHUNK_LINE_BYTES_MAX + 1])
        if len(line) > CHUNK_LINE_BYTES_MAX or b"\n" in line:
            raise errors.InvalidChunkSize(b"a line that does not end")
        if end < 0:
            return None
        size, extensions, _ = line.partition(b";")
        if not _CHUNK_SIZE.fullmatch(size.rstrip(b" \t") if extensions else size):
            raise errors.InvalidChunkSize(b"no size")
        if not CHUNK_EXT_RE.fullmatch(line[len(size) :]):
            raise errors.InvalidChunkExtension("invalid chunk extension")
        self._framing_bytes += end + 4
        if self._framing_bytes > FRAMING_BYTES_FREE + self._said_bytes:
            raise errors.InvalidChunkSize(b"more framing than body")
        del wire[: end + 2]
        self._left = int(size, 16)
        self._take = self._take_data if self._left else self._take_trailers
        return b""

    def _take_data(self, wire: bytearray) -> bytes | None:
        part = bytes(wire[: self._left])
        del wire[: len(part)]
        self._left -= len(part)
        self._said_bytes += len(part)
        if self._left == 0:
            self._take = self._take_data_end
        return part or None

    def _take_data_end(self, wire: bytearray) -> bytes | None:
        if not b"\r\n".startswith(wire[:2]):
            raise errors.ChunkMissingTerminator(bytes(wire[:2]))
        if len(wire) < len(b"\r\n"):
            return None
        del wire[:2]
        self._take = self._take_size
        return b""

    def _take_trailers(self, wire: bytearray) -> bytes | None:
        if wire.startswith(b"\r\n"):
            del wire[:2]
        else:
            found = _HEAD_END.search(wire)
            if found is None:
                if len(wire) > TRAILERS_BYTES_MAX:
                    raise errors.LimitRequestHeaders("trailers that do not end")
                return None
            trailers = bytes(wire[: found.end()])
            if not trailers.endswith(b"\r\n\r\n"):
                raise errors.InvalidHeader("a bare line feed")
            self._check_trailers(trailers[:-4])
            del wire[: found.end()]
        self.is_whole = True
        return b""


def find_head_end(wire: bytearray, searched: int) -> int | None:
    """Return where the head at the front of `wire` ends, or None. The first `searched` bytes were searched before."""
    found = _HEAD_END.search(wire, max(0, searched - 2))
    return found.end() if found else None


def parse_head(head: bytes, settings: Any, client: Any) -> Request:
    """Return the request with this head; raises ParseException if the head is invalid. `settings` are gunicorn's."""
    unread = _Read(head)
    try:
        request = Request(settings, unread, client)
    except (StopIteration, errors.NoMoreData):
        raise errors.InvalidRequestLine("a head that ends before it ends") from None
    if unread.take_buffered():
        raise errors.InvalidHeader("a head that ends twice")
    # A client with a later minor version of HTTP/1 understands ours.
    request.version = min(request.version, (1, 1))
    fields = _framing_fields(request)
    _check_host(fields["HOST"], is_optional=request.version < (1, 1))
    if [value.lower() for value in fields["TRANSFER-ENCODING"]] not in ([], ["chunked"]):
        raise errors.UnsupportedTransferCoding("a coding other than chunked")
    if not all(_LENGTH.fullmatch(value) for value in fields["CONTENT-LENGTH"]):
        raise errors.InvalidHeader("CONTENT-LENGTH")
    if any(option.strip(" \t") == "close" for value in fields["CONNECTION"] for option in value.lower().split(",")):
        request.force_close()
    if fields["UPGRADE"]:
        # We support no other protocol, so the request is answered without an upgrade (RFC 9110, section 7.8).
        request.headers = [(name, value) for name, value in request.headers if name != "UPGRADE"]
    return request


class PlainSettings:
    """gunicorn's settings, each looked up only once, because they do not change and gunicorn's look-up is slow."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings

    def __getattr__(self, name: str) -> Any:
        # This is called only for settings that are not kept yet.
        value = getattr(self._settings, name)
        setattr(self, name, value)
        return value


class Heads:
    """Parses heads and remembers the latest, because clients send the same head again and again.

    The same bytes from the same host give the same head, and parsing is a fifth of the cost of a request.
    """

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        self._parsed: dict[tuple[str, bytes], Request] = {}  # the most recently used last

    def parse(self, head: bytes, client: Any) -> Request:
        """Return the request with this head, as `parse_head` does."""
        # gunicorn asks from which host a head came. A client on a Unix socket has none.
        key = (client[0] if isinstance(client, tuple) else "", head)
        request = self._parsed.pop(key, None) or parse_head(head, self.settings, client)
        if len(head) > KEPT_HEAD_BYTES_MAX:
            return request
        if len(self._parsed) >= HEADS_KEPT_MAX:
            del self._parsed[next(iter(self._parsed))]
        self._parsed[key] = request
        # A copy, because whoever serves a request may change it. This takes a third of the time of `copy.copy`.
        once = object.__new__(Request)
        once.__dict__.update(request.__dict__, headers=list(request.headers), peer_addr=client, remote_addr=client)
        return once


def body_of(request: Request) -> Body:
    """Return the reader of the request's body."""
    fields = _framing_fields(request)
    if fields["TRANSFER-ENCODING"]:
        return ChunkedBody(lambda trailers: request.parse_headers(trailers, from_trailer=True))
    return LengthBody(int(next(iter(fields["CONTENT-LENGTH"]), 0)))


def fault_of_endless_head(head: bytes, settings: Any, client: Any) -> errors.ParseException:
    """Return the fault of a head that is longer than HEAD_BYTES_MAX."""
    try:
        Request(settings, _Read(head), client)
    except errors.ParseException as fault:
        return fault
    except (StopIteration, errors.NoMoreData):
        pass
    return errors.LimitRequestHeaders("a head that does not end")


def repeated_headers(names: Iterable[str]) -> list[str]:
    """Return the SINGLE_HEADERS that occur more than once among these names."""
    seen = [name for name in names if name in SINGLE_HEADERS]
    if len(seen) < 2:
        return []
    return sorted({SINGLE_HEADERS[name] for name in seen if seen.count(name) > 1})


class _Read(Unreader):
    """gunicorn's source of bytes, with all bytes already read."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.unread(data)

    def chunk(self, size_hint: int | None = None) -> bytes:
        return b""


def _check_host(hosts: list[str], *, is_optional: bool) -> None:
    if not hosts and is_optional:
        return
    # gunicorn's parser refuses a second one.
    if not hosts or not _HOST.fullmatch(hosts[0]):
        raise errors.InvalidHeader("HOST")


def _framing_fields(request: Request) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {name: [] for name in FRAMING_FIELDS}
    for name, value in request.headers:
        if name in values:
            values[name].append(value)
    return values
