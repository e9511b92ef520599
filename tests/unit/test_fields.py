"""Fields: how ids, amounts, times and texts are read and written."""

import copy
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from bson import DatetimeMS, ObjectId
from marshmallow import ValidationError, fields

from app.fields import (
    Amount,
    CamelSchema,
    Currency,
    Id,
    IdempotencyKey,
    Line,
    Metadata,
    Money,
    UtcDateTime,
    camel_case,
    flat_messages,
    read_id,
    rfc3339,
)
from app.money import AMOUNT_MAX

ID = "6560a1b2c3d4e5f601234567"


class InvoiceSchema(CamelSchema):
    due_date = UtcDateTime(required=True)
    payer_name = fields.String()
    lines_by_id = fields.List(fields.Nested(lambda: InvoiceLineSchema()))


class InvoiceLineSchema(CamelSchema):
    unit_price = Amount(required=True)


INVOICE = InvoiceSchema()


def test_a_description_that_is_copied_keeps_its_schemas() -> None:
    """The library copies a route's description for each decorator. Copies of schemas would take most of the start."""
    assert copy.deepcopy({"schema": INVOICE})["schema"] is INVOICE


@pytest.mark.parametrize(
    ("name", "camel"), [("id", "id"), ("from_account", "fromAccount"), ("previous_hash_of_x", "previousHashOfX")]
)
def test_names_are_camel_case_in_json(name: str, camel: str) -> None:
    assert camel_case(name) == camel


def test_a_schema_reads_and_writes_camel_case() -> None:
    data = {"dueDate": "2026-11-22T16:00:00Z", "payerName": "Asha", "linesById": [{"unitPrice": 5}]}

    loaded = INVOICE.load(data)

    assert loaded == {
        "due_date": datetime(2026, 11, 22, 16, tzinfo=UTC),
        "payer_name": "Asha",
        "lines_by_id": [{"unit_price": 5}],
    }
    assert INVOICE.dump(loaded) == {**data, "dueDate": "2026-11-22T16:00:00.000Z"}


def test_null_in_an_optional_field_is_the_same_as_leaving_it_out() -> None:
    left_out = INVOICE.load({"dueDate": "2026-11-22T16:00:00Z"})

    assert INVOICE.load({"dueDate": "2026-11-22T16:00:00Z", "payerName": None, "linesById": None}) == left_out


@pytest.mark.parametrize("data", [{}, {"dueDate": None}, {"due_date": "2026-11-22T16:00:00Z"}])
def test_a_required_field_is_neither_missing_nor_null_nor_in_snake_case(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        INVOICE.load(data)


def test_unknown_names_are_refused_at_every_depth() -> None:
    data = {"dueDate": "2026-11-22T16:00:00Z", "x": None, "linesById": [{"unitPrice": 5}, {"unitPrice": 5, "y": 1}]}

    with pytest.raises(ValidationError) as refused:
        INVOICE.load(data)

    assert flat_messages(refused.value.messages).keys() == {"x", "linesById.1.y"}


@pytest.mark.parametrize(
    ("messages", "flat"),
    [
        ({"amount": ["Wrong."]}, {"amount": ["Wrong."]}),
        ({"_schema": ["No object."]}, {"body": ["No object."]}),
        ({"transfers": {3: {"amount": ["A.", "B."]}}}, {"transfers.3.amount": ["A.", "B."]}),
        ({"metadata": {"_schema": ["A."], "k": {"value": ["B."]}}}, {"metadata": ["A."], "metadata.k.value": ["B."]}),
        ({"amount": "Wrong."}, {"amount": ["Wrong."]}),
        ({}, {}),
    ],
)
def test_messages_are_flat_with_a_path_to_the_field(messages: Any, flat: dict[str, list[str]]) -> None:
    assert flat_messages(messages) == flat


def test_an_id_is_24_hexadecimal_digits() -> None:
    assert Id().deserialize(ID) == Id().deserialize(ID.upper()) == ObjectId(ID)
    assert Id().serialize("id", {"id": ObjectId(ID)}) == ID
    assert Id().serialize("id", {"id": None}) is None


@pytest.mark.parametrize("value", ["", ID[:-1], ID + "0", ID + "\n", "g" * 24, "０" * 24, 5, b"x" * 12, ObjectId(ID)])
def test_anything_else_is_no_id(value: Any) -> None:
    with pytest.raises(ValidationError):
        Id().deserialize(value)


@pytest.mark.parametrize("text", ["", "create", ID[:-1], "%00", "0" * 24])
def test_a_path_without_an_id_names_nothing(text: str) -> None:
    assert read_id(text) is None


@pytest.mark.parametrize("amount", [1, 500, AMOUNT_MAX])
def test_an_amount_is_a_positive_integer_that_every_json_reader_holds(amount: int) -> None:
    loaded = Amount().deserialize(amount)

    assert (loaded, type(loaded)) == (amount, int)


@pytest.mark.parametrize(
    "value", [0, -1, AMOUNT_MAX + 1, 10**30, 5.0, 500.5, 1e3, "500", "", True, False, [5], {"$gt": 0}, float("nan")]
)
def test_anything_else_is_no_amount(value: Any) -> None:
    with pytest.raises(ValidationError):
        Amount().deserialize(value)


@pytest.mark.parametrize("balance", [0, -1, AMOUNT_MAX, -AMOUNT_MAX])
def test_money_goes_out_as_the_integer_it_is(balance: int) -> None:
    shown = Money().serialize("balance", {"balance": balance})

    assert (shown, type(shown)) == (balance, int)


@pytest.mark.parametrize("value", ["inr", "", "XAU", 5, None])
def test_a_currency_is_a_code_with_a_minor_unit(value: Any) -> None:
    assert Currency().deserialize("INR") == "INR"
    with pytest.raises(ValidationError):
        Currency().deserialize(value)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22T16:00:00Z", datetime(2026, 11, 22, 16, tzinfo=UTC)),
        ("2026-11-22t16:00:00z", datetime(2026, 11, 22, 16, tzinfo=UTC)),
        ("2026-11-22T16:00:00.123Z", datetime(2026, 11, 22, 16, 0, 0, 123_000, tzinfo=UTC)),
        ("2026-11-22T21:30:00+05:30", datetime(2026, 11, 22, 16, tzinfo=UTC)),
        ("2026-11-22T16:00:00.123456789Z", datetime(2026, 11, 22, 16, 0, 0, 123_456, tzinfo=UTC)),
        ("2028-02-29T00:00:00-00:00", datetime(2028, 2, 29, tzinfo=UTC)),
    ],
)
def test_a_time_is_rfc_3339_with_an_offset(text: str, moment: datetime) -> None:
    loaded = UtcDateTime().deserialize(text)

    assert (loaded, loaded.tzinfo) == (moment, UTC)


@pytest.mark.parametrize(
    "value",
    [
        "", "2026-11-22", "2026-11-22T16:00:00", "2026-11-22T16:00Z", "2026-11-22 16:00:00Z", "2026-W47-7T16:00:00Z",
        "2026-02-29T00:00:00Z", "2026-11-22T24:00:00Z", "2026-11-22T23:59:60Z", "2026-11-22T16:00:00+25:00",
        "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "２０２６-11-22T16:00:00Z", "now", 1795363200, None,
    ],
)  # fmt: skip
def test_anything_else_is_no_time(value: Any) -> None:
    with pytest.raises(ValidationError):
        UtcDateTime(required=True).deserialize(value)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 11, 22, 16, tzinfo=UTC), "2026-11-22T16:00:00.000Z"),
        (datetime(2026, 11, 22, 16, 0, 0, 123_999, tzinfo=UTC), "2026-11-22T16:00:00.123Z"),
        (datetime(2026, 11, 22, 21, 30, tzinfo=timezone(timedelta(hours=5.5))), "2026-11-22T16:00:00.000Z"),
        (DatetimeMS(1_795_363_200_007), "2026-11-22T16:00:00.007Z"),
        (DatetimeMS(-1), "1969-12-31T23:59:59.999Z"),
    ],
)
def test_a_time_goes_out_in_utc_with_milliseconds(moment: datetime | DatetimeMS, text: str) -> None:
    assert rfc3339(moment) == text
    assert UtcDateTime().serialize("at", {"at": moment}) == text


@pytest.mark.parametrize("text", ["x", "Łódź", "東京 🙂", "a\u00a0b", "x" * 10])
def test_a_line_is_kept_as_it_is(text: str) -> None:
    assert Line(length_min=1, length_max=10).deserialize(text) == text


@pytest.mark.parametrize("text", ["", " ", "\u3000", "x" * 11, "a\nb", "a\0b", "a\x7f", "a\x85", "a\u2028b", 5, True])
def test_a_line_that_is_asked_for_is_neither_blank_nor_long_nor_broken(text: Any) -> None:
    with pytest.raises(ValidationError):
        Line(length_min=1, length_max=10).deserialize(text)


def test_a_line_that_is_not_asked_for_may_be_blank() -> None:
    assert Line(length_max=10).deserialize("") == ""


@pytest.mark.parametrize("key", ["x", " ", "₹", "x" * 255])
def test_a_key_is_printable(key: str) -> None:
    assert IdempotencyKey().deserialize(key) == key


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb", "a\0b", "a\u200bb", 5, {"$ne": 1}])
def test_anything_else_is_no_key(key: Any) -> None:
    with pytest.raises(ValidationError):
        IdempotencyKey().deserialize(key)


@pytest.mark.parametrize("metadata", [{}, {"k" * 40: "v" * 200}, {str(n): "" for n in range(20)}, {"$ne": "1"}])
def test_metadata_is_kept_as_it_is(metadata: dict[str, str]) -> None:
    assert Metadata().deserialize(metadata) == metadata


@pytest.mark.parametrize(
    "metadata",
    [{"": "v"}, {"k" * 41: "v"}, {"k": "v" * 201}, {str(n): "" for n in range(21)}, {"k": None}, {"k": {}}, [], "k"],
)
def test_anything_else_is_no_metadata(metadata: Any) -> None:
    with pytest.raises(ValidationError):
        Metadata().deserialize(metadata)
