"""One attempt to deliver: signs and sends an event, and notes the result.

Nobody can use attempts to explore the bank's network. An attempt without an answer is noted only when its time limit is
over, as if it had lasted that long, however soon the connection was refused. Until then the webhook rests and keeps the
attempt as `unanswered`.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from bson import ObjectId
from pymongo.client_session import ClientSession

from app import clock
from app.fields import camel_case, rfc3339
from app.mongo import Document
from app.webhooks import outgoing, repository, service, signing
from app.webhooks.outgoing import UNREACHABLE, Answer
from app.webhooks.statuses import DeliveryStatus, WebhookStatus

# After how long a delivery is tried again: after its first attempt, its second, and so on.
SCHEDULE_S = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
JITTER = 0.2
RETRY_AFTER_MAX_S = 86_400.0
FAILING_MAX = timedelta(days=5)
# The duration that is noted for an attempt without an answer.
SILENCE = timedelta(seconds=outgoing.TIMEOUT_S)
# How long a webhook rests after its receiver gave no answer.
REST_BASE, REST_MAX = timedelta(seconds=5), timedelta(seconds=60)
# An answer within this time counts as quick. See `proven` in `repository`.
QUICK_MS = 2_000
GONE = 410
# With these a receiver says that it takes nothing just now, and Retry-After says until when.
BUSY = frozenset({429, 503})
FOR_GONE, FOR_FAILING, FOR_LOST_SECRET = "gone", "failing", "secret_lost"


@dataclass(frozen=True, slots=True)
class Rest:
    """Until when a webhook rests after an attempt, and that attempt, if it is still to be noted."""

    until: datetime
    unanswered: Document | None = None


def attempt(webhook: Document, delivery: Document) -> Rest | None:
    """Send a delivery once and note the result. Return how the webhook has to rest, or None."""
    begun = clock.now()
    try:
        secrets = service.secrets_of(webhook, begun)
    except signing.SecretLost:
        service.atomically(lambda session: service.disable(webhook, FOR_LOST_SECRET, session))
        return None
    event = delivery["event"]
    body = body_of(event)
    headers = signing.headers_of(event["id"], int(begun.timestamp()), body, secrets)
    answer = outgoing.post(webhook["url"], body, headers, allowed=service.allowed_networks())
    if answer.status is None:
        return Rest(begun + SILENCE, {"delivery": delivery["_id"], "at": begun})
    return _note(webhook, delivery, answer, begun=begun, ended=clock.now())


def note_unanswered(webhook: Document) -> Rest | None:
    """Note an attempt without an answer, whose time limit is over by now. Return how the webhook has to rest."""
    kept = webhook["unanswered"]
    delivery = repository.find_delivery(kept["delivery"], webhook["_id"])
    if delivery is None:
        # It has expired.
        return None
    return _note(webhook, delivery, Answer(None), begun=kept["at"], ended=kept["at"] + SILENCE)


def body_of(event: Mapping[str, Any]) -> bytes:
    """Return the body for an event. The same event always has the same body."""
    data = {camel_case(name): _in_json(value) for name, value in event["data"].items()}
    return orjson.dumps({"type": event["type"], "timestamp": rfc3339(event["created_at"]), "data": data})


def _in_json(value: Any) -> Any:
    return str(value) if isinstance(value, ObjectId) else value


def next_attempt_at(attempts: int, answer: Answer, ended: datetime) -> datetime | None:
    """Return when a delivery is tried again after this many failed attempts, or None for never."""
    if attempts > len(SCHEDULE_S):
        return None
    wait_s = SCHEDULE_S[attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    return ended + max(timedelta(seconds=wait_s), _asked_pause(answer))


def _asked_pause(answer: Answer) -> timedelta:
    return timedelta(seconds=min(answer.retry_after_s or 0.0, RETRY_AFTER_MAX_S))


def _rest(answer: Answer, *, since: datetime, ended: datetime) -> Rest | None:
    """Return how a webhook that has been failing since then has to rest, or None if its receiver is up."""
    if answer.status is None:
        return Rest(ended + min(max(REST_BASE, ended - since), REST_MAX))
    if answer.status in BUSY and _asked_pause(answer):
        return Rest(ended + _asked_pause(answer))
    return None


def _note(webhook: Document, delivery: Document, answer: Answer, *, begun: datetime, ended: datetime) -> Rest | None:
    error = None if answer.is_success else UNREACHABLE if answer.status is None else f"answered {answer.status}"
    made = {"at": begun, "status": answer.status, "duration_ms": answer.duration_ms, "error": error}
    made = {name: value for name, value in made.items() if value is not None}
    attempts = len(delivery["attempts"]) + 1
    changes: Document = {"status": DeliveryStatus.DELIVERED.value}
    if not answer.is_success:
        again_at = next_attempt_at(attempts, answer, ended)
        changes = {"status": DeliveryStatus.FAILED.value}
        if again_at is not None:
            changes = {"status": DeliveryStatus.PENDING.value, "next_attempt_at": again_at}
    last = {"delivery": delivery["_id"], "type": delivery["event"]["type"], "status": changes["status"], "at": begun}

    def block(session: ClientSession) -> None:
        found = repository.find(webhook["_id"], webhook["user"], session)
        if found is None or not repository.note_attempt(delivery["_id"], made, changes, session):
            return
        # The webhook may have another URL by now, about which this answer says nothing.
        if found["url"] == webhook["url"]:
            _judge(found, answer, last, begun=begun, ended=ended, session=session)

    service.atomically(block)
    return _rest(answer, since=webhook.get("failing_since", begun), ended=ended)


def _judge(
    webhook: Document, answer: Answer, last: Document, *, begun: datetime, ended: datetime, session: ClientSession
) -> None:
    """Note the webhook's state after an attempt, and disable it if it failed for too long or is gone."""
    is_quick = answer.is_success and (answer.duration_ms or 0) <= QUICK_MS
    changes: Document = {"last_delivery": last, **({"proven": True} if is_quick else {})}
    removed = [] if is_quick else ["proven"]
    if answer.is_success:
        repository.change(webhook["_id"], changes, [*removed, "failing_since"], session)
        return
    since = webhook.get("failing_since", begun)
    repository.change(webhook["_id"], {**changes, "failing_since": since}, removed, session)
    if webhook["status"] == WebhookStatus.ACTIVE:
        if answer.status == GONE:
            service.disable(webhook, FOR_GONE, session)
        elif ended - since >= FAILING_MAX:
            service.disable(webhook, FOR_FAILING, session)
