"""Which `traceparent` headers are valid, by the examples and rules of W3C Trace Context."""

import pytest

from app.http import traces

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def test_a_right_header_gives_the_request_a_part_of_its_own() -> None:
    first, second = traces.read(f"00-{TRACE}-{PARENT}-01"), traces.read(f"00-{TRACE}-{PARENT}-01")

    assert first is not None
    assert second is not None
    assert (first.id, first.flags) == (TRACE, "01")
    assert len({PARENT, first.span, second.span}) == 3
    assert str(first) == f"00-{TRACE}-{first.span}-01"


def test_a_later_version_may_have_more_fields() -> None:
    trace = traces.read(f"cc-{TRACE}-{PARENT}-00-what-the-future-will-be-like")

    assert trace is not None
    assert trace.id == TRACE


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "rubbish",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-01,00-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01\n",
    ],
)
def test_a_wrong_header_counts_as_none(header: str | None) -> None:
    assert traces.read(header) is None
