"""The query and the answer of the events."""

from typing import Any

from marshmallow import fields, validate

from app.events.service import WAIT_MAX_S
from app.fields import CamelSchema, Choice, CurrencyCode, Id, Money, UtcDateTime
from app.http.paging import CURSOR_LENGTH_MAX, EXAMPLE_CURSOR, Count, Limit
from app.outbox.events import EventType

EXAMPLE_EVENT: dict[str, Any] = {
    "id": "9f2c61d0a7b34e58c1d0e2f3",
    "type": "money.received",
    "createdAt": "2026-11-22T16:00:00.123Z",
    "data": {
        "accountId": "6560a1b2c3d4e5f601234567",
        "transactionId": "6560a1b2c3d4e5f601234599",
        "amount": 500,
        "currency": "INR",
    },
}


class EventTypeName(Choice):
    """The type of an event."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(EventType, named="EventType", **kwargs)


class TypeList(fields.String):
    """Types of events, with commas."""

    default_error_messages = {"unknown": "Not a type of event: {type}."}

    def __init__(self, **kwargs: Any) -> None:
        named = "|".join(each.value.replace(".", r"\.") for each in EventType)
        super().__init__(metadata={"pattern": rf"^({named})(,({named}))*$", **kwargs.pop("metadata", {})}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        types = str(super()._deserialize(value, attr, data, **kwargs)).split(",")
        for each in types:
            if each not in set(EventType):
                raise self.make_error("unknown", type=each)
        return frozenset(types)


class EventQuerySchema(CamelSchema):
    """The query of the events."""

    after = fields.String(
        validate=validate.Length(max=CURSOR_LENGTH_MAX),
        metadata={"description": "`nextAfter` of an earlier answer. None: from the oldest event that is kept."},
    )
    types = TypeList(metadata={"description": "Only events of these types, with commas between them. None: all."})
    limit = Limit()
    wait = Count(0, WAIT_MAX_S, default=0, error="From {min} to {max} seconds.")


class EventDataSchema(CamelSchema):
    """What an event is about. Which members there are depends on its type."""

    account_id = Id(metadata={"description": "The user's own account."})
    transaction_id = Id()
    reversed_by = Id(metadata={"description": "The transaction that reversed it."})
    payee_id = Id()
    amount = Money()
    held_amount = Money(metadata={"description": "What a hold had set aside."})
    currency = CurrencyCode()
    failure_code = fields.String(metadata={"description": "Why a transfer was declined, or a hold expired."})


class BankEventSchema(CamelSchema):
    """Something that happened to a user's accounts, or to the user."""

    id = fields.String(required=True, metadata={"pattern": "^[0-9a-f]{24}$"})
    type = EventTypeName(required=True)
    created_at = UtcDateTime(required=True)
    data = fields.Nested(EventDataSchema, required=True)


class EventPageSchema(CamelSchema):
    """Events, oldest first."""

    example = {"events": [EXAMPLE_EVENT], "nextAfter": EXAMPLE_CURSOR}

    events = fields.List(fields.Nested(BankEventSchema), required=True)
    next_after = fields.String(
        required=True,
        metadata={
            "description": "For `after` of the next call, also if there were no events. Following it misses no event "
            "and repeats none."
        },
    )
