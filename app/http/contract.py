"""The contract of a route: what it declares about itself, and how that is enforced.

Decorators write the contract. `Blueprint.add_url_rule` enforces it when a route is registered,
so no route can miss it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, TypeVar

from flask import request

from app.errors import ValidationFailed
from app.fields import CamelSchema
from app.http import checks
from app.http.parsing import PARSER

View = TypeVar("View", bound=Callable[..., Any])


class NothingSchema(CamelSchema):
    """The input of a call that takes none."""

    may_be_absent = True


@dataclass(frozen=True, slots=True)
class Contract:
    """What a route declares: who may call it, and which parts of a request it reads.

    `access` describes the required token or role; None: anybody may call. `admit` raises unless the caller has it.
    `reads` holds the parser's names for the parts: json, query, headers.
    """

    access: str | None = None
    admit: Callable[[], None] | None = None
    reads: frozenset[str] = frozenset()


_NOTHING = NothingSchema()
_KEY_HEADER = "Idempotency-Key"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_ATTRIBUTE = "__contract__"


def contract_of(view: Callable[..., Any]) -> Contract:
    """Return what has been declared about a view so far. Wrappers made with `functools.wraps` keep it."""
    declared: Contract = getattr(view, _ATTRIBUTE, Contract())
    return declared


def declare(view: View, **declared: Any) -> View:
    """Add to the contract of a view."""
    setattr(view, _ATTRIBUTE, replace(contract_of(view), **declared))
    return view


def hold_to_contract(view: View) -> View:
    """Return the view as it is served: admit the caller, refuse what the view does not read, then call it."""
    contract = contract_of(view)

    @wraps(view)
    def serve(*args: Any, **kwargs: Any) -> Any:
        if contract.admit is not None:
            contract.admit()
        _refuse_unread(contract.reads)
        return view(*args, **kwargs)

    return serve  # type: ignore[return-value] # wraps keeps the signature


def _refuse_unread(reads: frozenset[str]) -> None:
    """Raise a problem if the request has a query, a body or an idempotency key that its call does not read."""
    if request.query_string and "query" not in reads:
        PARSER.parse(_NOTHING, location="query")
    # An empty JSON object is accepted like no body.
    if "json" not in reads and checks.has_body(request):
        PARSER.parse(_NOTHING, location="json")
    # A client that sends a key relies on it. Safe methods can be repeated anyway.
    if "headers" not in reads and request.method not in _SAFE_METHODS and _KEY_HEADER in request.headers:
        raise ValidationFailed(
            "This call takes no idempotency key: a repeat would be carried out again.",
            errors={_KEY_HEADER: ["Not taken by this call."]},
        )
