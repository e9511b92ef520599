"""One attempt to deliver: it is signed and sent, and what came of it is noted."""

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import orjson
from bson import ObjectId
from pymongo.client_session import ClientSession

from app import clock, mongo
from app.fields import camel_case, rfc3339
from app.mongo import Document
from app.webhooks import outgoing, repository, service, signing
from app.webhooks.outgoing import UNREACHABLE, Answer
from app.webhooks.statuses import DeliveryStatus, WebhookStatus

# When a delivery is tried again, after its first attempt, its second, and so on.
SCHEDULE_S = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
JITTER = 0.2
RETRY_AFTER_MAX_S = 86_400.0
FAILING_MAX = timedelta(days=5)
GONE = 410
FOR_GONE, FOR_FAILING, FOR_LOST_SECRET = "gone", "failing", "secret_lost"


def attempt(webhook: Document, delivery: Document) -> Answer | None:
    """Send a delivery once, and note what came of it. Return None if it could not be signed."""
    now = clock.now()
    try:
        secrets = service.secrets_of(webhook, now)
    except signing.SecretLost:
        mongo.atomically(lambda session: service.disable(webhook, FOR_LOST_SECRET, session))
        return None
    event = delivery["event"]
    body = body_of(event)
    headers = signing.headers_of(event["id"], int(now.timestamp()), body, secrets)
    answer = outgoing.post(webhook["url"], body, headers, allowed=service.allowed_networks())
    _note(webhook, delivery, answer, now)
    return answer


def body_of(event: Mapping[str, Any]) -> bytes:
    """Return the body that tells of an event. The same event always has the same body."""
    data = {camel_case(name): _in_json(value) for name, value in event["data"].items()}
    return orjson.dumps({"type": event["type"], "timestamp": rfc3339(event["created_at"]), "data": data})


def _in_json(value: Any) -> Any:
    return str(value) if isinstance(value, ObjectId) else value


def next_attempt_at(attempts: int, answer: Answer, now: datetime) -> datetime | None:
    """Return when a delivery is tried again after so many failed attempts; None: no more."""
    if attempts > len(SCHEDULE_S):
        return None
    wait_s = SCHEDULE_S[attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    asked_s = min(answer.retry_after_s or 0.0, RETRY_AFTER_MAX_S)
    return now + timedelta(seconds=max(wait_s, asked_s))


def _note(webhook: Document, delivery: Document, answer: Answer, begun: datetime) -> None:
    now = clock.now()
    error = None if answer.is_success else UNREACHABLE if answer.status is None else f"answered {answer.status}"
    made = {"at": begun, "status": answer.status, "duration_ms": answer.duration_ms, "error": error}
    made = {name: value for name, value in made.items() if value is not None}
    attempts = len(delivery["attempts"]) + 1
    changes: Document = {"status": DeliveryStatus.DELIVERED.value}
    if not answer.is_success:
        again_at = next_attempt_at(attempts, answer, now)
        changes = {"status": DeliveryStatus.FAILED.value}
        if again_at is not None:
            changes = {"status": DeliveryStatus.PENDING.value, "next_attempt_at": again_at}
    last = {"delivery": delivery["_id"], "type": delivery["event"]["type"], "status": changes["status"], "at": begun}

    def block(session: ClientSession) -> None:
        found = repository.find(webhook["_id"], webhook["user"], session)
        if found is None or not repository.note_attempt(delivery["_id"], made, changes, session):
            return
        if answer.is_success:
            repository.change(found["_id"], {"last_delivery": last, "proven": True}, ["failing_since"], session)
            return
        since = found.get("failing_since", begun)
        repository.change(found["_id"], {"last_delivery": last, "failing_since": since}, ["proven"], session)
        if found["status"] == WebhookStatus.ACTIVE:
            if answer.status == GONE:
                service.disable(found, FOR_GONE, session)
            elif now - since >= FAILING_MAX:
                service.disable(found, FOR_FAILING, session)

    mongo.atomically(block)
