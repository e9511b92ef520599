"""Blueprints whose decorators state what a route takes, answers and refuses."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

import flask_smorest
from flask import current_app, request
from marshmallow import Schema

from app.errors import DomainError, InternalError, RateLimited, ServiceUnavailable, ValidationFailed
from app.fields import CamelSchema, IdempotencyKey
from app.http.parsing import NothingSchema, StrictParser
from app.http.problems import PROBLEM_CONTENT_TYPE, REPLAYED_HEADER, ProblemSchema

# What any call may be refused for.
_PROBLEMS_OF_ALL: tuple[type[DomainError], ...] = (ValidationFailed, RateLimited, InternalError, ServiceUnavailable)
_PROBLEM_SCHEMA = ProblemSchema()
_NOTHING = NothingSchema()

View = TypeVar("View", bound=Callable[..., Any])


class IdempotencyHeader(IdempotencyKey):
    """An idempotency key in UTF-8, as in a body; WSGI hands header bytes on as Latin-1."""

    default_error_messages = {"utf8": "Not UTF-8."}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        try:
            text = str(value).encode("latin-1").decode()
        except UnicodeError as error:
            raise self.make_error("utf8") from error
        return super()._deserialize(text, attr, data, **kwargs)


class IdempotencyHeaderSchema(CamelSchema):
    """The header that may carry the idempotency key instead of the body."""

    idempotency_key = IdempotencyHeader(data_key="Idempotency-Key", metadata={"description": "Instead of the body's."})


class Blueprint(flask_smorest.Blueprint):
    """A blueprint whose decorators state a route's input, output and refusals."""

    ARGUMENTS_PARSER = StrictParser()

    def arguments(self, schema: Schema, *, location: str = "json", **kwargs: Any) -> Callable[[Any], Any]:
        decorate = super().arguments(schema, location=location, **kwargs)

        def decorator(view: Any) -> Any:
            reading = decorate(view)
            # What `_refuse_unread` goes by.
            reading.reads = {location, *getattr(view, "reads", ())}
            return reading

        return decorator

    def keyed_arguments(self, schema: Schema, **kwargs: Any) -> Callable[[View], View]:
        """Like `arguments`, for a body whose idempotency key may come as a header instead."""

        def decorator(view: View) -> View:
            @wraps(view)
            def with_key(*args: Any, **view_args: Any) -> Any:
                *outer, body, headers = args
                return view(*outer, {**body, "idempotency_key": _chosen_key(body, headers)}, **view_args)

            with_headers = self.arguments(IdempotencyHeaderSchema(), location="headers", unknown="exclude")(with_key)
            return self.arguments(schema, **kwargs)(with_headers)  # type: ignore[no-any-return]

        return decorator

    def replays(self, schema: Schema) -> Callable[[View], View]:
        """Document that a repeat under the same idempotency key answers 200 with the first outcome."""
        return self.alt_response(  # type: ignore[no-any-return]
            200,
            schema=schema,
            description="The first outcome again: the key was spent on this same request before.",
            headers={
                REPLAYED_HEADER: {"description": "Marks a repeat.", "schema": {"type": "string", "enum": ["true"]}}
            },
            success=True,
        )

    def refusals(self, *problems: type[DomainError]) -> Callable[[View], View]:
        """Document what a route refuses, one response for each status, and that it may fail as all may.

        All refuse a query or a body that they do not ask for, once they know who asks.
        """
        by_status: dict[int, list[type[DomainError]]] = defaultdict(list)
        for problem in dict.fromkeys((*problems, *_PROBLEMS_OF_ALL)):
            by_status[problem.status].append(problem)

        def decorator(view: View) -> View:
            @wraps(view)
            def refusing(*args: Any, **kwargs: Any) -> Any:
                _refuse_unread()
                return view(*args, **kwargs)

            documented: Any = refusing
            for status, of_status in by_status.items():
                documented = self.alt_response(
                    status,
                    schema=_PROBLEM_SCHEMA,
                    content_type=PROBLEM_CONTENT_TYPE,
                    description=" · ".join(f"`{problem.code}`: {problem.title}" for problem in of_status),
                    example=_example(of_status[0]),
                )(documented)
            return documented  # type: ignore[no-any-return]

        return decorator


def _chosen_key(body: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    in_body, in_header = body.get("idempotency_key"), headers.get("idempotency_key")
    if in_body is not None and in_header is not None and in_body != in_header:
        raise ValidationFailed(
            "The body and the header Idempotency-Key carry different keys.",
            errors={"idempotencyKey": ["Differs from the header Idempotency-Key."]},
        )
    key: str | None = in_body if in_body is not None else in_header
    if key is None:
        raise ValidationFailed(
            "An idempotency key is needed.",
            errors={"idempotencyKey": ["Missing here and as the header Idempotency-Key."]},
        )
    return key


def _refuse_unread() -> None:
    """Raise a problem of the body or the query, if the request has one that its call does not ask for."""
    reads = getattr(current_app.view_functions[request.endpoint or ""], "reads", ())
    if request.query_string and "query" not in reads:
        Blueprint.ARGUMENTS_PARSER.parse(_NOTHING, location="query")
    if "json" not in reads:
        Blueprint.ARGUMENTS_PARSER.parse(_NOTHING, location="json")


def _example(problem: type[DomainError]) -> dict[str, Any]:
    return {
        "type": f"/problems/{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.title,
        "code": problem.code,
        "requestId": "0b5c1f9c7d2e4a61b3f8a9c0d1e2f3a4",
    }
