"""What the API's description says of all calls, and how it says things so that generated clients are pleasant to use.

`field_as_described` adjusts how the library describes a field, and `finish` the whole document.
"""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from marshmallow import Schema, fields

from app.errors import PROBLEMS, DomainError, ValidationFailed
from app.fields import (
    ONE_LINE_WITH_TEXT,
    Choice,
    Currency,
    CurrencyCode,
    JsonWebSignature,
    Metadata,
    camel_case,
)
from app.http.examples import problem_example
from app.money import currencies

Document = dict[str, Any]

HEADERS: dict[str, Document] = {
    "X-Request-ID": {
        "description": "The request's id, which is in the log: the client's own, if it sent a sane one.",
        "required": True,
        "schema": {"type": "string", "maxLength": 64},
        "example": "0b5c1f9c7d2e4a61b3f8a9c0d1e2f3a4",
    },
    "Location": {
        "description": "The address of what was made.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
        "example": "/api/transactions/6560a1b2c3d4e5f601234890",
    },
    "Content-Disposition": {
        "description": "The file's name.",
        "required": True,
        "schema": {"type": "string"},
        "example": "attachment; filename=statement.pdf",
    },
    "Idempotency-Replayed": {
        "description": "There only if this is the first outcome of the idempotency key again.",
        "schema": {"type": "string", "enum": ["true"]},
        "example": "true",
    },
    "WWW-Authenticate": {
        "description": "The scheme, and what is wrong with the token (RFC 6750).",
        "required": True,
        "schema": {"type": "string"},
        "example": 'Bearer error="invalid_token", error_description="The token has expired"',
    },
    "Retry-After": {
        "description": "After how many seconds it makes sense to try again.",
        "required": True,
        "schema": {"type": "integer", "format": "int32", "minimum": 1},
        "example": 2,
    },
    "RateLimit-Limit": {
        "description": "How many requests a window allows.",
        "schema": {"type": "integer", "format": "int32"},
        "example": 600,
    },
    "RateLimit-Remaining": {
        "description": "How many of them are left.",
        "schema": {"type": "integer", "format": "int32"},
        "example": 599,
    },
    "RateLimit-Reset": {
        "description": "In how many seconds the next window starts.",
        "schema": {"type": "integer", "format": "int32"},
        "example": 42,
    },
}
_RATE_LIMITS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
_HEADERS_BY_STATUS: dict[str, tuple[str, ...]] = {
    "401": ("WWW-Authenticate",),
    "429": ("Retry-After", *_RATE_LIMITS),
    "503": ("Retry-After",),
}
# A repeat under an idempotency key answers with one of these.
_REPLAYED_STATUSES = ("200", "422")
_KEY_HEADER = "Idempotency-Key"
_ORDER = ("operationId", "summary", "description", "tags", "security", "parameters", "requestBody", "responses")
_NULL = {"type": "null"}


def headers(*names: str) -> Document:
    """Return a response's headers of these names, as references to `HEADERS`."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


LOCATION = headers("Location")
ATTACHMENT = headers("Content-Disposition")


def field_as_described(converter: Any, field: fields.Field[Any], *, ret: Document, **_: Any) -> Document:
    """Adjust the library's description of a field, `ret`. The library makes a method of its converter of this."""
    # Generators would leave a required password out of requests.
    ret.pop("writeOnly", None)
    if isinstance(field, fields.Integer):
        # Without a format, generated clients use 32 bits.
        ret.setdefault("format", "int64")
    elif isinstance(field, Metadata):
        ret.pop("maxLength", None)
        ret["maxProperties"] = field.MEMBERS_MAX
        ret["propertyNames"] = {"pattern": ONE_LINE_WITH_TEXT, "maxLength": field.KEY_LENGTH_MAX}
    elif isinstance(field, JsonWebSignature):
        parts = [converter.resolve_nested_schema(schema) for schema in field.parts]
        ret["contentMediaType"] = "application/jwt"
        ret["contentSchema"] = {"type": "array", "minItems": 2, "prefixItems": parts, "items": {}}
    else:
        _refer(converter, field, ret)
    return {}


def _refer(converter: Any, field: fields.Field[Any], ret: Document) -> None:
    """Describe a field whose values have a name by a reference to the schema of that name."""
    name, schema = _named(field)
    if name is None:
        return
    components = converter.spec.components
    if name not in components.schemas:
        components.schema(name, schema)
    for member in ("type", "enum"):
        ret.pop(member, None)
    reference = {"$ref": f"#/components/schemas/{name}"}
    ret.update({"anyOf": [reference, _NULL]} if field.allow_none else reference)


def _named(field: fields.Field[Any]) -> tuple[str | None, Document]:
    schema = {"type": "string", "description": _said_by(field)}
    if isinstance(field, Choice):
        return field.schema_name, {**schema, "enum": field.choices}
    if isinstance(field, Currency):
        return "Currency", {**schema, "enum": currencies()}
    if isinstance(field, CurrencyCode):
        return "CurrencyCode", {**schema, "pattern": "^[A-Z]{3}$", "examples": ["INR"]}
    return None, schema


def answer_of(schema: Any) -> Document:
    """Return a schema's description of an answer: what it is, and an example."""
    if not isinstance(schema, Schema):
        return {}
    example = getattr(schema, "example", None)
    return {"description": _said_by(schema), **({"example": example} if example is not None else {})}


def _said_by(described: object) -> str:
    return " ".join((type(described).__doc__ or "").split())


def examples_of(problems: Iterable[type[DomainError]]) -> Document:
    """Return the examples of a response that has one of these problems, as references."""
    return {problem.code: {"$ref": f"#/components/examples/{problem.code}"} for problem in problems}


def finish(document: Document, names: Mapping[tuple[str, str], str], schemas: Mapping[str, type[Schema]]) -> Document:
    """Return the finished document.

    `names` maps each (path, method) to the name of its view, and `schemas` each schema's name in the document to its
    class.
    """
    components = document["components"]
    paths = {
        _camel_path(path): _path_item(path, item, names, components["schemas"])
        for path, item in document["paths"].items()
    }
    used = sorted(set(re.findall(r"#/components/examples/(\w+)", str(paths))))
    described = {
        **components,
        "schemas": _schemas(components["schemas"], paths, schemas),
        "headers": HEADERS,
        "examples": {code: _example(PROBLEMS[code]) for code in used},
    }
    order = ("openapi", "info", "servers", "tags")
    return {**{name: document[name] for name in order}, "paths": paths, "components": described}


def _camel_path(path: str) -> str:
    return re.sub(r"{(\w+)}", lambda name: f"{{{camel_case(name[1])}}}", path)


def _path_item(
    path: str, item: Document, names: Mapping[tuple[str, str], str], schemas: Mapping[str, Document]
) -> Document:
    finished: Document = {}
    if item.get("parameters"):
        finished["parameters"] = [_path_parameter(parameter) for parameter in item["parameters"]]
    for method, operation in item.items():
        if method != "parameters":
            finished[method] = _operation(operation, names[path, method])
            _show_own_faults(finished[method], schemas)
    return finished


def _show_own_faults(operation: Document, schemas: Mapping[str, Document]) -> None:
    """Let the example of a failed validation name a field that this call has."""
    examples = operation["responses"]["422"]["content"]["application/problem+json"]["examples"]
    query = [parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"]
    body = _body_schema(operation)
    required = schemas[body].get("required", ()) if body else ()
    if required:
        errors = {required[0]: "Missing data for required field."}
    elif "limit" in query:
        errors = {"limit": "A page has 1 to 200 items."}
    elif "from" in query or "at" in query:
        time = "from" if "from" in query else "at"
        errors = {time: "Not a time: write it like 2026-11-22T16:00:00.123Z."}
    else:
        errors = {"colour": "Unknown field."}
    ((name, text),) = errors.items()
    shown = {**problem_example(ValidationFailed), "detail": f"Invalid: {name}.", "errors": {name: [text]}}
    examples[ValidationFailed.code] = {"summary": ValidationFailed.title, "value": shown}


def _body_schema(operation: Document) -> str | None:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    reference = content.get("schema", {}).get("$ref")
    return reference.rpartition("/")[2] if reference else None


def _path_parameter(parameter: Document) -> Document:
    name = camel_case(parameter["name"])
    what = name.removesuffix("Id")
    number = "; or its number: FC and 14 digits, blanks and small letters are forgiven" if what == "account" else ""
    return {
        "in": "path",
        "name": name,
        "required": True,
        "description": f"The id of the {what}: 24 hexadecimal digits{number}.",
        "schema": {"type": "string", "minLength": 1},
        "example": "6560a1b2c3d4e5f601234890" if what in ("transaction", "hold") else "6560a1b2c3d4e5f601234567",
    }


def _operation(operation: Document, view: str) -> Document:
    parameters = [_parameter(parameter) for parameter in operation.get("parameters", ())]
    parameters = [parameter for parameter in parameters if not parameter["schema"].pop("x-undescribed", False)]
    is_keyed = any(parameter["name"] == _KEY_HEADER for parameter in parameters)
    body = operation.get("requestBody")
    if "201" in operation["responses"] and any(parameter["name"] == "dryRun" for parameter in parameters):
        operation["responses"]["200"]["description"] += " Or what a dry run found: nothing was written."
    finished = {
        **operation,
        "operationId": camel_case(view),
        "security": operation.get("security", []),
        # Successes first, because generated clients list the types in `Accept` in this order.
        "responses": {
            status: _response(status, response, is_keyed=is_keyed)
            for status, response in sorted(operation["responses"].items())
        },
    }
    finished.pop("parameters", None)
    if parameters:
        finished["parameters"] = parameters
    if body is not None and not body["required"]:
        content = body["content"]["application/json"]
        finished["requestBody"] = {
            **body,
            "content": {"application/json": {**content, "schema": {"anyOf": [content["schema"], _NULL]}}},
        }
    return {name: finished[name] for name in _ORDER if name in finished}


def _parameter(parameter: Document) -> Document:
    """Return a parameter without null, because a query or a header has no way to say it."""
    schema = dict(parameter["schema"])
    if isinstance(schema.get("type"), list):
        (schema["type"],) = [name for name in schema["type"] if name != "null"]
    if "enum" in schema:
        schema["enum"] = [value for value in schema["enum"] if value is not None]
    if "anyOf" in schema:
        (alone,) = [choice for choice in schema.pop("anyOf") if choice != _NULL]
        schema.update(alone)
    return {**parameter, "schema": schema}


def _response(status: str, response: Document, *, is_keyed: bool) -> Document:
    by_status = _HEADERS_BY_STATUS.get(status, ())
    replayed = ("Idempotency-Replayed",) if is_keyed and status in _REPLAYED_STATUSES else ()
    own = response.get("headers", {})
    description = response.get("description") or HTTPStatus(int(status)).phrase
    content = {"content": response["content"]} if "content" in response else {}
    return {"description": description, "headers": {**headers("X-Request-ID", *by_status, *replayed), **own}, **content}


def _schemas(
    described: Mapping[str, Document], paths: Document, classes: Mapping[str, type[Schema]]
) -> dict[str, Document]:
    of_requests = _reachable(
        [operation["requestBody"] for item in paths.values() for operation in _operations(item)], described
    )
    finished = {}
    for name, schema in sorted(described.items()):
        own = dict(schema)
        if name not in of_requests:
            # Answers may grow. A client that refuses what it does not know would break.
            own.pop("additionalProperties", None)
        if name in classes and classes[name].__doc__:
            own = {"description": " ".join(str(classes[name].__doc__).split()), **own}
        finished[name] = own
    return finished


def _operations(item: Document) -> list[Document]:
    return [operation for method, operation in item.items() if method != "parameters" and "requestBody" in operation]


def _reachable(part: Any, schemas: Mapping[str, Document]) -> set[str]:
    """Return the names of the schemas that a part of the document refers to, also through other schemas."""
    found: set[str] = set()
    waiting = [part]
    while waiting:
        for name in re.findall(r"'#/components/schemas/(\w+)'", str(waiting.pop())):
            if name not in found:
                found.add(name)
                waiting.append(schemas[name])
    return found


def _example(problem: type[DomainError]) -> Document:
    return {"summary": problem.title, "value": problem_example(problem)}
