"""Where a message ends, whatever pieces it comes in; and how long a client may take."""

import socket

import pytest
from gunicorn.http.errors import ParseException

from app.http.connections import RATE_MIN_BYTES_S, Connection, Pace, SlowTakers
from app.http.framing import FRAMING_BYTES_FREE, Body, ChunkedBody, LengthBody, find_head_end, repeated_headers

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
