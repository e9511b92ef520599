"""The server's answers: their headers are those that gunicorn lets through, however often they were seen."""

from typing import Any

import pytest
from gunicorn.http.errors import InvalidHeader, InvalidHeaderName
from gunicorn.http.wsgi import Response

from app.http.answers import Answer

HEADERS = [
    ("Content-Type", "application/json"),
    ("Content-Length", "12"),
    ("Connection", "close"),
    ("Upgrade", "websocket"),
    ("Keep-Alive", "timeout=5"),
    ("X-Padded", " \ta\t "),
    ("Set-Cookie", "a=1"),
    ("Set-Cookie", "b=2"),
]


def taken(answer: Any, headers: list[Any]) -> tuple[Any, ...]:
    answer.process_headers(headers)
    return answer.headers, answer.response_length, answer.upgrade


@pytest.mark.parametrize("headers", [HEADERS, [("Connection", "Upgrade"), *HEADERS[3:]], []])
def test_headers_are_taken_as_gunicorn_takes_them_also_when_they_are_known(headers: list[tuple[str, str]]) -> None:
    expected = taken(Response(None, None, None), headers)
    for _ in range(2):
        assert taken(Answer(None, None, None, None), headers) == expected  # type: ignore[arg-type] # no connection


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (("X-Split", "a\r\nX-Other: b"), InvalidHeader),
        (("X Split", "a"), InvalidHeaderName),
        (("X-Number", 1), TypeError),
        (("Content-Length", "many"), ValueError),
    ],
)
def test_a_header_that_gunicorn_refuses_is_refused_each_time(header: Any, error: type[Exception]) -> None:
    for _ in range(2):
        with pytest.raises(error):
            Answer(None, None, None, None).process_headers([header])  # type: ignore[arg-type] # no connection
