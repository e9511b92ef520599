"""Webhooks: making and changing them, and what arrives, signed and in order."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database
from standardwebhooks import Webhook, WebhookVerificationError

from app import clock
from app.mongo import Document, leases
from app.settings.policies import WebhookPolicy
from app.webhooks import service
from app.webhooks.dispatch import SIGN, Dispatcher
from tests.clients import Answer as Told
from tests.hooks import allow, deliveries, made, shown, types
from tests.mail import told
from tests.people import Bank, Person
from tests.receiver import Receiver
from tests.server import JWT_SECRET

pytestmark = pytest.mark.usefixtures("loopback_is_allowed")
OTHER_SECRET = "another secret of the bank, which is long enough for it"


def test_an_event_arrives_signed_and_says_what_the_api_says(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int], bank: Bank
) -> None:
    person, account = owner
    webhook, secret = made(person, receiver.url)
    bank.fund(account, 25)

    deliver()

    (received,) = receiver.received
    event = person.get("/api/events?types=money.received&limit=200").body["events"][-1]
    assert Webhook(secret).verify(received.body, received.headers) == {
        "type": "money.received",
        "timestamp": event["createdAt"],
        "data": event["data"],
    }
    assert received.id == event["id"]
    assert received.headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(received.body.replace(b"25", b"26"), received.headers)
    (delivery,) = deliveries(person, webhook)
    assert (delivery["eventId"], delivery["status"], delivery["nextAttemptAt"]) == (event["id"], "DELIVERED", None)
    assert [(each["status"], each["error"]) for each in delivery["attempts"]] == [(204, None)]
    assert shown(person, webhook)["lastDelivery"]["deliveryId"] == delivery["id"]


def test_a_webhook_is_told_of_its_types_from_its_beginning_on_and_in_order(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int], bank: Bank
) -> None:
    person, account = owner
    _, others_account = bank.customer()
    made(person, receiver.url, types=["money.sent", "account.renamed"])
    for amount in (1, 2, 3):
        person.transfer(account, others_account, amount)
        bank.fund(account, amount)
    person.patch(f"/api/accounts/{account}", {"name": "Daily"})
    person.transfer(account, others_account, 4)

    deliver()

    assert types(receiver.received) == ["money.sent"] * 3 + ["account.renamed", "money.sent"]
    assert [json.loads(each.body)["data"].get("amount") for each in receiver.received] == [1, 2, 3, None, 4]


def test_nothing_comes_twice_of_itself(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int], bank: Bank
) -> None:
    person, account = owner
    made(person, receiver.url)
    for amount in (1, 2, 3):
        bank.fund(account, amount)
        deliver()
        deliver()

    assert len({each.id for each in receiver.received}) == len(receiver.received) == 3


def test_the_secret_is_shown_once_and_is_not_in_the_database(
    owner: tuple[Person, str], receiver: Receiver, database: Database[Document]
) -> None:
    person, _ = owner
    webhook, secret = made(person, receiver.url)

    assert secret.startswith("whsec_")
    assert "secret" not in json.dumps(person.get("/api/webhooks").body)
    assert secret not in person.get(f"/api/webhooks/{webhook}").content.decode()
    stored = database.webhooks.find_one({"_id": ObjectId(webhook)}) or {}
    assert Webhook(secret)._whsecret not in stored["secrets"][0]["sealed"]


def test_for_a_day_after_a_rotation_both_secrets_sign(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int], database: Database[Document]
) -> None:
    person, _ = owner
    webhook, before = made(person, receiver.url)
    after = person.post(f"/api/webhooks/{webhook}/rotate-secret").body["secret"]
    person.post(f"/api/webhooks/{webhook}/ping")
    deliver()
    database.webhooks.update_one({}, {"$set": {"secrets.1.until": clock.now()}})
    person.post(f"/api/webhooks/{webhook}/ping")
    deliver()

    both, only_new = receiver.received
    Webhook(before).verify(both.body, both.headers)
    Webhook(after).verify(both.body, both.headers)
    Webhook(after).verify(only_new.body, only_new.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(before).verify(only_new.body, only_new.headers)


def test_a_secret_survives_one_change_of_the_banks_secret_and_a_webhook_says_if_it_is_lost(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int], database: Database[Document]
) -> None:
    person, _ = owner
    webhook, secret = made(person, receiver.url)
    allowed = WebhookPolicy(allowed=("127.0.0.0/8",))
    person.post(f"/api/webhooks/{webhook}/ping")
    service.configure(allowed, bank_secrets=(OTHER_SECRET, JWT_SECRET))
    deliver()
    Webhook(secret).verify(receiver.received[0].body, receiver.received[0].headers)

    # It was sealed anew, so the one before may go.
    service.configure(allowed, bank_secrets=(OTHER_SECRET,))
    person.post(f"/api/webhooks/{webhook}/ping")
    deliver()
    Webhook(secret).verify(receiver.received[1].body, receiver.received[1].headers)

    service.configure(allowed, bank_secrets=("neither of them, and long enough for a secret",))
    person.post(f"/api/webhooks/{webhook}/ping")
    deliver()
    found = shown(person, webhook)
    assert (found["status"], found["disabledReason"]) == ("DISABLED", "secret_lost")
    assert len(receiver.received) == 2
    assert [message.kind for message in told(database)][-1] == "webhook_disabled"


def test_a_dispatcher_that_starts_seals_all_secrets_anew(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int]
) -> None:
    person, _ = owner
    webhook, secret = made(person, receiver.url)
    allow("127.0.0.0/8", bank_secrets=(OTHER_SECRET, JWT_SECRET))
    started = Dispatcher()
    started.turn()
    started.close()
    # It took its sign of life with it, and a server beside the tests has another secret.
    leases.give_sign(SIGN, timedelta(minutes=10))
    allow("127.0.0.0/8", bank_secrets=(OTHER_SECRET,))
    person.post(f"/api/webhooks/{webhook}/ping")
    deliver()

    Webhook(secret).verify(receiver.received[0].body, receiver.received[0].headers)


def test_a_ping_says_which_webhook_it_is_for(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int]
) -> None:
    person, _ = owner
    webhook, _ = made(person, receiver.url, types=["payee.added"])
    answer = person.post(f"/api/webhooks/{webhook}/ping")
    deliver()

    assert answer.status == 202
    assert answer.body["delivery"]["status"] == "PENDING"
    assert json.loads(receiver.received[0].body)["data"] == {"webhookId": webhook}
    assert deliveries(person, webhook)[0]["type"] == "webhook.ping"


def test_a_webhook_that_is_active_again_is_told_of_what_happens_from_then_on(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int], bank: Bank
) -> None:
    person, account = owner
    webhook, _ = made(person, receiver.url)
    bank.fund(account, 1)
    off = person.patch(f"/api/webhooks/{webhook}", {"status": "DISABLED"}).body["webhook"]
    bank.fund(account, 2)
    deliver()
    on = person.patch(f"/api/webhooks/{webhook}", {"status": "ACTIVE"}).body["webhook"]
    bank.fund(account, 3)
    deliver()

    assert (off["status"], off["disabledReason"]) == ("DISABLED", "owner")
    assert (on["status"], on["disabledReason"]) == ("ACTIVE", None)
    assert [json.loads(each.body)["data"]["amount"] for each in receiver.received] == [3]


def test_a_resent_event_has_the_same_id_and_is_a_delivery_of_its_own(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int], bank: Bank
) -> None:
    person, account = owner
    webhook, _ = made(person, receiver.url)
    bank.fund(account, 1)
    deliver()
    first = deliveries(person, webhook)[0]
    again = person.post(f"/api/webhooks/{webhook}/deliveries/{first['id']}/resend")
    deliver()

    assert again.status == 202
    assert again.body["delivery"]["id"] != first["id"]
    assert [each.id for each in receiver.received] == [first["eventId"]] * 2
    assert receiver.received[0].body == receiver.received[1].body


def test_a_replay_sends_the_events_after_a_place_again(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int], bank: Bank
) -> None:
    person, account = owner
    webhook, _ = made(person, receiver.url, types=["money.received"])
    place = person.get("/api/events?limit=200").body["nextAfter"]
    for amount in (1, 2):
        bank.fund(account, amount)
    deliver()
    answer = person.post(f"/api/webhooks/{webhook}/replay", {"after": place})
    deliver()

    assert (answer.status, answer.body) == (202, {"deliveries": 2})
    assert [json.loads(each.body)["data"]["amount"] for each in receiver.received] == [1, 2, 1, 2]
    assert receiver.received[0].id == receiver.received[2].id
    assert person.post(f"/api/webhooks/{webhook}/replay", {"after": "x"}).code == "invalid_cursor"


def test_a_deleted_webhook_gets_nothing_more(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int], bank: Bank
) -> None:
    person, account = owner
    webhook, _ = made(person, receiver.url)
    bank.fund(account, 1)

    assert person.call("DELETE", f"/api/webhooks/{webhook}").status == 204
    deliver()

    assert receiver.received == []
    assert person.get(f"/api/webhooks/{webhook}").code == "webhook_not_found"
    assert person.call("DELETE", f"/api/webhooks/{webhook}").code == "webhook_not_found"


def every_call(person: Person, webhook: str, delivery: str, place: str) -> list[Told]:
    path = f"/api/webhooks/{webhook}"
    return [
        person.get(path),
        person.patch(path, {"types": ["*"]}),
        person.post(f"{path}/ping"),
        person.post(f"{path}/rotate-secret"),
        person.post(f"{path}/replay", {"after": place}),
        person.get(f"{path}/deliveries"),
        person.post(f"{path}/deliveries/{delivery}/resend"),
        person.call("DELETE", path),
    ]


def test_nobody_reaches_the_webhooks_of_others(owner: tuple[Person, str], receiver: Receiver, bank: Bank) -> None:
    person, _ = owner
    webhook, _ = made(person, receiver.url)
    delivery = person.post(f"/api/webhooks/{webhook}/ping").body["delivery"]["id"]
    stranger = bank.register()
    place = stranger.get("/api/events").body["nextAfter"]
    theirs, _ = made(stranger, receiver.url)

    for asker in (stranger, bank.system):
        own_place = asker.get("/api/events").body["nextAfter"]
        assert {answer.code for answer in every_call(asker, webhook, delivery, own_place)} == {"webhook_not_found"}
    assert stranger.post(f"/api/webhooks/{theirs}/deliveries/{delivery}/resend").code == "delivery_not_found"
    assert person.post(f"/api/webhooks/{webhook}/replay", {"after": place}).code == "invalid_cursor"
    assert [each["id"] for each in stranger.get("/api/webhooks").body["webhooks"]] == [theirs]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"url": "http://10.0.0.1/"}, "webhook_url_refused"),
        ({"url": "https://nowhere.invalid/"}, "webhook_url_refused"),
        ({"url": "https://user@shop.example/"}, "webhook_url_refused"),
        ({"url": "https://127.0.0.1:22/"}, "webhook_url_refused"),
        ({"url": ""}, "validation_failed"),
        ({"url": "http://127.0.0.1/", "types": []}, "validation_failed"),
        ({"url": "http://127.0.0.1/", "types": ["money.lost"]}, "validation_failed"),
        ({"url": "http://127.0.0.1/", "secret": "whsec_AAAA"}, "validation_failed"),
    ],
)
def test_what_a_webhook_cannot_be(body: dict[str, Any], code: str, owner: tuple[Person, str]) -> None:
    person, _ = owner
    assert person.post("/api/webhooks", body).code == code


def test_a_user_has_at_most_ten(owner: tuple[Person, str], receiver: Receiver) -> None:
    person, _ = owner
    for _ in range(10):
        made(person, receiver.url)

    assert person.post("/api/webhooks", {"url": receiver.url}).code == "validation_failed"
