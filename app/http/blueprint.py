"""Blueprints whose decorators state what a route takes, answers and refuses."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

import flask
import flask_smorest
from marshmallow import Schema

from app.errors import DomainError, InternalError, RateLimited, ServiceUnavailable, ValidationFailed
from app.fields import CamelSchema, IdempotencyKey
from app.http.contract import contract_of, declare, hold_to_contract
from app.http.described import answer_of, examples_of
from app.http.parsing import PARSER
from app.http.problems import PROBLEM_CONTENT_TYPE, ProblemSchema

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
        data_key="Idempotency-Key", metadata={"description": "Instead of the one in the body."}
    )


class PageBlueprint(flask.Blueprint):
    """A blueprint whose routes are not in the API's description. They are still held to their contracts."""

    def add_url_rule(
        self, rule: str, endpoint: str | None = None, view_func: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        """Register a route, and hold it to its contract."""
        view = None if view_func is None else hold_to_contract(view_func)
        super().add_url_rule(rule, endpoint, view, *args, **kwargs)


class Blueprint(flask_smorest.Blueprint):
    """A blueprint whose decorators state a route's input, output and refusals."""

    ARGUMENTS_PARSER = PARSER

    def add_url_rule(
        self, rule: str, endpoint: str | None = None, view_func: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        """Register a route, and hold it to its contract."""
        super().add_url_rule(rule, endpoint, hold_to_contract(view_func), *args, **kwargs)

    def response(self, status_code: int, schema: Any = None, **described: Any) -> Callable[[Any], Any]:
        """As in the library. The schema says what the answer is and has its example."""
        return super().response(status_code, schema, **{**answer_of(schema), **described})  # type: ignore[no-any-return]

    def arguments(self, schema: Schema, *, location: str = "json", **kwargs: Any) -> Callable[[Any], Any]:
        decorate = super().arguments(schema, location=location, **kwargs)

        def decorator(view: Any) -> Any:
            return declare(decorate(view), reads=contract_of(view).reads | {location})

        return decorator

    def keyed_arguments(self, schema: Schema, *, key_required: bool = True, **kwargs: Any) -> Callable[[View], View]:
        """Like `arguments`, for a body whose idempotency key may come as a header instead."""

        def decorator(view: View) -> View:
            @wraps(view)
            def with_key(*args: Any, **view_args: Any) -> Any:
                *outer, body, headers = args
                key = _chosen_key(body, headers)
                if key is not None:
                    body = {**body, "idempotency_key": key}
                elif key_required:
                    raise ValidationFailed(
                        "An idempotency key is needed.",
                        errors={"idempotencyKey": ["Missing here and in the header Idempotency-Key."]},
                    )
                return view(*outer, body, **view_args)

            with_headers = self.arguments(IdempotencyHeaderSchema(), location="headers", unknown="exclude")(with_key)
            return self.arguments(schema, **kwargs)(with_headers)  # type: ignore[no-any-return]

        return decorator

    def replays(self, schema: Schema) -> Callable[[View], View]:
        """Document that a repeat under the same idempotency key answers 200 with the first outcome."""
        return self.alt_response(  # type: ignore[no-any-return]
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
            documented: Any = view
            for status, of_status in by_status.items():
                documented = self.alt_response(
                    status,
                    schema=_PROBLEM_SCHEMA,
                    content_type=PROBLEM_CONTENT_TYPE,
                    description=" · ".join(f"`{problem.code}`: {problem.title}" for problem in of_status),
                    examples=examples_of(of_status),
                )(documented)
            return documented  # type: ignore[no-any-return]

        return decorator


def _chosen_key(body: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    in_body, in_header = body.get("idempotency_key"), headers.get("idempotency_key")
    if in_body is not None and in_header is not None and in_body != in_header:
        raise ValidationFailed(
            "The body and the header Idempotency-Key carry different keys.",
            errors={"idempotencyKey": ["Differs from the header Idempotency-Key."]},
        )
    return in_body if in_body is not None else in_header
