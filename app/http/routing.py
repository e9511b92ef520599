"""Ids in paths, and which methods a path has."""

from typing import Any

from flask import Flask, current_app, request
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.routing import BaseConverter

from app.fields import MALFORMED_ID, read_id


class IdConverter(BaseConverter):
    """An id in a path. What can not be an id names nothing, so that the route answers that it was not found."""

    def to_python(self, value: str) -> Any:
        return read_id(value) or MALFORMED_ID

    def to_url(self, value: Any) -> str:
        return str(value or MALFORMED_ID)


def register(app: Flask) -> None:
    """Teach the application's paths ids."""
    app.url_map.converters["id"] = IdConverter
    # A path means itself; merging would redirect to whatever host the client named.
    app.url_map.merge_slashes = False


def methods_of(path: str) -> set[str]:
    """Return what the routes with this very path take, not those with an id in place of its last word."""
    rules = current_app.url_map.iter_rules()
    return {method for rule in rules if rule.rule == path for method in rule.methods or ()}


def refuse_call_as_id() -> None:
    """Raise MethodNotAllowed if what is taken for an id is the last word of another call, such as `create`."""
    if MALFORMED_ID in (request.view_args or {}).values() and (methods := methods_of(request.path)):
        raise MethodNotAllowed(methods)
