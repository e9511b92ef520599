"""Answers in JSON, made of what views return."""

from collections.abc import Callable
from typing import Any

import orjson
from flask import Response

JSON = "application/json"


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body) + b"\n", status, headers, content_type=JSON)


def json_answer(status: int, dump: Callable[[Any], Any] | None) -> Callable[[Any], Response]:
    """Return a function that makes the response from a view's result.

    The result is a body for `dump` to write, (body, status) or (body, status, headers), or a response, which is kept.
    """

    def answer(result: Any) -> Response:
        chosen, headers = status, None
        if type(result) is tuple:
            result, chosen, *more = result
            headers = more[0] if more else None
        if isinstance(result, Response):
            return result
        return json_response(result if dump is None else dump(result), chosen, headers)

    return answer
