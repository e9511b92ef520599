"""Blueprints whose decorators state what a route takes, answers and refuses."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, TypeVar

import flask
import flask_smorest
from marshmallow import Schema

from app.errors import DomainError, InternalError, RateLimited, ServiceUnavailable, ValidationFailed
from app.fields import CamelSchema, IdempotencyKey
from app.http.compiled import dumper_of
from app.http.contract import KEY_HEADER, contract_of, declare, hold_to_contract
from app.http.described import answer_of, examples_of
from app.http.parsing import Input, body_of, header_of, query_of, unparsed_body_of
from app.http.problems import PROBLEM_CONTENT_TYPE, ProblemSchema
from app.http.results import json_answer
from app.mongo import together

# Every call may be refused with these.
_PROBLEMS_OF_ALL: tuple[type[DomainError], ...] = (ValidationFailed, RateLimited, InternalError, ServiceUnavailable)
_PROBLEM_SCHEMA = ProblemSchema()

View = TypeVar("View", bound=Callable[..., Any])


class IdempotencyHeader(IdempotencyKey):
    """An idempotency key of visible ASCII, because clients encode other characters in headers differently."""

    default_error_messages = {
        "invisible": "In the header, a key may have visible ASCII characters only, and no blanks. In the body it may "
        "have any printable ones."
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not all("!" <= character <= "~" for character in str(value)):
            raise self.make_error("invisible")
        return super()._deserialize(value, attr, data, **kwargs)


class IdempotencyHeaderSchema(CamelSchema):
    """The header that may carry the idempotency key instead of the body."""

    idempotency_key = IdempotencyHeader(
        data_key=KEY_HEADER, metadata={"description": "Instead of the one in the body."}
    )


_KEY_SCHEMA = IdempotencyHeaderSchema()


class PageBlueprint(flask.Blueprint):
    """A blueprint whose routes are not in the API's description. They are still held to their contracts."""

    def add_url_rule(
        self, rule: str, endpoint: str | None = None, view_func: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        """Register a route, and hold it to its contract."""
        view = None if view_func is None else hold_to_contract(view_func)
        super().add_url_rule(rule, endpoint, view, *args, **kwargs)


class Blueprint(flask_smorest.Blueprint):
    """A blueprint whose decorators state a route's input, output and refusals.

    Its decorators return the view itself. They write into its contract what is done for each request. Of the
    library's own decorators, they use only what these add to the API's description.
    """

    def add_url_rule(
        self, rule: str, endpoint: str | None = None, view_func: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        """Register a route, and hold it to its contract."""
        super().add_url_rule(rule, endpoint, hold_to_contract(view_func), *args, **kwargs)

    def arguments(self, schema: Schema, *, location: str = "json", **described: Any) -> Callable[[View], View]:
        """Give the view what the schema describes, as its first argument: the query or the JSON body."""
        read = query_of(schema) if location == "query" else body_of(schema)
        describe = super().arguments(schema, location=location, **described)
        return lambda view: _describe(_with_input(view, read), describe)

    def unparsed_argument(self, schema: Schema, **described: Any) -> Callable[[View], View]:
        """Give the view the bytes of the JSON body that the schema describes, so that another process can parse it."""
        describe = super().arguments(schema, **described)
        return lambda view: _describe(_with_input(view, unparsed_body_of(schema)), describe)

    def keyed_arguments(self, schema: Schema, *, key_required: bool = True, **described: Any) -> Callable[[View], View]:
        """Like `arguments`, for a body whose idempotency key may come as a header instead."""
        body, header = body_of(schema), header_of(KEY_HEADER, _KEY_SCHEMA)
        describe_header = super().arguments(_KEY_SCHEMA, location="headers")
        describe_body = super().arguments(schema, **described)

        def read(request: flask.Request) -> dict[str, Any]:
            return _keyed(body.read(request), header.read(request), is_required=key_required)

        def decorator(view: View) -> View:
            with_key = _with_input(view, Input(body.parts | header.parts, read))
            return _describe(_describe(with_key, describe_header), describe_body)

        return decorator

    def reads_ahead(self, keys_of: Callable[..., Iterable[together.Key]]) -> Callable[[View], View]:
        """Let the check of the token bring what the view reads first: the keys of (user id, **path). Only for reads."""
        return lambda view: declare(view, ahead=keys_of)

    @staticmethod
    def limited(limit: str) -> Callable[[View], View]:
        """Count the calls of this route under a limit of its own, by the limit's name in `rate_limits`."""
        return lambda view: declare(view, limit=limit)

    def response(self, status_code: int, schema: Any = None, **described: Any) -> Callable[[View], View]:
        """Answer with the view's result as the schema dumps it, unless the result is a response already."""
        describe = super().response(status_code, schema, **{**answer_of(schema), **described})
        answer = json_answer(status_code, dumper_of(schema) if isinstance(schema, Schema) else None)
        return lambda view: _describe(declare(view, answer=answer), describe)

    def alt_response(self, *args: Any, **described: Any) -> Callable[[View], View]:
        describe = super().alt_response(*args, **described)
        return lambda view: _describe(view, describe)

    @staticmethod
    def doc(**described: Any) -> Callable[[View], View]:
        describe = flask_smorest.Blueprint.doc(**described)
        return lambda view: _describe(view, describe)

    def replays(self, schema: Schema) -> Callable[[View], View]:
        """Document that a repeat under the same idempotency key answers 200 with the first outcome."""
        return self.alt_response(
            200,
            schema=schema,
            example=schema.example if isinstance(schema, CamelSchema) else None,
            description="The first outcome again: the key was used for this same request before.",
            success=True,
        )

    def refusals(self, *problems: type[DomainError]) -> Callable[[View], View]:
        """Document the problems of a route, and those that every call has: one response for each status."""
        by_status: dict[int, list[type[DomainError]]] = defaultdict(list)
        for problem in dict.fromkeys((*problems, *_PROBLEMS_OF_ALL)):
            by_status[problem.status].append(problem)

        def decorator(view: View) -> View:
            for status, of_status in by_status.items():
                self.alt_response(
                    status,
                    schema=_PROBLEM_SCHEMA,
                    content_type=PROBLEM_CONTENT_TYPE,
                    description=" · ".join(f"`{problem.code}`: {problem.title}" for problem in of_status),
                    examples=examples_of(of_status),
                )(view)
            return view

        return decorator


class _Written(dict[str, Any]):
    """What decorators have written so far. The library's decorators copy it, so that each view has its own."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _describe(view: View, describe: Callable[[Any], Any]) -> View:
    """Give the view the description that one of the library's decorators writes, without the decorator's wrapper."""
    described: Any = view
    described._apidoc = _Written(getattr(view, "_apidoc", {}))
    described._apidoc = dict(describe(view)._apidoc)
    return view


def _with_input(view: View, read: Input) -> View:
    # Decorators apply from the bottom up, and the topmost input is the first argument.
    return declare(view, inputs=(read, *contract_of(view).inputs))


def _keyed(body: dict[str, Any], header: Mapping[str, str], *, is_required: bool) -> dict[str, Any]:
    """Return the body with the idempotency key from the body or the header; raises ValidationFailed."""
    in_body, in_header = body.get("idempotency_key"), header.get("idempotency_key")
    if in_body is not None and in_header is not None and in_body != in_header:
        raise ValidationFailed(
            "The body and the header Idempotency-Key carry different keys.",
            errors={"idempotencyKey": ["Differs from the header Idempotency-Key."]},
        )
    if in_body is None and in_header is None and is_required:
        raise ValidationFailed(
            "An idempotency key is needed.",
            errors={"idempotencyKey": ["Missing here and in the header Idempotency-Key."]},
        )
    return body if in_header is None else {**body, "idempotency_key": in_header}
