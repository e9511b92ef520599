"""Where a message ends, however it is cut into pieces, and how long a client may take."""

import socket
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import ParseException

from app.http import framing
from app.http.connections import RATE_MIN_BYTES_S, Connection, Pace, SlowTakers
from app.http.framing import FRAMING_BYTES_FREE, Body, ChunkedBody, Heads, LengthBody, find_head_end, repeated_headers

CHUNKS = b'3;a="b"\r\nabc\r\n00A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n'
NEXT = b"GET / HTTP/1.1\r\n"


def chunked() -> ChunkedBody:
    return ChunkedBody(lambda trailers: trailers)


def fed(body: Body, wire: bytes, step: int) -> tuple[bytes, bytes]:
    """Feed a body in pieces of this size; return what it says and what it left."""
    buffer, content = bytearray(), b""
    for start in range(0, len(wire), step):
        buffer += wire[start : start + step]
        if not body.is_whole:
            content += body.feed(buffer)
    return content, bytes(buffer)


@pytest.mark.parametrize("step", range(1, len(CHUNKS + NEXT) + 1))
def test_a_body_is_the_same_in_whatever_pieces_it_comes(step: int) -> None:
    assert fed(chunked(), CHUNKS + NEXT, step) == (b"abc0123456789", NEXT)
    assert fed(LengthBody(9), b"123456789" + NEXT, step) == (b"123456789", NEXT)


@pytest.mark.parametrize("length", range(len(CHUNKS)))
def test_a_part_of_a_body_in_chunks_is_never_whole(length: int) -> None:
    body = chunked()
    body.feed(bytearray(CHUNKS[:length]))

    assert not body.is_whole


@pytest.mark.parametrize("step", [1, 2, 100])
@pytest.mark.parametrize(
    "wire", [b"g\r\n", b"\r\n", b"1\n", b"-1\r\n", b"1\r\nab\r\n", b"1\r\na\n", b"0\r\nX: y\n\r\n"]
)
def test_what_is_no_chunk_is_refused_as_soon_as_it_shows(wire: bytes, step: int) -> None:
    with pytest.raises(ParseException):
        fed(chunked(), wire, step)


def test_a_head_ends_at_the_first_empty_line_wherever_it_was_looked_for_before() -> None:
    head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    for searched in range(len(head)):
        assert find_head_end(bytearray(head[:searched]), 0) is None
        assert find_head_end(bytearray(head + NEXT), searched) == len(head)


HEAD = b"POST /x?y=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
CLIENT = ("192.0.2.1", 1)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The heads that were parsed, rather than known already."""
    heads: list[bytes] = []
    parse_head = framing.parse_head

    def counting(head: bytes, settings: Any, client: Any) -> Any:
        heads.append(head)
        return parse_head(head, settings, client)

    monkeypatch.setattr(framing, "parse_head", counting)
    return heads


def test_a_head_that_comes_again_is_parsed_once_and_is_the_same_request(parsed: list[bytes]) -> None:
    heads = Heads(Config())
    first, second = heads.parse(HEAD, CLIENT), heads.parse(HEAD, ("192.0.2.1", 2))

    assert parsed == [HEAD]
    for name in ("method", "uri", "path", "query", "version", "headers", "_expected_100_continue", "must_close"):
        assert getattr(first, name) == getattr(second, name)
    assert (first.remote_addr, second.remote_addr) == (CLIENT, ("192.0.2.1", 2))


def test_what_is_done_to_a_request_does_not_show_in_the_next_one_with_the_same_head(parsed: list[bytes]) -> None:
    heads = Heads(Config())
    for _ in range(2):
        request = heads.parse(HEAD, CLIENT)
        assert not request.must_close
        assert request._expected_100_continue
        assert len(request.headers) == 3
        request.force_close()
        request._expected_100_continue = False
        request.headers.clear()


def test_the_same_head_from_another_host_is_parsed_anew(parsed: list[bytes]) -> None:
    heads = Heads(Config())
    for client in (CLIENT, ("192.0.2.2", 1), ""):
        heads.parse(HEAD, client)

    assert len(parsed) == 3


def test_a_head_that_is_refused_is_refused_each_time(parsed: list[bytes]) -> None:
    heads = Heads(Config())
    for _ in range(2):
        with pytest.raises(ParseException):
            heads.parse(HEAD.replace(b"Host: x", b"Host: x\r\nHost: x"), CLIENT)


def test_only_the_latest_heads_are_known_and_none_that_is_large(
    parsed: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(framing, "HEADS_KEPT_MAX", 2)
    heads = Heads(Config())
    one, two, three = (HEAD.replace(b"/x", path) for path in (b"/1", b"/2", b"/3"))
    large = HEAD.replace(b"Host: x", b"Host: x\r\nX-Large: " + framing.KEPT_HEAD_BYTES_MAX * b"x")
    for head in (one, two, one, three, one, two, large, large):
        heads.parse(head, CLIENT)

    assert parsed == [one, two, three, two, large, large]


def test_only_headers_of_one_value_may_not_come_twice() -> None:
    names = ["AUTHORIZATION", "ACCEPT", "IDEMPOTENCY-KEY", "ACCEPT", "AUTHORIZATION"]

    assert repeated_headers(names) == ["Authorization"]
    assert repeated_headers(["AUTHORIZATION", "IDEMPOTENCY-KEY"]) == []


def test_a_client_may_pause_for_so_long_and_then_has_to_keep_up_a_rate() -> None:
    pace = Pace(15, now=100)
    assert pace.deadline == 115
    pace.move(RATE_MIN_BYTES_S * 30, now=110)
    assert pace.deadline == 125  # it has sent enough for long, and may not stop
    pace.move(1, now=124)
    assert pace.deadline == 139
    slow = Pace(15, now=100)
    slow.move(RATE_MIN_BYTES_S, now=114)
    assert slow.deadline == 116


def test_a_body_in_chunks_has_little_more_framing_than_content() -> None:
    honest = b"400\r\n" + b"x" * 1024 + b"\r\n"
    content, left = fed(chunked(), honest * 100 + b"0\r\n\r\n", 4096)
    assert (len(content), left) == (102_400, b"")

    with pytest.raises(ParseException):
        fed(chunked(), b"1\r\nx\r\n" * FRAMING_BYTES_FREE, 4096)
    with pytest.raises(ParseException):
        fed(chunked(), (b"1;" + b"a" * 900 + b"\r\nx\r\n") * 10, 4096)


def test_who_waits_longest_for_a_client_makes_room_for_the_next() -> None:
    takers = SlowTakers(2)
    pairs = [socket.socketpair() for _ in range(3)]
    waiting = [Connection(near, None, None, patience_s=1.0, slow_takers=takers) for near, _ in pairs]
    try:
        for connection in waiting:
            takers.enter(connection)

        assert [far.recv(1) for _, far in pairs[:1]] == [b""]
        for _, far in pairs[1:]:
            far.setblocking(False)
            with pytest.raises(BlockingIOError):
                far.recv(1)
        takers.leave(waiting[0])
    finally:
        for near, far in pairs:
            near.close()
            far.close()
