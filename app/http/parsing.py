"""Reads the data of requests: strict JSON, no unknown fields, and our own refusals."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson
from flask import Request, current_app
from gunicorn.http.errors import ParseException
from marshmallow import Schema, ValidationError
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge, RequestTimeout

from app.errors import BodyTooLarge, MalformedJson, UnsupportedMediaType, ValidationFailed
from app.fields import CamelSchema, flat_messages
from app.http.compiled import loader_of

# Every call with a body may be refused with these.
BODY_PROBLEMS = (MalformedJson, BodyTooLarge, UnsupportedMediaType, ValidationFailed)
# Deeper than any body in the contract, and far below the depth that would exhaust a parser's stack.
JSON_DEPTH_MAX = 32
# How many invalid fields a refusal names, and how many characters of each name it repeats.
NAMED_FIELDS_MAX = 100
NAMED_FIELD_LENGTH_MAX = 100
_NESTING = (dict, list)


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a view: which `parts` of a request it comes from (query, json, headers), and how it is read.

    `read` raises a problem if these parts are not as declared.
    """

    parts: frozenset[str]
    read: Callable[[Request], Any]


def query_of(schema: Schema) -> Input:
    """Return the input that a schema describes as the query."""
    load = _explaining(loader_of(schema))
    nothing = _loaded_from_nothing(schema)

    def read(request: Request) -> Any:
        if not request.query_string and nothing is not None:
            return dict(nothing)
        given = request.args
        repeated = [name for name, values in given.lists() if len(values) > 1]
        if repeated:
            # Readers differ in which value they use, so one could check the first and another act on the last.
            raise _validation_failed({name: ["Occurs more than once."] for name in repeated})
        return load(given.to_dict())

    return Input(frozenset({"query"}), read)


def body_of(schema: Schema) -> Input:
    """Return the input that a schema describes as the body, in JSON."""
    load = json_loader_of(schema)
    return Input(frozenset({"json"}), lambda request: load(_read_json_body(request, schema)))


def unparsed_body_of(schema: Schema) -> Input:
    """Return the input that is the unparsed body. Another process parses it, by `json_loader_of` the schema."""
    return Input(frozenset({"json"}), lambda request: _read_json_body(request, schema))


def json_loader_of(schema: Schema) -> Callable[[bytes], Any]:
    """Return a function that loads a body in JSON; it raises MalformedJson and ValidationFailed."""
    load = _explaining(loader_of(schema))
    is_exact = isinstance(schema, CamelSchema) and schema.exact_numbers

    def load_body(body: bytes) -> Any:
        return load({} if _is_absent(body, schema) else read_json(body, is_exact=is_exact))

    return load_body


def header_of(name: str, schema: Schema) -> Input:
    """Return the input that a schema describes as this one header. Without the header, it is empty."""
    load = _explaining(loader_of(schema))

    def read(request: Request) -> Any:
        given = request.headers.get(name)
        return {} if given is None else load({name: given})

    return Input(frozenset({"headers"}), read)


def _loaded_from_nothing(schema: Schema) -> dict[str, Any] | None:
    """Return what the schema loads from an empty query, or None if it refuses that."""
    try:
        loaded: dict[str, Any] = schema.load({})
    except ValidationError:
        return None
    return loaded


def _explaining(load: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the loader, with its errors turned into problems."""

    def load_or_refuse(data: Any) -> Any:
        try:
            return load(data)
        except ValidationError as error:
            raise _validation_failed(flat_messages(error.messages)) from None

    return load_or_refuse


def _read_json_body(request: Request, schema: Schema) -> bytes:
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Send the body as it is, without a `Content-Encoding`.")
    body = _read_body(request, bytes_max=_bytes_max(schema))
    if not request.is_json and not _is_absent(body, schema):
        raise UnsupportedMediaType("Send the body as JSON with the header `Content-Type: application/json`.")
    return body


def _is_absent(body: bytes, schema: Schema) -> bool:
    # Generated clients send null when they have nothing to send.
    return isinstance(schema, CamelSchema) and schema.may_be_absent and body.strip() in (b"", b"null")


def _bytes_max(schema: Schema) -> int:
    own = schema.body_bytes_max if isinstance(schema, CamelSchema) else None
    bytes_max: int = own or current_app.config["MAX_CONTENT_LENGTH"]
    return bytes_max


def _validation_failed(errors: dict[str, list[str]]) -> ValidationFailed:
    """Return the refusal of these fields. It cuts their number and length, because the client chose the names."""
    named = {_cut(name): errors[name] for name in sorted(errors)[:NAMED_FIELDS_MAX]}
    more = f" and {len(errors) - NAMED_FIELDS_MAX} more" if len(errors) > NAMED_FIELDS_MAX else ""
    return ValidationFailed(f"Invalid: {', '.join(named)}{more}.", errors=named)


def _cut(name: str) -> str:
    return name if len(name) <= NAMED_FIELD_LENGTH_MAX else f"{name[: NAMED_FIELD_LENGTH_MAX - 1]}…"


def read_json(body: bytes, *, is_exact: bool = False) -> Any:
    """Return the body's value; raises MalformedJson unless it is JSON that all readers understand in the same way.

    With `is_exact`, numbers with a point or an exponent become Decimals, so that no digit is lost.

    Besides syntax errors, this refuses invalid UTF-8, lone surrogates, NaN, numbers beyond
    a double, nesting deeper than JSON_DEPTH_MAX, and a name that occurs twice in one object.
    """
    try:
        # orjson is strict. The standard library keeps large integers exact and shows repeated names.
        orjson.loads(body)
        value = (_EXACT if is_exact else _USUAL).decode(body.decode())
        if _is_deeper_than(value, JSON_DEPTH_MAX):
            raise _Refused(f"nested deeper than {JSON_DEPTH_MAX} levels")
        return value
    except (ValueError, ArithmeticError, RecursionError) as error:
        reason = (
            str(error)
            if isinstance(error, orjson.JSONDecodeError | _Refused)
            else "nested too deeply or a number too long"
        )
        raise MalformedJson(f"The body is not valid JSON: {reason}.") from None


def _too_large(bytes_max: int) -> BodyTooLarge:
    return BodyTooLarge(f"It may have {bytes_max:,} bytes.")


def _read_body(request: Request, *, bytes_max: int) -> bytes:
    """Return the body.

    Raises BodyTooLarge; MalformedJson if the body's chunks are malformed; RequestTimeout if the body is shorter than
    announced. The first part of a body may be valid JSON too, but it is not what the client meant.

    Our own server refuses short bodies: `worker` the small ones, `connections.ArrivingBody` the large ones. The length
    is compared again here, because another server may not do that, and Werkzeug does not if the server sets
    `wsgi.input_terminated`.
    """
    # Werkzeug silently cuts off a chunked body at the limit. Reading one byte more shows that there was more.
    request.max_content_length = bytes_max + 1
    try:
        body = request.get_data()
    except RequestEntityTooLarge:
        raise _too_large(bytes_max) from None
    except ParseException:
        # The server decodes chunks while we read. It cannot know where a malformed body ends, so it closes the
        # connection.
        raise MalformedJson("The body cannot be read: its chunks are malformed.") from None
    except (ClientDisconnected, OSError):
        raise RequestTimeout from None
    if len(body) > bytes_max:
        raise _too_large(bytes_max)
    if request.content_length is not None and len(body) != request.content_length:
        raise RequestTimeout
    return body


def glance_at_body(request: Request, *, bytes_max: int) -> bytes:
    """Return a short body before its turn to be read, or nothing. Faults in it are refused when its turn comes."""
    length = request.content_length
    if not length or length > bytes_max or "HTTP_TRANSFER_ENCODING" in request.environ:
        return b""
    try:
        return request.get_data()
    except (RequestEntityTooLarge, ClientDisconnected, ParseException, OSError):
        return b""


class _Refused(ValueError):
    pass


def _is_deeper_than(value: Any, depth: int) -> bool:
    # The objects and lists of one level after the other, because a call for each value takes five times as long.
    level = [value] if type(value) in _NESTING else []
    for _ in range(depth):
        level = [
            member
            for each in level
            for member in (each.values() if type(each) is dict else each)
            if type(member) in _NESTING
        ]
    return bool(level)


def _unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Refused("a name occurs twice in one object")
    return members


_USUAL = json.JSONDecoder(object_pairs_hook=_unique_object)
_EXACT = json.JSONDecoder(object_pairs_hook=_unique_object, parse_float=Decimal)
