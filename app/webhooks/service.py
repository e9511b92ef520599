"""Making and changing webhooks, and asking for deliveries."""

import contextlib
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import Any, TypeVar

from bson import Int64, ObjectId
from pymongo.client_session import ClientSession

from app import clock, mongo
from app.errors import DeliveryNotFound, RateLimited, ValidationFailed, WebhookNotFound, WebhookUrlRefused
from app.events import service as events
from app.events.service import Place
from app.mongo import Document
from app.mongo.lists import Position
from app.networks import Network, parse_networks
from app.outbox import feed, messages
from app.outbox import repository as outbox
from app.outbox.events import Event
from app.runtime import heavy
from app.settings.policies import WebhookPolicy
from app.webhooks import repository, signing, targets
from app.webhooks.repository import KEPT
from app.webhooks.statuses import DeliveryStatus, WebhookStatus

Result = TypeVar("Result")

WEBHOOKS_PER_USER_MAX = 10
REPLAYED_MAX = 1_000
# How many pages of events a replay looks through, each as large as `events.look` makes them.
REPLAY_PAGES_MAX = 10
# How many deliveries that the owner asked for may wait for a webhook, and how many a user may ask for in a day, by UTC.
ASKED_WAITING_MAX = 1_000
ASKED_PER_DAY_MAX = 10_000
ASKED_RETRY_S = 60
# A user's receivers may disappear again and again. After this many letters, only `disabledReason` says so.
DISABLED_LETTERS_PER_DAY_MAX = 10
SECRETS_MAX = 5
BOTH_SIGN = timedelta(hours=24)
EVERYTHING = "*"
PING = "webhook.ping"
DISABLED_BY_OWNER = "owner"
# After everything that has a position.
_WHOLE = 2**31 - 1
# The fields of a webhook about its present or last turn.
_OF_TURN = ("lease", "not_before", "unanswered")

_allowed: Sequence[Network] = ()
_bank_secrets: Sequence[str] = ()


def configure(policy: WebhookPolicy, *, bank_secrets: Sequence[str]) -> None:
    """Set which networks webhooks may reach, and the bank's secrets, the present one first."""
    global _allowed, _bank_secrets
    _allowed = parse_networks(policy.allowed)
    _bank_secrets = bank_secrets


def allowed_networks() -> Sequence[Network]:
    """Return the networks that webhooks may reach in addition to public addresses."""
    return _allowed


def secrets_of(webhook: Document, now: datetime) -> list[bytes]:
    """Return the secrets of a webhook that sign now, the newest first; raises SecretLost.

    A secret that was sealed under the bank's previous secret is sealed again, because that will be removed some day.
    """
    id_, stored = webhook["_id"], _signing_now(webhook, now)
    secrets = [signing.unseal(each["sealed"], id_, _bank_secrets) for each in stored]
    if not all(signing.is_sealed_with(each["sealed"], id_, _bank_secrets[0]) for each in stored):
        anew = [
            {**each, "sealed": signing.seal(secret, id_, _bank_secrets)}
            for each, secret in zip(stored, secrets, strict=True)
        ]
        repository.reseal(id_, webhook["secrets"], anew)
    return secrets


def seal_all_anew() -> None:
    """Seal all webhooks' secrets under the bank's present secret, if there is a previous one, which will be removed."""
    if len(_bank_secrets) > 1:
        for webhook in repository.find_all():
            with contextlib.suppress(signing.SecretLost):
                secrets_of(webhook, clock.now())


def create(user: ObjectId, *, url: str, types: Sequence[str], description: str | None) -> tuple[Document, str]:
    """Make a webhook, and return it with its secret. It gets the events from now on.

    Raises WebhookUrlRefused, and ValidationFailed if the user has WEBHOOKS_PER_USER_MAX.
    """
    host = _checked_host(url, user)
    webhook_id, secret = ObjectId(), signing.new_secret()
    webhook: Document = {
        "_id": webhook_id,
        "user": user,
        "url": url,
        "host": host,
        "types": list(dict.fromkeys(types)),
        "description": description,
        "status": WebhookStatus.ACTIVE.value,
        "created_at": clock.now(),
        "secrets": [{"sealed": signing.seal(secret, webhook_id, _bank_secrets)}],
    }
    # Everything that has happened gets its place before the webhook's first.
    feed.place_together()

    def block(session: ClientSession) -> None:
        limit = WEBHOOKS_PER_USER_MAX
        free = sorted(set(range(limit)) - repository.slots_of(user, session))
        if not free:
            raise ValidationFailed(
                "You have as many webhooks as a user may have.",
                errors={"body": [f"A user has at most {limit} webhooks. Delete one that you do not need."]},
            )
        webhook.update(slot=free[0], **_beginning(session))
        repository.insert(webhook, session)

    atomically(block)
    return webhook, signing.shown(secret)


def get(webhook_id: ObjectId, *, user: ObjectId) -> Document:
    """Return the user's webhook; raises WebhookNotFound."""
    webhook = repository.find(webhook_id, user)
    if webhook is None:
        raise WebhookNotFound
    return webhook


def change(webhook_id: ObjectId, *, user: ObjectId, **changes: Any) -> Document:
    """Change a webhook's url, types, description or status, and return it.

    A webhook that is made active again gets the events from then on. Raises WebhookNotFound and WebhookUrlRefused.
    """
    get(webhook_id, user=user)
    if "url" in changes:
        changes["host"] = _checked_host(changes["url"], user)
    if "types" in changes:
        changes["types"] = list(dict.fromkeys(changes["types"]))
    feed.place_together()

    def block(session: ClientSession) -> Document:
        webhook = _own(webhook_id, user, session)
        new, removed = dict(changes), set()
        if new.get("url", webhook["url"]) != webhook["url"]:
            # The former receiver's answers say nothing about the new one.
            removed = {"failing_since", "proven", *_OF_TURN}
        status = new.get("status", webhook["status"])
        if status != webhook["status"]:
            if status == WebhookStatus.DISABLED:
                new["disabled_reason"] = DISABLED_BY_OWNER
                removed |= {"due_at", *_OF_TURN}
                repository.fail_pending(webhook_id, session)
            else:
                new.update(_beginning(session))
                removed |= {"disabled_reason", "failing_since", "proven", *_OF_TURN}
        return repository.change(webhook_id, new, removed, session) if new or removed else webhook

    return mongo.atomically(block)


def delete(webhook_id: ObjectId, *, user: ObjectId) -> None:
    """Delete a webhook, and end its deliveries; raises WebhookNotFound."""

    def block(session: ClientSession) -> None:
        if not repository.delete(webhook_id, user, session):
            raise WebhookNotFound
        repository.fail_pending(webhook_id, session)

    mongo.atomically(block)


def rotate_secret(webhook_id: ObjectId, *, user: ObjectId) -> str:
    """Give a webhook a new secret and return it. The one before signs too for BOTH_SIGN. Raises WebhookNotFound."""
    secret = signing.new_secret()
    now = clock.now()

    def block(session: ClientSession) -> None:
        webhook = _own(webhook_id, user, session)
        before = [{"until": now + BOTH_SIGN, **each} for each in _signing_now(webhook, now)]
        new = {"sealed": signing.seal(secret, webhook_id, _bank_secrets)}
        repository.change(webhook_id, {"secrets": [new, *before][:SECRETS_MAX]}, (), session)

    mongo.atomically(block)
    return signing.shown(secret)


def _signing_now(webhook: Document, now: datetime) -> list[Document]:
    """Return the stored secrets of a webhook that sign now, the newest first."""
    return [each for each in webhook["secrets"] if "until" not in each or each["until"] > now]


def ping(webhook_id: ObjectId, *, user: ObjectId) -> Document:
    """Send an event of type `webhook.ping`, and return its delivery; raises WebhookNotFound and RateLimited."""
    event = {"id": str(ObjectId()), "type": PING, "created_at": clock.now(), "data": {"webhook_id": webhook_id}}
    return _deliver(webhook_id, user, [event])[0]


def resend(webhook_id: ObjectId, delivery_id: ObjectId, *, user: ObjectId) -> Document:
    """Send the event of a delivery again, and return the new delivery.

    Raises WebhookNotFound, DeliveryNotFound and RateLimited.
    """
    get(webhook_id, user=user)
    delivery = repository.find_delivery(delivery_id, webhook_id)
    if delivery is None:
        raise DeliveryNotFound
    return _deliver(webhook_id, user, [delivery["event"]])[0]


def replay(webhook_id: ObjectId, after: Place, *, user: ObjectId) -> int:
    """Send the events after a place again, and return how many there are.

    They go behind those that wait already. Raises WebhookNotFound, RateLimited, and ValidationFailed if there are more
    than REPLAYED_MAX, or too many to look through.
    """
    webhook = get(webhook_id, user=user)
    feed.place_together()
    found: list[Event] = []
    for _ in range(REPLAY_PAGES_MAX):
        page = events.look(user, after, types_of(webhook), REPLAYED_MAX + 1 - len(found))
        found += page.events
        after = page.place
        if page.is_last or len(found) > REPLAYED_MAX:
            break
    if not page.is_last or len(found) > REPLAYED_MAX:
        raise ValidationFailed(
            "That is too much to send again.",
            errors={
                "after": [f"More than {REPLAYED_MAX:,}, or too many of other types, came after it. Name a later one."]
            },
        )
    _deliver(webhook_id, user, [as_document(event) for event in found])
    return len(found)


def types_of(webhook: Document) -> Collection[str]:
    """Return the types of events that a webhook gets. None at all stands for all types."""
    return () if EVERYTHING in webhook["types"] else webhook["types"]


def find_deliveries(
    webhook_id: ObjectId, *, user: ObjectId, status: str | None, after: Position | None, limit: int
) -> tuple[list[Document], Position | None]:
    """Return up to `limit` deliveries of the user's webhook, newest first, and where to go on if the search stopped.

    Raises WebhookNotFound.
    """
    get(webhook_id, user=user)
    return repository.find_deliveries(webhook_id, status, after=after, limit=limit)


def as_document(event: Event) -> Document:
    """Return an event as it is stored with a delivery."""
    return {"id": event.id, "type": event.type.value, "created_at": event.created_at, "data": dict(event.data)}


def new_delivery(webhook: Document, event: Document, now: datetime) -> Document:
    """Return a delivery that is due now, or one that has failed if its webhook is disabled."""
    is_active = webhook["status"] == WebhookStatus.ACTIVE
    return {
        "_id": ObjectId(),
        "webhook": webhook["_id"],
        "user": webhook["user"],
        "event": event,
        "status": (DeliveryStatus.PENDING if is_active else DeliveryStatus.FAILED).value,
        "attempts": [],
        "created_at": now,
        "expires_at": now + KEPT,
        **({"next_attempt_at": now} if is_active else {}),
    }


def disable(webhook: Document, reason: str, session: ClientSession) -> None:
    """Disable a webhook that fails, end its deliveries, and tell its owner by a letter."""
    user, now = webhook["user"], clock.now()
    changes = {"status": WebhookStatus.DISABLED.value, "disabled_reason": reason}
    repository.change(webhook["_id"], changes, ["due_at", *_OF_TURN], session)
    repository.fail_pending(webhook["_id"], session)
    letters = repository.count_today("letters", user, 1, now=now, session=session)
    if letters <= DISABLED_LETTERS_PER_DAY_MAX:
        outbox.insert([messages.webhook_disabled(user, host=webhook["host"], reason=reason, at=now)], session)


def atomically(block: Callable[[ClientSession], Result]) -> Result:
    """Do the same as `mongo.atomically`, and try again after a lost race for a slot or for the first count of a day."""
    return mongo.atomically(block, is_lost_race=lambda error: mongo.duplicate_key(error) is not None)


def _deliver(webhook_id: ObjectId, user: ObjectId, found: Sequence[Document]) -> list[Document]:
    """Make the deliveries that the owner asked for; raises WebhookNotFound and RateLimited."""
    now = clock.now()

    def block(session: ClientSession) -> list[Document]:
        webhook = _own(webhook_id, user, session)
        if found:
            _refuse_too_many(webhook, len(found), now, session)
        deliveries = [{**new_delivery(webhook, event, now), "asked": True} for event in found]
        repository.insert_deliveries(webhook_id, deliveries, session)
        return deliveries

    return atomically(block)


def _refuse_too_many(webhook: Document, number: int, now: datetime, session: ClientSession) -> None:
    """Count deliveries that their owner asks for; raises RateLimited if there are too many."""
    limit = ASKED_WAITING_MAX
    if repository.count_asked(webhook["_id"], session, limit=limit) + number > limit:
        refusal = RateLimited(f"At most {limit:,} deliveries that you asked for wait for a webhook. Nothing was done.")
        refusal.retry_after_seconds = ASKED_RETRY_S
        raise refusal
    asked = repository.count_today("deliveries", webhook["user"], number, now=now, session=session)
    if asked > ASKED_PER_DAY_MAX:
        refusal = RateLimited(f"You may ask for {ASKED_PER_DAY_MAX:,} deliveries in a day (UTC). Nothing was done.")
        midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), now.tzinfo)
        refusal.retry_after_seconds = ceil((midnight - now).total_seconds())
        raise refusal


def _own(webhook_id: ObjectId, user: ObjectId, session: ClientSession) -> Document:
    webhook = repository.find(webhook_id, user, session)
    if webhook is None:
        raise WebhookNotFound
    return webhook


def _beginning(session: ClientSession) -> Document:
    """Return the fields of a webhook that gets events from now on.

    It is due once, because the dispatcher may just be skipping events that got their places after this block began.
    """
    place = [feed.end(session), _WHOLE, _WHOLE]
    return {"place": place, "news": Int64(1), "walked": Int64(0), "due_at": clock.now()}


def _checked_host(url: str, user: ObjectId) -> str:
    """Return the URL's host; raises WebhookUrlRefused, and ServiceUnavailable if too many names are looked up.

    Looking up a name may take long, if nobody answers for it.
    """
    try:
        target = targets.parse(url)
        with contextlib.nullcontext() if target.address else heavy.names.admit(user):
            targets.addresses_of(target, _allowed)
    except targets.TargetRefused as error:
        raise WebhookUrlRefused(str(error)) from error
    return target.host
