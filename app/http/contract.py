"""The contract of a route: what it declares about itself, and the one function that serves it accordingly.

Decorators write the contract. `Blueprint.add_url_rule` makes the function when a route is registered, so no route
escapes its contract, and a request passes through no decorators.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, TypeVar

from flask import Request, Response

from app.errors import ValidationFailed
from app.fields import CamelSchema
from app.http import checks, routing
from app.http.incoming import Incoming, current
from app.http.parsing import Input, body_of, query_of
from app.mongo import together

View = TypeVar("View", bound=Callable[..., Any])


class NothingSchema(CamelSchema):
    """The input of a call that takes none."""

    may_be_absent = True


@dataclass(frozen=True, slots=True)
class Contract:
    """What a route declares: who may call it, which parts of a request it reads, and how its result is answered.

    `access` describes the required token or role, or is None if anybody may call. `admit` raises unless the caller has
    it. `ahead` returns, from the caller and the path, the keys of what the view reads first. The query that checks the
    token fetches it too. `limit` names the limit under which calls are counted, or is None for the limit of the method.
    The view gets what the `inputs` read, in their order. Without `answer`, Flask makes the response.
    """

    access: str | None = None
    admit: Callable[[Incoming], None] | None = None
    ahead: Callable[..., Iterable[together.Key]] | None = None
    inputs: tuple[Input, ...] = ()
    limit: str | None = None
    answer: Callable[[Any], Response] | None = None


_NONE = Contract()
_NOTHING = NothingSchema()
_NO_QUERY, _NO_BODY = query_of(_NOTHING), body_of(_NOTHING)
KEY_HEADER = "Idempotency-Key"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_ATTRIBUTE = "__contract__"


def contract_of(view: Callable[..., Any]) -> Contract:
    """Return what has been declared about a view so far. Wrappers made with `functools.wraps` keep it."""
    declared: Contract = getattr(view, _ATTRIBUTE, _NONE)
    return declared


def declare(view: View, **declared: Any) -> View:
    """Add to the contract of a view."""
    setattr(view, _ATTRIBUTE, replace(contract_of(view), **declared))
    return view


def hold_to_contract(view: View) -> View:
    """Return the view as it is served: admit the caller, refuse what is not read, read the inputs, call, answer."""
    contract = contract_of(view)
    admit, answer = contract.admit, contract.answer
    inputs = [one.read for one in contract.inputs]
    reads = frozenset[str]().union(*(one.parts for one in contract.inputs))

    @wraps(view)
    def serve(**path: Any) -> Any:
        request = current()
        if admit is not None:
            admit(request)
        _refuse_unread(request, reads)
        read = [read(request) for read in inputs]
        if routing.is_by_number(path):
            path = _by_ids(contract, request, path)
        result = view(*read, **path)
        return result if answer is None else answer(result)

    return serve  # type: ignore[return-value] # wraps keeps the signature


def _by_ids(contract: Contract, request: Incoming, path: Mapping[str, Any]) -> dict[str, Any]:
    """Return the path with ids in place of account numbers, and expect what the view reads first of these accounts."""
    found = routing.with_ids(path)
    if contract.ahead is not None and request.user_id is not None:
        together.expect(contract.ahead(request.user_id, **found))
    return found


def _refuse_unread(request: Request, reads: frozenset[str]) -> None:
    """Raise a problem if the request has a query, a body or an idempotency key that its call does not read."""
    if request.query_string and "query" not in reads:
        _NO_QUERY.read(request)
    # An empty JSON object is accepted like no body.
    if "json" not in reads and checks.has_body(request):
        _NO_BODY.read(request)
    # A client that sends a key relies on it. Safe methods can be repeated anyway.
    if "headers" not in reads and request.method not in _SAFE_METHODS and KEY_HEADER in request.headers:
        raise ValidationFailed(
            "This call takes no idempotency key: a repeat would be carried out again.",
            errors={KEY_HEADER: ["Not taken by this call."]},
        )
