"""Makes JSON answers from what views return."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from flask import Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

JSON = "application/json"


class JsonResponse(Response):
    """A response whose body is complete. Werkzeug's own class would process the headers once more."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "HEAD" or self.status_code == HTTPStatus.NO_CONTENT:
            return super().__call__(environ, start_response)
        start_response(self.status, self.headers.to_wsgi_list())
        return (self.data,)


def json_response(
    body: Any, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None, *, content_type: str = JSON
) -> Response:
    return JsonResponse(orjson.dumps(body) + b"\n", status, headers, content_type=content_type)


def json_answer(status: int, dump: Callable[[Any], Any] | None) -> Callable[[Any], Response]:
    """Return a function that makes the response from a view's result.

    The result is a body for `dump` to write, or (body, status), or (body, status, headers). A response stays as it is.
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
