"""Walks through the API's description, for the tests that check it."""

import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator

METHODS = ("get", "post", "put", "patch", "delete")
SCHEMAS = "#/components/schemas/"
JSON = "application/json"
PROBLEM = "application/problem+json"

Document = dict[str, Any]


def operations(document: Document) -> Iterator[tuple[str, Document]]:
    """Yield each operation with a name such as `POST /api/accounts/create`."""
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield f"{method.upper()} {path}", item[method]


def parameters(document: Document, name: str) -> list[Document]:
    """Return the parameters of an operation, with those of its path."""
    method, path = name.split()
    item = document["paths"][path]
    return [*item.get("parameters", []), *item[method.lower()].get("parameters", [])]


def as_described(rule: str) -> str:
    """Return Flask's `/accounts/<id:account_id>` as OpenAPI's `/accounts/{accountId}`."""

    def camel(name: re.Match[str]) -> str:
        head, *tail = name[1].split("_")
        return "{" + head + "".join(word.title() for word in tail) + "}"

    return re.sub(r"<(?:[^:>]+:)?([^>]+)>", camel, rule)


def parts(part: Any, where: str = "") -> Iterator[tuple[str, Document]]:
    """Yield every object in a part of the document, with its place. Examples are data, and are left out."""
    if isinstance(part, dict):
        yield where, part
        for name, value in part.items():
            is_example = name in ("example", "examples", "default", "enum") and not where.endswith("/properties")
            if not is_example:
                yield from parts(value, f"{where}/{name}")
    elif isinstance(part, list):
        for index, value in enumerate(part):
            yield from parts(value, f"{where}/{index}")


def references(part: Any) -> set[str]:
    """Return everything that a part of the document refers to, but for examples."""
    return {found["$ref"] for _, found in parts(part) if isinstance(found.get("$ref"), str)}


def reachable(document: Document, part: Any) -> set[str]:
    """Return the names of the schemas that a part refers to, also through other schemas."""
    found: set[str] = set()
    waiting = [part]
    while waiting:
        for reference in references(waiting.pop()):
            name = reference.removeprefix(SCHEMAS)
            if reference.startswith(SCHEMAS) and name not in found:
                found.add(name)
                waiting.append(document["components"]["schemas"][name])
    return found


def of_requests(document: Document) -> set[str]:
    """Return the names of the schemas of request bodies."""
    return reachable(document, [operation.get("requestBody", {}) for _, operation in operations(document)])


def resolved(document: Document, part: Document) -> Document:
    """Return what a part refers to, or the part itself."""
    while "$ref" in part:
        found: Any = document
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        part = found
    return part


def closed(document: Document) -> Document:
    """Return the components with every answer closed to members that are not described."""
    schemas = {
        name: {"additionalProperties": False, **schema} if "properties" in schema and name != "Problem" else schema
        for name, schema in document["components"]["schemas"].items()
    }
    return {**document["components"], "schemas": schemas}


def assert_conforms(document: Document, value: Any, schema: Document) -> None:
    """Insist that a value is what the schema says, and no more."""
    validator = Draft202012Validator({**schema, "components": closed(document)})
    errors = [error.message for error in validator.iter_errors(value)]
    assert not errors, (errors, value)
