"""Reading requests as the contract wants them: strict JSON, nothing unknown, our own refusals."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson
from flask import Request, current_app
from gunicorn.http.errors import ParseException
from marshmallow import RAISE, Schema
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge, RequestTimeout

from app.errors import BodyTooLarge, MalformedJson, UnsupportedMediaType, ValidationFailed
from app.fields import CamelSchema, flat_messages

# What any call with a body may be refused for.
BODY_PROBLEMS = (MalformedJson, BodyTooLarge, UnsupportedMediaType, ValidationFailed)
# Deeper than anything the contract takes, and far from the depth that would exhaust a parser's stack.
JSON_DEPTH_MAX = 32
# Of what a refusal repeats: fields, and characters of each one's name.
NAMED_FIELDS_MAX = 100
NAMED_FIELD_LENGTH_MAX = 100


class StrictParser(FlaskParser):
    """Request data as the contract wants it: JSON of one meaning only, no unknown fields, our own refusals."""

    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "json": RAISE,
        "query": RAISE,
    }

    def load_json(self, req: Request, schema: Schema) -> Any:
        if req.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UnsupportedMediaType("Send the body as it is, without a `Content-Encoding`.")
        body = _read_body(req, bytes_max=_bytes_max(schema))
        may_be_absent = isinstance(schema, CamelSchema) and schema.may_be_absent
        # Generated clients send null where they have nothing to send.
        if may_be_absent and body.strip() in (b"", b"null"):
            return {}
        if not req.is_json:
            raise UnsupportedMediaType("Send the body as JSON with the header `Content-Type: application/json`.")
        return read_json(body, parse_float=_number_reader(schema))

    def load_querystring(self, req: Request, schema: Schema) -> Any:
        repeated = [name for name, values in req.args.lists() if len(values) > 1]
        if repeated:
            # Readers differ in which one counts, so that what was checked could be another than what is done.
            raise _validation_failed({name: ["Occurs more than once."] for name in repeated})
        return super().load_querystring(req, schema)

    def handle_error(self, error: Any, *args: Any, **kwargs: Any) -> Any:
        errors: dict[str, list[str]] = {}
        for messages in error.messages.values():
            errors.update(flat_messages(messages))
        raise _validation_failed(errors)


def _bytes_max(schema: Schema) -> int:
    own = schema.body_bytes_max if isinstance(schema, CamelSchema) else None
    bytes_max: int = own or current_app.config["MAX_CONTENT_LENGTH"]
    return bytes_max


def _number_reader(schema: Schema) -> Callable[[str], Any]:
    return Decimal if isinstance(schema, CamelSchema) and schema.exact_numbers else float


def _validation_failed(errors: dict[str, list[str]]) -> ValidationFailed:
    """Return the refusal of what a client named, which may be far more, and far longer, than it is worth answering."""
    named = {_cut(name): errors[name] for name in sorted(errors)[:NAMED_FIELDS_MAX]}
    more = f" and {len(errors) - NAMED_FIELDS_MAX} more" if len(errors) > NAMED_FIELDS_MAX else ""
    return ValidationFailed(f"Invalid: {', '.join(named)}{more}.", errors=named)


def _cut(name: str) -> str:
    return name if len(name) <= NAMED_FIELD_LENGTH_MAX else f"{name[: NAMED_FIELD_LENGTH_MAX - 1]}…"


def read_json(body: bytes, *, parse_float: Callable[[str], Any] = float) -> Any:
    """Return what the body says; raises MalformedJson unless it is JSON that every reader reads alike.

    Refused beyond the grammar: invalid UTF-8, lone surrogates, NaN, numbers beyond
    a double, nesting deeper than JSON_DEPTH_MAX, and a name that occurs twice in one object.
    """
    try:
        # orjson for its strictness, the standard library for exact integers and repeated names.
        orjson.loads(body)
        value = json.loads(body, object_pairs_hook=_unique_object, parse_float=parse_float)
        if _is_deeper_than(value, JSON_DEPTH_MAX):
            raise _Refused(f"nested deeper than {JSON_DEPTH_MAX} levels")
        return value
    except (ValueError, RecursionError) as error:
        reason = (
            str(error)
            if isinstance(error, orjson.JSONDecodeError | _Refused)
            else "nested too deeply or a number too long"
        )
        raise MalformedJson(f"The body is not valid JSON: {reason}.") from None


def _read_body(req: Request, *, bytes_max: int) -> bytes:
    """Return the body; raises BodyTooLarge, MalformedJson if it is sent in broken chunks, and RequestTimeout if not
    all of it comes.

    Servers differ in whether they tell, and ours says that it does, so that Werkzeug asks no more (`input_terminated`).
    What a client broke off may still be JSON, and means nothing.
    """
    # Without a length in its head, a body just seems to end where the limit is; the byte behind tells that it does not.
    req.max_content_length = bytes_max + 1
    try:
        body = req.get_data()
    except RequestEntityTooLarge:
        raise BodyTooLarge from None
    except ParseException:
        # The server decodes chunks while we read. Where they end is then unknown, so it closes the connection.
        raise MalformedJson("The body can not be read: its chunks are malformed.") from None
    except (ClientDisconnected, OSError):
        raise RequestTimeout from None
    if len(body) > bytes_max:
        raise BodyTooLarge
    if req.content_length is not None and len(body) != req.content_length:
        raise RequestTimeout
    return body


class _Refused(ValueError):
    pass


def _is_deeper_than(value: Any, depth: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    members = value.values() if isinstance(value, dict) else value
    return depth == 0 or any(_is_deeper_than(member, depth - 1) for member in members)


def _unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Refused("a name occurs twice in one object")
    return members


PARSER = StrictParser()
