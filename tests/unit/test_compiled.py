"""Compiled schemas do the same as marshmallow: equal results and equal refusals, for every schema."""

from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from bson import Int64, ObjectId
from bson.tz_util import utc
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import Schema, ValidationError, fields, missing

import app.accounts.schemas
import app.admin.schemas
import app.auth.schemas
import app.http.blueprint
import app.http.contract
import app.http.problems
import app.statements.schemas
import app.transactions.schemas
from app.fields import CamelSchema, Id, Total, UtcDateTime
from app.http.compiled import dumper_of, loader_of
from app.money import AMOUNT_MAX
from app.statements.schemas import Available, Hash
from app.transactions.schemas import DESCRIPTION_LENGTH_MAX, ChosenKey

FEW = settings(max_examples=20)
AT = datetime(2026, 11, 22, 16, 0, 0, 123_000, tzinfo=UTC)


class Kind(StrEnum):
    ONE = "ONE"


def all_schemas(parent: type[Schema] = CamelSchema) -> list[type[Schema]]:
    found = [parent] if parent.__module__.startswith("app.") else []
    return found + [each for child in parent.__subclasses__() for each in all_schemas(child)]


SCHEMAS = sorted(set(all_schemas()), key=lambda schema: (schema.__module__, schema.__qualname__))


# What a route may give to a field, by the first of these types that the field has.
VALUES: list[tuple[type[fields.Field[Any]], st.SearchStrategy[Any]]] = [
    (Id, st.binary(min_size=12, max_size=12).map(ObjectId)),
    (
        UtcDateTime,
        st.sampled_from([AT, AT.astimezone(timezone(timedelta(hours=5, minutes=30))), AT.replace(tzinfo=utc)]),
    ),
    (Hash, st.binary(max_size=4)),
    (Total, st.integers(-(2**70), 2**70)),
    (fields.Integer, st.integers(0, 9) | st.integers(-(2**63), 2**63 - 1).map(Int64)),
    (fields.Boolean, st.booleans()),
    (fields.Dict, st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2)),
    (ChosenKey, st.text(min_size=1, max_size=5)),
    (fields.Field, st.text(max_size=5) | st.just(Kind.ONE)),
]


def value_of(field: fields.Field[Any]) -> st.SearchStrategy[Any]:
    if isinstance(field, fields.Nested):
        return object_of(field.schema)
    if isinstance(field, fields.List):
        return st.lists(value_of(field.inner), max_size=3)
    return next(values for kind, values in VALUES if isinstance(field, kind))


def object_of(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects that a route may give to the schema: members may be None or missing, but for those in `needed`."""
    members = {field.attribute or name: value_of(field) | st.none() for name, field in schema.dump_fields.items()}
    needed: dict[str, st.SearchStrategy[Any]] = {}
    if has_available(schema):
        needed = {"balance": st.integers(0, 9), "held": st.integers(0, 9)}
    if any(name.startswith("account.") for name in members):
        needed["account"] = st.just({"_id": ObjectId(), "name": None, "currency": "INR"})
    optional = {name: value for name, value in members.items() if name not in needed and "." not in name}
    return st.fixed_dictionaries(needed, optional=optional)


def has_available(schema: Schema) -> bool:
    return any(isinstance(field, Available) for field in schema.dump_fields.values())


def test_there_are_schemas_to_compare() -> None:
    assert len(SCHEMAS) > 30


@pytest.mark.parametrize("schema_type", SCHEMAS, ids=lambda schema: schema.__name__)
def test_a_compiled_dump_is_the_schemas(schema_type: type[Schema]) -> None:
    schema = schema_type()
    dump = dumper_of(schema)

    @FEW
    @given(object_of(schema))
    def compare(found: dict[str, Any]) -> None:
        assert orjson.dumps(dump(found)) == orjson.dumps(schema.dump(found))
        if not has_available(schema):
            attributes = SimpleNamespace(**found)
            assert orjson.dumps(dump(attributes)) == orjson.dumps(schema.dump(attributes))

    compare()


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
SANE = st.sampled_from(
    [
        "6560a1b2c3d4e5f601234567",
        1,
        500,
        0,
        AMOUNT_MAX,
        AMOUNT_MAX + 1,
        "INR",
        "Asha",
        " ",
        "x" * DESCRIPTION_LENGTH_MAX,
        "x" * (DESCRIPTION_LENGTH_MAX + 1),
        "2026-11-22T16:00:00.123Z",
        True,
        "true",
        "50",
        "key-1",
        {},
        "USER",
    ]
)


def body_of(schema: Schema) -> st.SearchStrategy[Any]:
    """Return bodies: some right, many wrong."""
    members: dict[str, st.SearchStrategy[Any]] = {}
    for name, field in schema.load_fields.items():
        if isinstance(field, fields.List) and isinstance(field.inner, fields.Nested):
            sane: st.SearchStrategy[Any] = st.lists(body_of(field.inner.schema), max_size=2)
        else:
            sane = SANE
        members[field.data_key or name] = sane | ODD
    return st.fixed_dictionaries(members) | st.fixed_dictionaries({}, optional={**members, "unknown": st.just(1)})


def outcome(load: Any, body: Any) -> str:
    try:
        return repr(load(body))
    except ValidationError as error:
        return repr(error.messages)


@pytest.mark.parametrize("schema_type", SCHEMAS, ids=lambda schema: schema.__name__)
def test_a_compiled_load_takes_and_refuses_what_the_schema_does(schema_type: type[Schema]) -> None:
    schema = schema_type()
    load = loader_of(schema)

    @FEW
    @given(body_of(schema) | ODD)
    def compare(body: Any) -> None:
        assert outcome(load, body) == outcome(schema.load, body)

    compare()


TRANSFER = {"fromAccount": "6560a1b2c3d4e5f601234567", "toAccount": "6560a1b2c3d4e5f601234568", "amount": 500}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"description": None},
        {"description": "Rent"},
        {"metadata": {"invoice": "7"}},
        {"amount": 0},
        {"amount": None},
        {"fromAccount": missing},
        {"idempotencyKey": "key-1"},
        {"unknown": 1},
        {"unknown": None},
    ],
)
def test_a_transfer_is_loaded_alone_and_in_a_batch_as_the_schema_does(change: dict[str, Any]) -> None:
    item = {name: value for name, value in {**TRANSFER, **change}.items() if value is not missing}
    for schema, body in (
        (app.transactions.schemas.CreateTransferSchema(), item),
        (app.transactions.schemas.CreateBatchSchema(), {"idempotencyKey": "batch", "transfers": [TRANSFER, item]}),
        (app.transactions.schemas.CreateBatchSchema(), {"idempotencyKey": "batch", "transfers": [], "atomic": None}),
    ):
        assert outcome(loader_of(schema), body) == outcome(schema.load, body)
