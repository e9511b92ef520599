"""A request, with what is found out about it on its way."""

import time
from dataclasses import dataclass
from typing import Any

from flask import Request
from flask.globals import request_ctx

from app.http.traces import Trace


@dataclass(frozen=True, slots=True)
class Standing:
    """How much of a request limit a client has left in the current window."""

    limit: int
    remaining: int
    reset_s: int


class Incoming(Request):
    """A request of the bank: its id, when it began, the claims of its token, its standing under a limit, its trace."""

    def __init__(self, environ: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(environ, *args, **kwargs)
        self.request_id = ""
        self.begun = time.perf_counter()
        self.claims: dict[str, Any] | None = None
        self.standing: Standing | None = None
        self.trace: Trace | None = None
        # How long this thread had waited for the database before.
        self.database_begun = 0.0


def current() -> Incoming:
    """Return the request that this thread answers. It costs less than Flask's proxy, which looks it up at each use."""
    return request_ctx.request  # type: ignore[return-value] # the application's `request_class`


def current_id() -> str:
    """Return the id of the request that this thread answers, or "" if it answers none."""
    return current().request_id if request_ctx else ""
