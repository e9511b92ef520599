"""The requests and answers of the webhook routes."""

from typing import Any

from marshmallow import fields, validate

from app.events.schemas import EXAMPLE_EVENT
from app.fields import CamelSchema, Choice, Id, Line, UtcDateTime
from app.http.paging import CURSOR_LENGTH_MAX, EXAMPLE_CURSOR, PageSchema
from app.outbox.events import EventType
from app.webhooks.service import EVERYTHING, PING
from app.webhooks.statuses import DeliveryStatus, WebhookStatus
from app.webhooks.targets import URL_LENGTH_MAX

DESCRIPTION_LENGTH_MAX = 200
EXAMPLE_URL = "https://shop.example/fincore"
EXAMPLE_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="  # noqa: S105 -- an example

EXAMPLE_DELIVERY: dict[str, Any] = {
    "id": "6560a1b2c3d4e5f6012345d1",
    "eventId": EXAMPLE_EVENT["id"],
    "type": EXAMPLE_EVENT["type"],
    "status": "DELIVERED",
    "attempts": [{"at": "2026-11-22T16:00:01.040Z", "status": 204, "durationMs": 38, "error": None}],
    "nextAttemptAt": None,
    "createdAt": "2026-11-22T16:00:00.900Z",
}
EXAMPLE_WEBHOOK: dict[str, Any] = {
    "id": "6560a1b2c3d4e5f6012345c1",
    "url": EXAMPLE_URL,
    "types": ["money.received"],
    "description": "The shop",
    "status": "ACTIVE",
    "createdAt": "2026-11-22T15:00:00.000Z",
    "lastDelivery": {
        "deliveryId": EXAMPLE_DELIVERY["id"],
        "type": "money.received",
        "status": "DELIVERED",
        "at": "2026-11-22T16:00:01.040Z",
    },
    "disabledReason": None,
}


class WebhookStatusName(Choice):
    """The status of a webhook."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(WebhookStatus, named="WebhookStatus", **kwargs)


class DeliveryStatusName(Choice):
    """The status of a delivery."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(DeliveryStatus, named="DeliveryStatus", **kwargs)


class WantedTypeName(Choice):
    """A type of event that a webhook gets, or `*` for all."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__([EVERYTHING, *EventType], named="WantedEventType", **kwargs)


class DeliveredTypeName(Choice):
    """The type of a delivered event."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__([PING, *EventType], named="DeliveredEventType", **kwargs)


def _types(**kwargs: Any) -> fields.List[Any]:
    return fields.List(WantedTypeName(), validate=validate.Length(1, len(EventType) + 1), **kwargs)


def _url(**kwargs: Any) -> fields.String:
    said = "https and a public host. Redirects are not followed."
    return fields.String(validate=validate.Length(1, URL_LENGTH_MAX), metadata={"description": said}, **kwargs)


class CreateWebhookSchema(CamelSchema):
    """A webhook to make."""

    url = _url(required=True)
    types = _types(load_default=[EVERYTHING], metadata={"description": 'Left out: `["*"]`, all.'})
    description = Line(length_max=DESCRIPTION_LENGTH_MAX)


class ChangeWebhookSchema(CamelSchema):
    """Changes to a webhook; the rest stays."""

    url = _url()
    types = _types()
    description = Line(length_max=DESCRIPTION_LENGTH_MAX)
    status = WebhookStatusName()


class ReplaySchema(CamelSchema):
    """The place after which events are sent again."""

    example = {"after": EXAMPLE_CURSOR}

    after = fields.String(
        required=True,
        validate=validate.Length(1, CURSOR_LENGTH_MAX),
        metadata={"description": "`nextAfter` of an answer of `GET /api/events`."},
    )


class LastDeliverySchema(CamelSchema):
    """The newest attempt of a webhook."""

    delivery_id = Id(attribute="delivery", required=True)
    type = DeliveredTypeName(required=True)
    status = DeliveryStatusName(required=True)
    at = UtcDateTime(required=True)


class WebhookSchema(CamelSchema):
    """A webhook, without its secret."""

    id = Id(attribute="_id", required=True)
    url = fields.String(required=True)
    types = fields.List(WantedTypeName(), required=True)
    description = fields.String(required=True, allow_none=True)
    status = WebhookStatusName(required=True)
    created_at = UtcDateTime(required=True)
    last_delivery = fields.Nested(LastDeliverySchema, required=True, allow_none=True)
    disabled_reason = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "description": "`owner`: you did it. `gone`: the receiver answered 410. `failing`: no delivery succeeded "
            "for five days. `secret_lost`: the bank cannot sign with it any more; rotate it."
        },
    )


class WebhookAnswerSchema(CamelSchema):
    """A webhook."""

    example = {"webhook": EXAMPLE_WEBHOOK}

    webhook = fields.Nested(WebhookSchema, required=True)


class CreatedWebhookSchema(CamelSchema):
    """A new webhook, with its secret, which is never shown again."""

    example = {"webhook": {**EXAMPLE_WEBHOOK, "lastDelivery": None}, "secret": EXAMPLE_SECRET}

    webhook = fields.Nested(WebhookSchema, required=True)
    secret = fields.String(required=True)


class WebhookListSchema(CamelSchema):
    """All webhooks of a user, oldest first."""

    example = {"webhooks": [EXAMPLE_WEBHOOK]}

    webhooks = fields.List(fields.Nested(WebhookSchema), required=True)


class RenewedSecretSchema(CamelSchema):
    """A new secret, which is never shown again."""

    example = {"secret": EXAMPLE_SECRET}

    secret = fields.String(required=True)


class AttemptSchema(CamelSchema):
    """One attempt to deliver."""

    at = UtcDateTime(required=True)
    status = fields.Integer(
        required=True, allow_none=True, metadata={"description": "The receiver's status; null: no answer."}
    )
    duration_ms = fields.Integer(
        required=True, allow_none=True, metadata={"description": "How long the answer took; null: there was none."}
    )
    error = fields.String(required=True, allow_none=True)


class DeliverySchema(CamelSchema):
    """One event on its way to one webhook."""

    id = Id(attribute="_id", required=True)
    event_id = fields.String(attribute="event.id", required=True)
    type = DeliveredTypeName(attribute="event.type", required=True)
    status = DeliveryStatusName(required=True)
    attempts = fields.List(fields.Nested(AttemptSchema), required=True)
    next_attempt_at = UtcDateTime(required=True, allow_none=True)
    created_at = UtcDateTime(required=True)


class DeliveryAnswerSchema(CamelSchema):
    """A delivery."""

    example = {"delivery": EXAMPLE_DELIVERY}

    delivery = fields.Nested(DeliverySchema, required=True)


class DeliveryQuerySchema(PageSchema):
    """The query of a webhook's deliveries."""

    status = DeliveryStatusName()


class DeliveryPageSchema(CamelSchema):
    """A page of a webhook's deliveries, newest first."""

    example = {"deliveries": [EXAMPLE_DELIVERY], "nextCursor": EXAMPLE_CURSOR}

    deliveries = fields.List(fields.Nested(DeliverySchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


class ReplayedSchema(CamelSchema):
    """How many deliveries a replay made."""

    example = {"deliveries": 3}

    deliveries = fields.Integer(required=True)
