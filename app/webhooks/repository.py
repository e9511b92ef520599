"""The collections `webhooks` and `webhook_deliveries`.

A webhook: {_id, user, slot, url, host, types, description, status, created_at, secrets, place}, and as needed

- slot: from 0. Each webhook of a user has another one, so nobody gets more webhooks than there are slots
- disabled_reason: why it is DISABLED
- secrets: [{sealed, until}], the newest first; those before it sign until a time
- place: [position, number, event], up to which the user's events have become deliveries
- delivered: how many deliveries were ever made for it, which numbers them
- news, walked: the position up to which there may be events, and the one up to which they were looked for
- due_at: when it has something to do. `lease` names who does it
- not_before: nobody takes it before this time, because its lease lasts until then or its receiver has to rest
- unanswered: {delivery, at}, an attempt that will be noted at `not_before`
- failing_since: since when no delivery succeeded
- proven: whether the receiver took the last delivery quickly
- last_delivery: {delivery, type, status, at}

A delivery: {_id, webhook, user, event, number, status, attempts, next_attempt_at, created_at, expires_at}, and `asked`
if its owner asked for it.
"""

import hashlib
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
# At most this many deliveries wait for one webhook. Further events wait in the feed.
WAITING_MAX = 5_000
_CURSOR = "webhooks"
_DAY = timedelta(days=1)


def insert(webhook: Document, session: ClientSession) -> None:
    database().webhooks.insert_one(webhook, session=session)


def slots_of(user: ObjectId, session: ClientSession) -> set[int]:
    """Return the slots of the user's webhooks."""
    return {each["slot"] for each in database().webhooks.find({"user": user}, projection=["slot"], session=session)}


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
    """Number the deliveries, insert them, and make the webhook due if one of them is."""
    if not deliveries:
        return
    due_at = deliveries[0].get("next_attempt_at")
    due = {} if due_at is None else {"$min": {"due_at": due_at}}
    changed = database().webhooks.find_one_and_update(
        {"_id": webhook},
        {"$inc": {"delivered": Int64(len(deliveries))}, **due},
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
    """Return up to `limit` deliveries of a webhook, newest first, and where to go on if the search stopped early."""
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


def count_waiting(webhook: ObjectId, session: ClientSession) -> int:
    """Return how many deliveries wait for a webhook, up to WAITING_MAX."""
    waiting = {"webhook": webhook, "status": DeliveryStatus.PENDING.value}
    return database().webhook_deliveries.count_documents(waiting, limit=WAITING_MAX, session=session)


def count_asked(webhook: ObjectId, session: ClientSession, *, limit: int) -> int:
    """Return how many of a webhook's waiting deliveries its owner asked for, up to a limit."""
    waiting = {"webhook": webhook, "status": DeliveryStatus.PENDING.value, "asked": True}
    return database().webhook_deliveries.count_documents(waiting, limit=limit, session=session)


def count_today(what: str, user: ObjectId, number: int, *, now: datetime, session: ClientSession) -> int:
    """Add to the user's count of a kind of thing on this day, by UTC; return the new count."""
    # Like the limits of requests, this keeps users' ids out of the collection.
    key = hashlib.sha256(f"{what}/{user}".encode()).hexdigest()[:32]
    counted = database().rate_limits.find_one_and_update(
        {"_id": f"webhooks/{key}/{now.date()}"},
        {"$inc": {"count": number}, "$setOnInsert": {"expires_at": now + _DAY}},
        upsert=True,
        return_document=ReturnDocument.AFTER,
        session=session,
    )
    assert counted is not None
    count: int = counted["count"]
    return count


# For the dispatcher


def find_spread(session: ClientSession | None = None) -> int:
    """Return the position of the feed up to which webhooks were made due."""
    found = database().feed.find_one({"_id": _CURSOR}, session=session)
    return found["position"] if found else 0


def is_any_active(session: ClientSession | None = None) -> bool:
    """Tell whether anybody has an active webhook."""
    active = {"status": WebhookStatus.ACTIVE.value}
    return database().webhooks.find_one(active, projection=["_id"], session=session) is not None


def make_due(users: Collection[ObjectId], *, until: int, now: datetime, session: ClientSession) -> None:
    """Make the active webhooks of these users due, and note the position of the feed up to which that was done."""
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
    """Lease the webhook that has been due for the longest time and return it. Busy `hosts` and `users` are left out.

    With `is_proven`, take only one whose receiver took the last delivery quickly.
    """
    query: dict[str, Any] = {
        "status": WebhookStatus.ACTIVE.value,
        "due_at": {"$lte": now},
        # Most have none.
        "not_before": {"$not": {"$gt": now}},
        "host": {"$nin": list(hosts)},
        "user": {"$nin": list(users)},
    }
    if is_proven:
        query["proven"] = True
    return database().webhooks.find_one_and_update(
        query,
        {"$set": {"lease": lease, "not_before": until}},
        sort=[("due_at", 1)],
        return_document=ReturnDocument.AFTER,
    )


def find_leased(webhook: ObjectId, lease: ObjectId, session: ClientSession | None = None) -> Document | None:
    """Return the webhook if it is still active and has this lease."""
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
    """Add an attempt, and return whether the delivery was still pending.

    A delivery that was ended during the attempt becomes DELIVERED all the same if the receiver took it.
    """
    added: Document = {"$push": {"attempts": attempt}}
    ends = {} if changes["status"] == DeliveryStatus.PENDING else {"$unset": {"next_attempt_at": ""}}
    pending = {"_id": delivery, "status": DeliveryStatus.PENDING.value}
    noted = database().webhook_deliveries.update_one(pending, {**added, "$set": changes, **ends}, session=session)
    if noted.matched_count:
        return True
    if changes["status"] == DeliveryStatus.DELIVERED:
        added["$set"] = changes
    database().webhook_deliveries.update_one(
        {"_id": delivery, "status": DeliveryStatus.FAILED.value}, added, session=session
    )
    return False


def release(
    webhook: ObjectId,
    lease: ObjectId,
    *,
    now: datetime,
    not_before: datetime | None,
    unanswered: Document | None,
    session: ClientSession,
) -> None:
    """End a lease. The webhook is due again with its next delivery, but behind all others that are due by now.

    Nobody takes it before `not_before`, if given. If `unanswered` is given, it is to be noted then.
    """
    found = database().webhooks.find_one({"_id": webhook, "lease": lease}, session=session)
    if found is None:
        return
    due_at = _due_at(found, now, session)
    if due_at is not None and not_before is not None:
        due_at = max(due_at, not_before)
    members = {"due_at": due_at, "not_before": not_before, "unanswered": unanswered, "lease": None}
    kept = {name: value for name, value in members.items() if value is not None}
    removed = dict.fromkeys(members.keys() - kept.keys(), "")
    database().webhooks.update_one(
        {"_id": webhook}, {**({"$set": kept} if kept else {}), "$unset": removed}, session=session
    )


def _due_at(webhook: Document, now: datetime, session: ClientSession) -> datetime | None:
    """Return when there will be something to do for the webhook: now, if there may be new events."""
    if has_news(webhook) and count_waiting(webhook["_id"], session) < WAITING_MAX:
        return now
    pending = {"webhook": webhook["_id"], "status": DeliveryStatus.PENDING.value}
    following = database().webhook_deliveries.find_one(
        pending, projection=["next_attempt_at"], sort=[("next_attempt_at", 1)], session=session
    )
    return None if following is None else max(following["next_attempt_at"], now)


def has_news(webhook: Document) -> bool:
    """Tell whether there may be events that were not looked for yet."""
    news: int = webhook.get("news", 0)
    return news > int(webhook.get("walked", 0))
