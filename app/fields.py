"""The marshmallow fields and the base schema of every request and response.

Ids, amounts, times and texts are checked and converted only here.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, ClassVar, Self, TypeVar

import bson.tz_util
import orjson
from bson import DatetimeMS, ObjectId
from marshmallow import RAISE, Schema, ValidationError, fields, pre_load, validate

from app import account_numbers
from app.account_numbers import AccountNumber, WrongCheckDigits
from app.money import AMOUNT_MAX, is_currency

Value = TypeVar("Value")

IDEMPOTENCY_KEY_LENGTH_MAX = 255
_TIMES_KEPT_MAX = 4_096
_ORJSON_INTEGER_MAX = 2**63
_ID = re.compile(r"[0-9a-f]{24}", re.IGNORECASE)
# Control characters, and Unicode's other line and paragraph separators.
_BREAKING = frozenset({"Cc", "Zl", "Zp"})
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
# These show text in another order than it is stored in, so one name or description can look like another.
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Controls, formats, separators, and marks that only change the character before them.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zs", "Zl", "Zp", "Mn", "Me"})
# Letters and symbols, by their category, that show nothing or a blank: Hangul fillers, the empty Braille cell,
# the null notehead and the Khitan filler.
_FILLERS = frozenset("\u115f\u1160\u3164\uffa0\u2800\ufffc\U0001d159\U00016fe4")
# The text that `Line` accepts, as a JSON Schema pattern. `Line` also refuses text without a visible character; the
# invisible ones are too many for a pattern.
_CONTROL = r"\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_ONE_LINE = f"^[^{_CONTROL}]*$"
ONE_LINE_WITH_TEXT = rf"^[^{_CONTROL}]*[^\s{_CONTROL}][^{_CONTROL}]*$"


# Times from the database are in the driver's own UTC.
_UTC_ALREADY = (UTC, bson.tz_util.utc)

# Stands for a malformed id in a path. It is never assigned, so a route answers that nothing was found.
_MALFORMED = "0" * 24
MALFORMED_ID = ObjectId(_MALFORMED)


def camel_case(name: str) -> str:
    """Return `snake_case` as `snakeCase`."""
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)


class CamelSchema(Schema):
    """The base schema: names are camelCase in JSON, unknown names are refused, and null in an optional field counts as
    left out."""

    class Meta:
        unknown = RAISE

    # Whether the body may be left out, and its own size limit. None stands for the limit of all bodies.
    may_be_absent: ClassVar[bool] = False
    body_bytes_max: ClassVar[int | None] = None
    # Whether numbers with a point or an exponent are read as Decimal, so that no digit is lost.
    exact_numbers: ClassVar[bool] = False
    # The example in the API's description.
    example: ClassVar[Any] = None

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        if field_obj.data_key is None:
            field_obj.data_key = camel_case(field_name)
        if not field_obj.required and not field_obj.dump_only:
            field_obj.allow_none = True

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # A schema never changes once made, so it need not be copied. The library copies the schemas of a route for
        # each of the route's decorators. That was a third of the time that the application took to start.
        return self

    @pre_load
    def drop_nulls(self, data: Any, **_: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        optional = {field.data_key for field in self.load_fields.values() if not field.required}
        return {name: value for name, value in data.items() if value is not None or name not in optional}


class Id(fields.Field[ObjectId]):
    """24 hexadecimal digits in JSON, an ObjectId inside."""

    default_error_messages = {"invalid": "Not an id: ids are 24 hexadecimal digits."}

    def __init__(self, **kwargs: Any) -> None:
        metadata = {"type": "string", "pattern": "^[0-9a-fA-F]{24}$", **kwargs.pop("metadata", {})}
        super().__init__(metadata=metadata, **kwargs)

    def _serialize(self, value: ObjectId | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else str(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> ObjectId:
        if not isinstance(value, str) or not _ID.fullmatch(value):
            raise self.make_error("invalid")
        return ObjectId(value)


def read_id(text: str) -> ObjectId | None:
    """Return the id in `text`, or None if `text` is no id or is MALFORMED_ID, which is never assigned."""
    return ObjectId(text) if text != _MALFORMED and _ID.fullmatch(text) else None


class Plain(fields.Field[Value]):
    """A field whose usual values need not go through all of marshmallow's steps."""

    def read_plain(self, value: Any) -> Value | None:
        """Return what a usual, valid value is loaded as, or None if the value has to take the long way."""
        raise NotImplementedError


class AccountNumberField(fields.Field[AccountNumber]):
    """An account's number, with or without blanks, in capitals or not."""

    default_error_messages = {"invalid": "Not an account number: it has FC and 14 digits."}

    def __init__(self, **kwargs: Any) -> None:
        metadata = {"type": "string", "pattern": f"^{account_numbers.PATTERN}$", **kwargs.pop("metadata", {})}
        super().__init__(metadata=metadata, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> AccountNumber:
        number = _read_number(value) if isinstance(value, str) else None
        if number is None:
            raise self.make_error("invalid")
        return number


class AccountId(Id, Plain[Any]):
    """An account: its id or its number in JSON, an ObjectId or an AccountNumber inside."""

    default_error_messages = {
        "invalid": "Not an account: give its number, FC and 14 digits, or its id, 24 hexadecimal digits.",
    }

    def __init__(self, **kwargs: Any) -> None:
        pattern = f"^([0-9a-fA-F]{{24}}|{account_numbers.PATTERN})$"
        super().__init__(metadata={"pattern": pattern, **kwargs.pop("metadata", {})}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        account = ObjectId(value) if _ID.fullmatch(value) else _read_number(value)
        if account is None:
            raise self.make_error("invalid")
        return account

    def read_plain(self, value: Any) -> ObjectId | None:
        return ObjectId(value) if type(value) is str and _ID.fullmatch(value) else None


def _read_number(text: str) -> AccountNumber | None:
    try:
        return account_numbers.read_number(text)
    except WrongCheckDigits as error:
        raise ValidationError(str(error)) from None


def read_account(text: str) -> ObjectId | AccountNumber | None:
    """Return the id or number of an account in `text`, or None as `read_id` does; raises WrongCheckDigits."""
    return read_id(text) if _ID.fullmatch(text) else account_numbers.read_number(text)


class Amount(fields.Integer, Plain[int]):
    """Minor units: a JSON integer from 1, never a float, a string or a boolean."""

    default_error_messages = {
        "invalid": "Not an amount: give whole minor units as a JSON integer, such as 500 for ₹5.00.",
    }

    def __init__(self, **kwargs: Any) -> None:
        limits = validate.Range(1, AMOUNT_MAX, error="An amount is from {min} to {max} minor units.")
        super().__init__(strict=True, validate=limits, **kwargs)

    def read_plain(self, value: Any) -> int | None:
        return value if type(value) is int and 1 <= value <= AMOUNT_MAX else None


class StrictBoolean(fields.Boolean):
    """JSON's true or false. marshmallow's own field also accepts 1 and 1.0, because Python says they equal True."""

    default_error_messages = {"invalid": "Not true or false."}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class Money(fields.Integer):
    """Minor units in a response: an amount or a balance."""


class Total(fields.Integer):
    """A sum of minor units in a response, which may need more than 64 bits."""

    def __init__(self, **kwargs: Any) -> None:
        metadata = kwargs.pop("metadata", {})
        wide = "An exact integer, which in a very large bank needs more than 64 bits."
        said = f"{metadata['description']} {wide}" if "description" in metadata else wide
        super().__init__(metadata={**metadata, "description": said}, **kwargs)

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return None if value is None else exact_number(value)


def exact_number(value: int) -> Any:
    """Return an integer in a form that orjson can write, because it writes none beyond 64 bits by itself."""
    return value if abs(value) < _ORJSON_INTEGER_MAX else orjson.Fragment(str(value))


class Choice(fields.String):
    """One of a few names. In the API's description they are a schema of this name; without one they are in place."""

    def __init__(self, choices: Iterable[str], *, named: str | None = None, **kwargs: Any) -> None:
        self.choices = [str(choice) for choice in choices]
        self.schema_name = named
        super().__init__(validate=validate.OneOf(self.choices), **kwargs)


class Currency(fields.String):
    """The ISO 4217 code of a currency in which an account can be opened."""

    default_error_messages = {"unknown": "Not an ISO 4217 currency code, such as INR."}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        code = super()._deserialize(value, attr, data, **kwargs)
        if not is_currency(code):
            raise self.make_error("unknown")
        return code


class CurrencyCode(fields.String):
    """The ISO 4217 code of a currency in an answer. ISO may have dropped it since the account was opened."""


class UtcDateTime(fields.Field[datetime]):
    """A time: read as RFC 3339 with an offset, written in UTC with milliseconds and `Z`."""

    default_error_messages = {
        "invalid": "Not a time: write it like 2026-11-22T16:00:00.123Z.",
        "plus": "Not a time: it has a blank where the offset starts. In a URL, a plus sign is written %2B.",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metadata={"type": "string", "format": "date-time", **kwargs.pop("metadata", {})}, **kwargs)

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else rfc3339(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if not isinstance(value, str) or not _TIME.fullmatch(value):
            is_plus_lost = isinstance(value, str) and " " in value and _TIME.fullmatch(value.replace(" ", "+"))
            raise self.make_error("plus" if is_plus_lost else "invalid")
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise self.make_error("invalid") from error


def rfc3339(moment: datetime | DatetimeMS) -> str:
    """Return the moment in UTC with milliseconds, such as 2026-11-22T16:00:00.123Z."""
    if isinstance(moment, DatetimeMS):
        return _since_1970(int(moment))
    return _in_utc(moment)


@lru_cache(maxsize=_TIMES_KEPT_MAX)  # all transactions of a block have one time, and each is shown with it twice
def _in_utc(moment: datetime) -> str:
    in_utc = moment if moment.tzinfo in _UTC_ALREADY else moment.astimezone(UTC)
    # Without its zone, because the driver's zone is a Python class that is asked for the offset each time.
    return in_utc.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


@lru_cache(maxsize=_TIMES_KEPT_MAX)  # most transactions are completed when created, and clients read pages again
def _since_1970(milliseconds: int) -> str:
    """Return the time that is this long after the start of 1970, such as 2026-11-22T16:00:00.123Z."""
    second, rest = divmod(milliseconds, 1_000)
    return f"{datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat()}.{rest:03}Z"


class Line(fields.String, Plain[str]):
    """One line of text for people. It has no control characters and no characters that change the direction of text,
    and if `length_min` is above 0, it has a visible character."""

    default_error_messages = {
        "control": "Control characters, such as line breaks, are not allowed here.",
        "reordering": "Characters that change the direction of text, such as U+202E, are not allowed here.",
        "blank": "May not be blank: it needs a visible character.",
    }

    def __init__(self, *, length_min: int = 0, length_max: int, **kwargs: Any) -> None:
        self._blank_allowed = length_min == 0
        pattern = _ONE_LINE if self._blank_allowed else ONE_LINE_WITH_TEXT
        self._lengths = range(length_min, length_max + 1)
        super().__init__(
            validate=validate.Length(length_min, length_max),
            metadata={"pattern": pattern, **kwargs.pop("metadata", {})},
            **kwargs,
        )

    def read_plain(self, value: Any) -> str | None:
        return value if type(value) is str and len(value) in self._lengths and self._is_plain(value) else None

    def _is_plain(self, text: str) -> bool:
        """Tell whether the text is like most, and so passes all checks of its characters."""
        return text.isascii() and text.isprintable() and (self._blank_allowed or bool(text.strip()))

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if self._is_plain(text):
            return text
        if any(unicodedata.category(character) in _BREAKING for character in text):
            raise self.make_error("control")
        if not _REORDERING.isdisjoint(text):
            raise self.make_error("reordering")
        if not self._blank_allowed and not any(map(is_visible, text)):
            raise self.make_error("blank")
        return text


def is_visible(character: str) -> bool:
    """Tell whether a character is visible by itself. A character too new for Python's tables counts as visible."""
    return unicodedata.category(character) not in _INVISIBLE and character not in _FILLERS


class IdempotencyKey(fields.String):
    """A client's name for one request, so that a repeat is recognized: 1 to 255 printable characters."""

    default_error_messages = {"unprintable": "An idempotency key has printable characters only."}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(validate=validate.Length(1, IDEMPOTENCY_KEY_LENGTH_MAX), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        key = super()._deserialize(value, attr, data, **kwargs)
        if not key.isprintable():
            raise self.make_error("unprintable")
        return key


class Metadata(fields.Dict):
    """A flat object of at most 20 strings, for the client's own use."""

    MEMBERS_MAX = 20
    KEY_LENGTH_MAX = 40
    VALUE_LENGTH_MAX = 200

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            keys=Line(length_min=1, length_max=self.KEY_LENGTH_MAX),
            values=Line(length_max=self.VALUE_LENGTH_MAX),
            validate=validate.Length(max=self.MEMBERS_MAX),
            **kwargs,
        )


class JsonWebSignature(fields.String):
    """A signed text (RFC 7515), whose header and payload are JSON of these schemas."""

    def __init__(self, *, header: Schema, payload: Schema, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.parts = (header, payload)


def flat_messages(messages: Any, path: str = "") -> dict[str, list[str]]:
    """Return marshmallow's nested messages as {"transfers.3.amount": [message, …]}."""
    if not isinstance(messages, Mapping):
        return {path or "body": [str(message) for message in (messages if isinstance(messages, list) else [messages])]}
    flat: dict[str, list[str]] = {}
    for name, nested in messages.items():
        inner = path if name == "_schema" else f"{path}.{name}" if path else str(name)
        for field, texts in flat_messages(nested, inner).items():
            flat.setdefault(field, []).extend(texts)
    return flat
