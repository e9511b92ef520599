"""Have one's own programs told of events."""

from typing import Any

from bson import ObjectId
from flask import Response, url_for

from app.auth.tokens import TOKEN_PROBLEMS, current_user_id, token_required
from app.errors import DeliveryNotFound, WebhookNotFound, WebhookUrlRefused
from app.events.service import as_place
from app.http.blueprint import Blueprint
from app.http.described import LOCATION
from app.http.paging import PAGE_PROBLEMS, read_page, read_place
from app.http.parsing import BODY_PROBLEMS
from app.webhooks import repository, service
from app.webhooks.schemas import (
    EXAMPLE_URL,
    ChangeWebhookSchema,
    CreatedWebhookSchema,
    CreateWebhookSchema,
    DeliveryAnswerSchema,
    DeliveryPageSchema,
    DeliveryQuerySchema,
    RenewedSecretSchema,
    ReplayedSchema,
    ReplaySchema,
    WebhookAnswerSchema,
    WebhookListSchema,
)

bp = Blueprint("webhooks", __name__, url_prefix="/api/webhooks", description="Events, sent to programs")

_CREATE_EXAMPLE = {"url": EXAMPLE_URL, "types": ["money.received"], "description": "The shop"}


@bp.post("")
@token_required
@bp.arguments(CreateWebhookSchema(), example=_CREATE_EXAMPLE)
@bp.response(201, CreatedWebhookSchema(), headers=LOCATION)
@bp.refusals(*TOKEN_PROBLEMS, *BODY_PROBLEMS, WebhookUrlRefused)
def create_webhook(body: dict[str, Any]) -> Any:
    """Make a webhook.

    It gets events from now on. The answer has the secret that verifies its requests, which is never shown again. A user
    has at most 10 webhooks.
    """
    webhook, secret = service.create(current_user_id(), **{"description": None, **body})
    answer = {"webhook": _shown(webhook), "secret": secret}
    return answer, 201, {"Location": url_for("webhooks.get_webhook", webhook_id=webhook["_id"])}


@bp.get("")
@token_required
@bp.response(200, WebhookListSchema())
@bp.refusals(*TOKEN_PROBLEMS)
def list_webhooks() -> dict[str, Any]:
    """List the user's webhooks.

    They come oldest first.
    """
    return {"webhooks": [_shown(webhook) for webhook in repository.find_of(current_user_id())]}


@bp.get("/<id:webhook_id>")
@token_required
@bp.response(200, WebhookAnswerSchema())
@bp.refusals(*TOKEN_PROBLEMS, WebhookNotFound)
def get_webhook(webhook_id: ObjectId) -> dict[str, Any]:
    """Return a webhook.

    Its secret is not shown.
    """
    return {"webhook": _shown(service.get(webhook_id, user=current_user_id()))}


@bp.patch("/<id:webhook_id>")
@token_required
@bp.arguments(ChangeWebhookSchema(), example={"types": ["*"], "status": "ACTIVE"})
@bp.response(200, WebhookAnswerSchema())
@bp.refusals(*TOKEN_PROBLEMS, *BODY_PROBLEMS, WebhookNotFound, WebhookUrlRefused)
def change_webhook(body: dict[str, Any], webhook_id: ObjectId) -> dict[str, Any]:
    """Change a webhook.

    Disabling a webhook ends its deliveries. One that is made active again gets events from then on.
    """
    return {"webhook": _shown(service.change(webhook_id, user=current_user_id(), **body))}


@bp.delete("/<id:webhook_id>")
@token_required
@bp.response(204)
@bp.refusals(*TOKEN_PROBLEMS, WebhookNotFound)
def delete_webhook(webhook_id: ObjectId) -> Response:
    """Delete a webhook.

    Waiting deliveries are not sent any more.
    """
    service.delete(webhook_id, user=current_user_id())
    return Response(status=204)


@bp.post("/<id:webhook_id>/rotate-secret")
@token_required
@bp.response(200, RenewedSecretSchema())
@bp.refusals(*TOKEN_PROBLEMS, WebhookNotFound)
def rotate_webhook_secret(webhook_id: ObjectId) -> dict[str, str]:
    """Give a webhook a new secret.

    For 24 hours each delivery is signed with the new secret and with the one before it.
    """
    return {"secret": service.rotate_secret(webhook_id, user=current_user_id())}


@bp.post("/<id:webhook_id>/ping")
@token_required
@bp.response(202, DeliveryAnswerSchema())
@bp.refusals(*TOKEN_PROBLEMS, WebhookNotFound)
def ping_webhook(webhook_id: ObjectId) -> dict[str, Any]:
    """Send a ping to a webhook.

    It is an event of type `webhook.ping`, whatever types the webhook gets.
    """
    return {"delivery": _delivery(service.ping(webhook_id, user=current_user_id()))}


@bp.get("/<id:webhook_id>/deliveries")
@token_required
@bp.arguments(DeliveryQuerySchema(), location="query")
@bp.response(200, DeliveryPageSchema())
@bp.refusals(*TOKEN_PROBLEMS, *PAGE_PROBLEMS, WebhookNotFound)
def list_deliveries(query: dict[str, Any], webhook_id: ObjectId) -> dict[str, Any]:
    """List the deliveries of a webhook.

    They come newest first, each with all of its attempts, and are kept for 30 days.
    """
    page, filters = read_page("deliveries", query, webhook=webhook_id)
    found, stop = service.find_deliveries(
        webhook_id, user=current_user_id(), status=filters.get("status"), after=page.after, limit=page.fetch
    )
    return page.answer(
        "deliveries",
        map(_delivery, found),
        position=lambda delivery: (delivery["created_at"], delivery["_id"]),
        stop=stop,
    )


@bp.post("/<id:webhook_id>/deliveries/<id:delivery_id>/resend")
@token_required
@bp.response(202, DeliveryAnswerSchema())
@bp.refusals(*TOKEN_PROBLEMS, WebhookNotFound, DeliveryNotFound)
def resend_delivery(webhook_id: ObjectId, delivery_id: ObjectId) -> dict[str, Any]:
    """Send the event of a delivery again.

    It is a new delivery with the same `webhook-id`.
    """
    return {"delivery": _delivery(service.resend(webhook_id, delivery_id, user=current_user_id()))}


@bp.post("/<id:webhook_id>/replay")
@token_required
@bp.arguments(ReplaySchema(), example=ReplaySchema.example)
@bp.response(202, ReplayedSchema())
@bp.refusals(*TOKEN_PROBLEMS, *BODY_PROBLEMS, *PAGE_PROBLEMS, WebhookNotFound)
def replay_events(body: dict[str, Any], webhook_id: ObjectId) -> dict[str, int]:
    """Send all events after a place again.

    They are at most 1,000, of the types that the webhook gets.
    """
    user = current_user_id()
    after = as_place(read_place(body["after"], "events", user=user))
    return {"deliveries": service.replay(webhook_id, after, user=user)}


def _shown(webhook: dict[str, Any]) -> dict[str, Any]:
    return {"last_delivery": None, "disabled_reason": None, **webhook}


def _delivery(delivery: dict[str, Any]) -> dict[str, Any]:
    without = {"status": None, "duration_ms": None, "error": None}
    attempts = [{**without, **each} for each in delivery["attempts"]]
    return {"next_attempt_at": None, **delivery, "attempts": attempts}
