"""Ids in paths, and the methods that a path has."""

from typing import Any

from flask import Flask, Request, current_app
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.routing import BaseConverter

from app.fields import MALFORMED_ID, read_id


class IdConverter(BaseConverter):
    """An id in a path. Text that is no id becomes MALFORMED_ID, so the route answers that nothing was found."""

    def to_python(self, value: str) -> Any:
        return read_id(value) or MALFORMED_ID

    def to_url(self, value: Any) -> str:
        return str(value or MALFORMED_ID)


def register(app: Flask) -> None:
    """Let the application's paths have ids."""
    app.url_map.converters["id"] = IdConverter
    # Merging would redirect, and to whatever host the client named.
    app.url_map.merge_slashes = False


def methods_of(path: str) -> set[str]:
    """Return the methods of the routes with exactly this path, without routes that have an id in place of a word."""
    rules = current_app.url_map.iter_rules()
    return {method for rule in rules if rule.rule == path for method in rule.methods or ()}


def refuse_call_as_id(request: Request) -> None:
    """Raise MethodNotAllowed if the path's id is really a word of another call's path, such as `create`."""
    given = request.view_args
    if given and MALFORMED_ID in given.values() and (methods := methods_of(request.path)):
        raise MethodNotAllowed(methods)
