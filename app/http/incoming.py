"""A request, with what the bank finds out about it while answering it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from flask import Flask, Request, current_app
from flask.globals import request_ctx

from app.http.traces import Trace

# What stands behind Flask's proxies. A proxy looks it up by several calls, at each use.
_context: Callable[[], Any] = request_ctx._get_current_object  # type: ignore[attr-defined] # of the proxy
_application: Callable[[], Any] = current_app._get_current_object  # type: ignore[attr-defined] # of the proxy


@dataclass(frozen=True, slots=True)
class Standing:
    """How much of a request limit a client has left in the current window."""

    limit: int
    remaining: int
    reset_s: int


class Incoming(Request):
    """A request of the bank: its id, when it began, the claims of its token and its user's id, its standing under a
    limit, its trace."""

    def __init__(self, environ: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(environ, *args, **kwargs)
        self.request_id = ""
        self.begun = time.perf_counter()
        self.claims: dict[str, Any] | None = None
        self.user_id: ObjectId | None = None
        self.standing: Standing | None = None
        self.trace: Trace | None = None
        # How long this thread had waited for the database before this request.
        self.database_begun = 0.0


def current() -> Incoming:
    """Return the request that this thread answers. This is faster than Flask's proxy, which looks it up at each use."""
    incoming: Incoming = _context().request
    return incoming


def application() -> Flask:
    """Return the application that this thread works for."""
    chosen: Flask = _application()
    return chosen


def current_id() -> str:
    """Return the id of the request that this thread answers, or "" if it answers none."""
    return current().request_id if request_ctx else ""
