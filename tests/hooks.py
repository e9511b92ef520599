"""Webhooks as their owners see them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo.database import Database

from app import clock
from app.mongo import Document
from app.settings.policies import WebhookPolicy
from app.webhooks import service
from tests.people import Person
from tests.receiver import Received
from tests.server import JWT_SECRET

# An event as it is stored with a delivery.
EVENT: dict[str, Any] = {
    "id": "9f2c61d0a7b34e58c1d0e2f3",
    "type": "money.received",
    "created_at": datetime(2026, 11, 22, 16, tzinfo=UTC),
    "data": {"account_id": ObjectId("6560a1b2c3d4e5f601234567"), "amount": 500, "currency": "INR"},
}


def allow(*networks: str, bank_secrets: tuple[str, ...] = (JWT_SECRET,)) -> None:
    """Let webhooks of this process reach these networks."""
    service.configure(WebhookPolicy(allowed=networks), bank_secrets=bank_secrets)


def made(person: Person, url: str, **more: Any) -> tuple[str, str]:
    """Make a webhook, and return its id and its secret."""
    answer = person.post("/api/webhooks", {"url": url, **more})
    assert answer.status == 201, answer.content
    return answer.body["webhook"]["id"], answer.body["secret"]


def shown(person: Person, webhook: str) -> dict[str, Any]:
    found: dict[str, Any] = person.get(f"/api/webhooks/{webhook}").body["webhook"]
    return found


def deliveries(person: Person, webhook: str, query: str = "") -> list[dict[str, Any]]:
    answer = person.get(f"/api/webhooks/{webhook}/deliveries{query}")
    assert answer.status == 200, answer.content
    found: list[dict[str, Any]] = answer.body["deliveries"]
    return found


def types(received: list[Received]) -> list[str]:
    return [json.loads(each.body)["type"] for each in received]


def make_due(database: Database[Document]) -> None:
    """Let the time of every retry come, and end every rest."""
    database.webhook_deliveries.update_many(
        {"status": "PENDING"}, {"$set": {"next_attempt_at": clock.now() - timedelta(seconds=1)}}
    )
    due = {"$set": {"due_at": clock.now() - timedelta(seconds=1)}, "$unset": {"not_before": ""}}
    database.webhooks.update_many({"due_at": {"$exists": True}}, due)
