"""The collections `webhooks` and `webhook_deliveries`.

A webhook: {_id, user, url, types, description, status, created_at, secrets, place}, and as needed

- disabled_reason: why it is DISABLED
- secrets: [{sealed, until}], the newest first; those before it sign until a time
- place: [position, number, event], how far the user's events have become deliveries
- delivered: how many deliveries were ever made for it, which numbers them
- news, walked: up to which position there may be events, and up to which they were looked for
- due_at: when it has something to do. Whoever does it holds `lease` until `leased_until`
- failing_since: since when no delivery succeeded
- proven: the receiver took the last delivery
- last_delivery: {delivery, type, status, at}

A delivery: {_id, webhook, user, event, number, status, attempts, next_attempt_at, created_at, expires_at}.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from bson import Int64, ObjectId
from pymongo import ReturnDocument
from pymongo.client_session import ClientSession

from app.mongo import Document, database
from app.mongo.lists import Position, behind, search
from app.webhooks.statuses import DeliveryStatus, WebhookStatus

KEPT = timedelta(days=30)
_CURSOR = "webhooks"


def insert(webhook: Document, session: ClientSession) -> None:
    database().webhooks.insert_one(webhook, session=session)


def count_of(user: ObjectId, session: ClientSession, *, limit: int) -> int:
    return database().webhooks.count_documents({"user": user}, limit=limit, session=session)


def find_of(user: ObjectId) -> list[Document]:
    return list(database().webhooks.find({"user": user}).sort([("created_at", 1), ("_id", 1)]))


def find_all() -> Iterator[Document]:
    return iter(database().webhooks.find({}))


def find(webhook_id: ObjectId, user: ObjectId, session: ClientSession | None = None) -> Document | None:
    return database().webhooks.find_one({"_id": webhook_id, "user": user}, session=session)


def change(webhook_id: ObjectId, changes: Document, removed: Collection[str], session: ClientSession) -> Document:
    """Change a webhook and return it."""
    update: Document = {"$set": changes} if changes else {}
    if removed:
        update["$unset"] = dict.fromkeys(removed, "")
    changed = database().webhooks.find_one_and_update(
        {"_id": webhook_id}, update, return_document=ReturnDocument.AFTER, session=session
    )
    assert changed is not None
    return changed


def reseal(webhook_id: ObjectId, before: Sequence[Document], after: Sequence[Document]) -> None:
    """Replace a webhook's secrets, unless they have changed meanwhile."""
    database().webhooks.update_one({"_id": webhook_id, "secrets": before}, {"$set": {"secrets": after}})


def delete(webhook_id: ObjectId, user: ObjectId, session: ClientSession) -> bool:
    return database().webhooks.delete_one({"_id": webhook_id, "user": user}, session=session).deleted_count > 0


def insert_deliveries(webhook: ObjectId, deliveries: Sequence[Document], session: ClientSession) -> None:
    """Number the deliveries, insert them, and make the webhook due."""
    if not deliveries:
        return
    now = deliveries[0]["created_at"]
    changed = database().webhooks.find_one_and_update(
        {"_id": webhook},
        {"$inc": {"delivered": Int64(len(deliveries))}, "$min": {"due_at": now}},
        return_document=ReturnDocument.AFTER,
        session=session,
    )
    assert changed is not None
    first = changed["delivered"] - len(deliveries) + 1
    numbered = [{**each, "number": Int64(number)} for number, each in enumerate(deliveries, first)]
    database().webhook_deliveries.insert_many(numbered, session=session)


def find_deliveries(
    webhook: ObjectId, status: str | None, *, after: Position | None, limit: int
) -> tuple[list[Document], Position | None]:
    """Return up to `limit` deliveries of a webhook, newest first, and where to go on if the search stopped before."""
    among = {"$and": [{"webhook": webhook}, *behind("created_at", after)]}
    wanted = {} if status is None else {"status": status}
    return search(database().webhook_deliveries, among, wanted, time="created_at", limit=limit)


def find_delivery(delivery_id: ObjectId, webhook: ObjectId) -> Document | None:
    return database().webhook_deliveries.find_one({"_id": delivery_id, "webhook": webhook})


def fail_pending(webhook: ObjectId, session: ClientSession) -> None:
    """End all deliveries of a webhook that have not ended."""
    database().webhook_deliveries.update_many(
        {"webhook": webhook, "status": DeliveryStatus.PENDING.value},
        {"$set": {"status": DeliveryStatus.FAILED.value}, "$unset": {"next_attempt_at": ""}},
        session=session,
    )


# What the dispatcher does


def find_spread(session: ClientSession | None = None) -> int:
    """Return up to which position of the feed webhooks were made due."""
    found = database().feed.find_one({"_id": _CURSOR}, session=session)
    return found["position"] if found else 0


def is_any_active(session: ClientSession) -> bool:
    active = {"status": WebhookStatus.ACTIVE.value}
    return database().webhooks.find_one(active, projection=["_id"], session=session) is not None


def make_due(users: Collection[ObjectId], *, until: int, now: datetime, session: ClientSession) -> None:
    """Make the active webhooks of these users due, and note up to which position of the feed that was done."""
    database().webhooks.update_many(
        {"user": {"$in": list(users)}, "status": WebhookStatus.ACTIVE.value},
        {"$min": {"due_at": now}, "$max": {"news": Int64(until)}},
        session=session,
    )
    database().feed.update_one({"_id": _CURSOR}, {"$set": {"position": Int64(until)}}, upsert=True, session=session)


def claim(
    now: datetime,
    until: datetime,
    lease: ObjectId,
    *,
    hosts: Collection[str],
    users: Collection[ObjectId],
    is_proven: bool,
) -> Document | None:
    """Lease the webhook that is due for the longest time and return it. `hosts` and `users` are busy and have to wait.

    With `is_proven`, only one whose receiver took the last delivery.
    """
    query: dict[str, Any] = {
        "status": WebhookStatus.ACTIVE.value,
        "due_at": {"$lte": now},
        "host": {"$nin": list(hosts)},
        "user": {"$nin": list(users)},
        "$or": [{"leased_until": {"$exists": False}}, {"leased_until": {"$lte": now}}],
    }
    if is_proven:
        query["proven"] = True
    return database().webhooks.find_one_and_update(
        query,
        {"$set": {"lease": lease, "leased_until": until}},
        sort=[("due_at", 1)],
        return_document=ReturnDocument.AFTER,
    )


def find_leased(webhook: ObjectId, lease: ObjectId, session: ClientSession | None = None) -> Document | None:
    """Return the webhook if it is still active and leased so."""
    return database().webhooks.find_one(
        {"_id": webhook, "lease": lease, "status": WebhookStatus.ACTIVE.value}, session=session
    )


def find_due(webhook: ObjectId, now: datetime) -> Document | None:
    """Return the first delivery of the webhook that is due, in their order."""
    return database().webhook_deliveries.find_one(
        {"webhook": webhook, "status": DeliveryStatus.PENDING.value, "next_attempt_at": {"$lte": now}},
        sort=[("number", 1)],
    )


def note_attempt(delivery: ObjectId, attempt: Document, changes: Document, session: ClientSession) -> bool:
    """Add an attempt, and return whether the delivery was still pending."""
    ends = changes["status"] != DeliveryStatus.PENDING
    update: Document = {"$push": {"attempts": attempt}, "$set": changes}
    if ends:
        update["$unset"] = {"next_attempt_at": ""}
    noted = database().webhook_deliveries.update_one(
        {"_id": delivery, "status": DeliveryStatus.PENDING.value}, update, session=session
    )
    return noted.matched_count > 0


def release(webhook: ObjectId, lease: ObjectId, *, not_before: datetime | None, session: ClientSession) -> None:
    """End a lease. The webhook is due again when its next delivery is, and not before a time.

    If there may be events that nobody looked for yet, it is due at once.
    """
    pending = {"webhook": webhook, "status": DeliveryStatus.PENDING.value}
    following = database().webhook_deliveries.find_one(
        pending, projection=["next_attempt_at"], sort=[("next_attempt_at", 1)], session=session
    )
    update: Document = {"$unset": {"lease": "", "leased_until": ""}}
    found = database().webhooks.find_one({"_id": webhook, "lease": lease}, session=session)
    if found is None:
        return
    if found.get("news", 0) > found.get("walked", 0):
        due_at = found["due_at"]
    elif following is not None:
        due_at = following["next_attempt_at"]
    else:
        due_at = None
        update["$unset"]["due_at"] = ""
    if due_at is not None:
        update["$set"] = {"due_at": due_at if not_before is None else max(due_at, not_before)}
    database().webhooks.update_one({"_id": webhook, "lease": lease}, update, session=session)
