"""Finds what a new description would break for the clients of an older one.

Our clients ignore what they do not know: members, names in enumerations and codes may be added to answers. Nothing that
they send may be refused, and nothing that they read may be missing or of another type.
"""

import re
from collections.abc import Iterator
from typing import Any

Document = dict[str, Any]
METHODS = ("get", "post", "put", "patch", "delete")
# The limits of requests, and whether a larger value allows more.
_LIMITS = {
    "maximum": True,
    "maxLength": True,
    "maxItems": True,
    "maxProperties": True,
    "minimum": False,
    "minLength": False,
    "minItems": False,
}


def breaks(released: Document, now: Document) -> Iterator[str]:
    """Yield a sentence for each thing that would break clients of the released document."""
    served = {_anonymous(path): item for path, item in now["paths"].items()}
    for path, item in released["paths"].items():
        for method in METHODS:
            if method not in item:
                continue
            call = f"{method.upper()} {_anonymous(path)}"
            new_item = served.get(_anonymous(path), {})
            if method not in new_item:
                yield f"{call} is gone"
                continue
            yield from _of_parameters(call, (released, item, item[method]), (now, new_item, new_item[method]))
            yield from _of_body(call, (released, item[method]), (now, new_item[method]))
            yield from _of_answers(call, (released, item[method]), (now, new_item[method]))


def _anonymous(path: str) -> str:
    """Return a path without the names of its parameters, which are not sent."""
    return re.sub(r"{\w+}", "{}", path)


def _of_parameters(
    call: str, old: tuple[Document, Document, Document], new: tuple[Document, Document, Document]
) -> Iterator[str]:
    before, after = _parameters(*old[1:]), _parameters(*new[1:])
    for key, parameter in before.items():
        where = f"{call}: the {key[0]} parameter {key[1]}"
        if key not in after:
            yield f"{where} is gone"
        else:
            yield from _narrowed(where, (old[0], parameter["schema"]), (new[0], after[key]["schema"]))
    for key, parameter in after.items():
        was_required = before.get(key, {}).get("required", False)
        if parameter.get("required") and not was_required:
            yield f"{call}: the {key[0]} parameter {key[1]} is required"


def _parameters(item: Document, operation: Document) -> dict[tuple[str, str], Document]:
    listed = [*item.get("parameters", []), *operation.get("parameters", [])]
    # The path's own are in its template, in their order.
    return {(one["in"], one["name"]): one for one in listed if one["in"] != "path"}


def _of_body(call: str, old: tuple[Document, Document], new: tuple[Document, Document]) -> Iterator[str]:
    before, after = (one.get("requestBody") for _, one in (old, new))
    if before is None:
        if after is not None and after.get("required"):
            yield f"{call}: a body is required"
        return
    if after is None:
        yield f"{call}: takes no body"
        return
    if after.get("required") and not before.get("required"):
        yield f"{call}: a body is required"
    for media_type, content in before["content"].items():
        if media_type not in after["content"]:
            yield f"{call}: takes no {media_type}"
        else:
            pair = (old[0], content["schema"]), (new[0], after["content"][media_type]["schema"])
            yield from _narrowed(f"{call}: the body", *pair)


def _of_answers(call: str, old: tuple[Document, Document], new: tuple[Document, Document]) -> Iterator[str]:
    for status, response in old[1]["responses"].items():
        if not status.startswith("2"):
            continue
        answered = new[1]["responses"].get(status)
        if answered is None:
            yield f"{call}: no longer answers {status}"
            continue
        for media_type, content in response.get("content", {}).items():
            where = f"{call}: the {status}"
            if media_type not in answered.get("content", {}):
                yield f"{where} is no longer {media_type}"
            elif "json" in media_type:
                pair = (old[0], content["schema"]), (new[0], answered["content"][media_type]["schema"])
                yield from _widened(where, *pair)


def _narrowed(where: str, old: tuple[Document, Document], new: tuple[Document, Document]) -> Iterator[str]:
    """Yield what requests could contain before and no longer can."""
    before, after = _plain(*old), _plain(*new)
    if lost := before["types"] - after["types"] - ({"null"} if "parameter" in where else set()):
        yield f"{where} can no longer be {_listed(lost)}"
    if "enum" in after and (lost := set(before.get("enum", ["anything else"])) - {*after["enum"], None}):
        yield f"{where} can no longer be {_listed(lost)}"
    yield from _tightened(where, before, after)
    for name in sorted(set(after.get("required", ())) - set(before.get("required", ()))):
        yield f"{where}.{name} is required"
    members = after.get("properties", {})
    for name, schema in before.get("properties", {}).items():
        if name in members:
            yield from _narrowed(f"{where}.{name}", (old[0], schema), (new[0], members[name]))
        elif after.get("additionalProperties") is False:
            yield f"{where}.{name} is gone"
    if "items" in before and "items" in after:
        yield from _narrowed(f"{where}[]", (old[0], before["items"]), (new[0], after["items"]))


def _tightened(where: str, before: Document, after: Document) -> Iterator[str]:
    for limit, larger_is_wider in _LIMITS.items():
        if limit in after and (limit not in before or _is_tighter(after[limit], before[limit], larger_is_wider)):
            yield f"{where} has another {limit}"
    if "pattern" in after and after["pattern"] != before.get("pattern"):
        yield f"{where} has another pattern"


def _widened(where: str, old: tuple[Document, Document], new: tuple[Document, Document]) -> Iterator[str]:
    """Yield what clients could rely on in answers before and no longer can."""
    before, after = _plain(*old), _plain(*new)
    if before["types"] and (more := (after["types"] or {"anything"}) - before["types"]):
        yield f"{where} may be {_listed(more)}"
    members = after.get("properties", {})
    for name, schema in before.get("properties", {}).items():
        if name not in members:
            yield f"{where}.{name} is gone"
            continue
        if name in before.get("required", ()) and name not in after.get("required", ()):
            yield f"{where}.{name} may be missing"
        yield from _widened(f"{where}.{name}", (old[0], schema), (new[0], members[name]))
    if "items" in before and "items" in after:
        yield from _widened(f"{where}[]", (old[0], before["items"]), (new[0], after["items"]))


def _plain(document: Document, schema: Document) -> Document:
    """Return a schema without references, with its types as a set."""
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        choices = [_plain(document, choice) for choice in schema["anyOf"]]
        (alone,) = [choice for choice in choices if choice["types"] != {"null"}]
        return {**alone, "types": alone["types"] | {"null"}}
    types = schema.get("type", [])
    return {**schema, "types": {types} if isinstance(types, str) else set(types)}


def _is_tighter(new: int, old: int, larger_is_wider: bool) -> bool:
    return new < old if larger_is_wider else new > old


def _listed(values: set[Any]) -> str:
    return ", ".join(sorted(map(str, values)))
