"""Schemas as plain functions.

marshmallow interprets a schema again for each object. The functions here are made once, when the application starts.
They give the same results at a fraction of the cost; `tests/unit/test_compiled.py` compares both for every schema.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from marshmallow import Schema, ValidationError, fields, missing

from app.fields import Id, Plain, UtcDateTime, rfc3339

Dump = Callable[[Any], Any]
Load = Callable[[Any], Any]

# The only preprocessing of input that `loader_of` knows. A schema with any other is left to marshmallow.
_KNOWN_PREPARATION = {"drop_nulls"}
_LOAD_HOOKS = ("pre_load", "post_load", "validates", "validates_schema")
# The expressions by which these fields dump a `value` that is not None.
_SIMPLE: dict[Any, str] = {
    fields.Field._serialize: "value",
    fields.String._serialize: "value if type(value) is str else text(value)",
    Id._serialize: "str(value)",
    UtcDateTime._serialize: "rfc3339(value)",
}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


_NAMES: Mapping[str, Any] = {
    "Mapping": Mapping,
    "missing": missing,
    "partial": partial,
    "rfc3339": rfc3339,
    "text": _text,
}


def dumper_of(schema: Schema) -> Dump:
    """Return a function that dumps one object, a mapping or one with attributes, as `schema.dump` does.

    It is compiled from the code that one would write by hand for this schema, because a loop over the fields takes
    twice as long. For each field it has:

        value = read("created_at", missing)
        if value is not missing:
            shown["createdAt"] = None if value is None else rfc3339(value)
    """
    if schema._hooks["pre_dump"] or schema._hooks["post_dump"]:
        return schema.dump
    names = dict(_NAMES)
    lines = [
        "def dump(found):",
        "    is_mapping = type(found) is dict or isinstance(found, Mapping)",
        "    read = found.get if is_mapping else partial(getattr, found)",
        "    shown = {}",
    ]
    for number, (name, field) in enumerate(schema.dump_fields.items()):
        key = field.data_key if field.data_key is not None else name
        reading, known = _reading(number, name, field)
        writing, used = _writing(number, field)
        names |= known | used
        lines += [
            f"    value = {reading}",
            "    if value is not missing:",
            # Every field dumps None as None.
            f"        shown[{key!r}] = None if value is None else {writing}",
        ]
    text = "\n".join([*lines, "    return shown"])
    # The code contains only the schema's own names.
    exec(text, names)  # noqa: S102  # nosec B102
    dump: Dump = names["dump"]
    return dump


def _reading(number: int, name: str, field: fields.Field[Any]) -> tuple[str, dict[str, Any]]:
    """Return an expression for a field's value in the object, and the names in it."""
    attribute, default = field.attribute or name, field.dump_default
    if type(field).get_value is not fields.Field.get_value or "." in attribute or callable(default):
        schema = field.parent
        return f"read_{number}(found)", {f"read_{number}": lambda found: _read(field, name, found, schema)}
    return f"read({attribute!r}, default_{number})", {f"default_{number}": default}


def _read(field: fields.Field[Any], name: str, found: Any, schema: Any) -> Any:
    value = field.get_value(found, name, accessor=schema.get_attribute)
    if value is not missing:
        return value
    default = field.dump_default
    return default() if callable(default) else default


def _writing(number: int, field: fields.Field[Any]) -> tuple[str, dict[str, Any]]:
    """Return an expression for how the field dumps a `value`, and the names in it."""
    simple = _simple(field)
    if simple is not None:
        return simple, {}
    return f"convert_{number}(value)", {f"convert_{number}": _converter(field)}


def _simple(field: fields.Field[Any]) -> str | None:
    if (
        type(field)._serialize is fields.Integer._serialize
        and isinstance(field, fields.Integer)
        and not field.as_string
    ):
        return "int(value)"
    return _SIMPLE.get(type(field)._serialize)


def _converter(field: fields.Field[Any]) -> Dump:
    if isinstance(field, fields.Nested):
        dump = dumper_of(field.schema)
        return (lambda many: [dump(one) for one in many]) if field.many or field.schema.many else dump
    if type(field) is fields.List:
        convert = _converter(field.inner)
        return lambda many: [None if one is None else convert(one) for one in many]
    return lambda value: field._serialize(value, None, None)


def loader_of(schema: Schema) -> Load:
    """Return a function that loads one JSON object as `schema.load` does; raises ValidationError as that does.

    Valid input takes a short cut. All other input goes to `schema.load`, which names everything that is wrong.
    """
    load = _short_way(schema)
    if load is None:
        return schema.load

    def load_or_explain(data: Any) -> Any:
        try:
            return load(data)
        except (ValidationError, _Doubt):
            return schema.load(data)

    return load_or_explain


class _Doubt(Exception):
    """The short cut cannot tell whether the input is valid."""


def _short_way(schema: Schema) -> Load | None:
    """Return a function that loads valid input and raises ValidationError or _Doubt for other input; or None."""
    hooks = {name for kind in _LOAD_HOOKS for name, *_ in schema._hooks[kind]}
    if hooks - _KNOWN_PREPARATION or schema.unknown != "raise" or schema.partial or schema.many:
        return None
    drops_nulls = bool(hooks)
    plan = [_loaded(name, field) for name, field in schema.load_fields.items()]
    known = {key for key, *_ in plan}

    def load(data: Any) -> dict[str, Any]:
        if type(data) is not dict or not known.issuperset(data):
            raise _Doubt
        result = {}
        for key, name, read, is_required, default in plan:
            value = data.get(key, missing)
            if not is_required and (value is missing or (value is None and drops_nulls)):
                if default is not missing:
                    result[name] = default() if callable(default) else default
                continue
            result[name] = read(value)
        return result

    return load


def _loaded(name: str, field: fields.Field[Any]) -> tuple[str, str, Load, bool, Any]:
    """Return a field's name in JSON, the name that its value gets, how to read it, if it is required, its default."""
    key = field.data_key if field.data_key is not None else name
    return key, field.attribute or name, _reader(field), field.required, field.load_default


def _reader(field: fields.Field[Any]) -> Load:
    """Return `field.deserialize`, or a short cut that does the same for plain values or for lists of objects."""
    if isinstance(field, Plain):
        return _plain_reader(field)
    inner = field.inner if type(field) is fields.List else None
    nested = _short_way(inner.schema) if isinstance(inner, fields.Nested) and not inner.many else None
    if nested is None:
        return field.deserialize
    load_one = nested

    def load_many(value: Any) -> Any:
        if type(value) is not list:
            return field.deserialize(value)
        loaded = [load_one(one) for one in value]
        field._validate(loaded)
        return loaded

    return load_many


def _plain_reader(field: Plain[Any]) -> Load:
    read_plain, deserialize = field.read_plain, field.deserialize

    def read(value: Any) -> Any:
        loaded = read_plain(value)
        return deserialize(value) if loaded is None else loaded

    return read
