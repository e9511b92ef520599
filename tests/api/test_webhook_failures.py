"""Webhooks that fail: they are tried again, and delay nobody."""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from bson import Int64, ObjectId
from pymongo.database import Database

from app import clock
from app.mongo import Document
from app.outbox import feed
from app.outbox.events import EventType
from app.webhooks import attempts, dispatch, outgoing
from app.webhooks.dispatch import Dispatcher
from app.webhooks.outgoing import Answer
from local.processes import holds_within
from tests.hooks import allow, deliveries, made, make_due, shown
from tests.mail import told
from tests.people import Bank, Person
from tests.receiver import Received, Receiver, receiving

# Not even by chance: no server gets this port, and no client goes out from it.
NOBODY = "http://127.0.0.1:65001/"
WAIT_S = 60.0

pytestmark = pytest.mark.usefixtures("loopback_is_allowed")


@pytest.mark.parametrize("status", [199, 301, 307, 400, 404, 500, 503])
def test_whatever_is_not_a_success_is_tried_again(
    status: int, owner: tuple[Person, str], deliver: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    person, _ = owner
    webhook, _ = made(person, "http://127.0.0.1:9999/")
    monkeypatch.setattr(outgoing, "post", lambda *_, **__: Answer(status, 5))
    person.post(f"/api/webhooks/{webhook}/ping")
    deliver()

    (delivery,) = deliveries(person, webhook)
    assert delivery["status"] == "PENDING"
    assert delivery["attempts"][0]["error"] == f"answered {status}"
    assert deliveries(person, webhook, "?status=DELIVERED") == []


def test_the_schedule_has_nine_retries_and_obeys_retry_after() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    waits = [attempts.next_attempt_at(number, Answer(500), now) for number in range(1, 11)]

    assert waits[9] is None
    in_steps = [(at - now).total_seconds() / base for at, base in zip(waits, attempts.SCHEDULE_S, strict=False) if at]
    assert [round(each) for each in in_steps] == [1] * 9
    asked = attempts.next_attempt_at(1, Answer(503, retry_after_s=600.0), now)
    assert asked == now + timedelta(seconds=600)
    greedy = attempts.next_attempt_at(1, Answer(503, retry_after_s=1e9), now)
    assert greedy == now + timedelta(days=1)


def test_a_delivery_fails_after_its_last_retry(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int], database: Database[Document]
) -> None:
    person, _ = owner
    webhook, _ = made(person, receiver.url)
    receiver.answer = lambda _received: (500, {})
    person.post(f"/api/webhooks/{webhook}/ping")
    for _ in range(12):
        deliver()
        make_due(database)

    (delivery,) = deliveries(person, webhook)
    assert (delivery["status"], len(delivery["attempts"])) == ("FAILED", 10)
    assert len({each.id for each in receiver.received}) == 1
    assert len(receiver.received) == 10


def test_later_events_do_not_wait_for_one_that_fails(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int], bank: Bank
) -> None:
    person, account = owner
    webhook, _ = made(person, receiver.url)
    receiver.answer = lambda received: (500 if b'"amount":2' in received.body else 204, {})
    for amount in (1, 2, 3):
        bank.fund(account, amount)
    deliver()

    assert [each["status"] for each in reversed(deliveries(person, webhook))] == ["DELIVERED", "PENDING", "DELIVERED"]


@pytest.mark.usefixtures("no_silence")
def test_a_host_that_is_not_there_is_only_said_not_to_be_reached(
    owner: tuple[Person, str], deliver: Callable[[], int], bank: Bank
) -> None:
    person, account = owner
    webhook, _ = made(person, NOBODY)
    bank.fund(account, 1)
    bank.fund(account, 2)
    deliver()

    first = deliveries(person, webhook)[-1]["attempts"][0]
    assert {**first, "at": None} == {"at": None, "status": None, "durationMs": None, "error": "could not be reached"}
    # After such a failure the receiver rests, so that it takes no thread for each event.
    assert sum(len(each["attempts"]) for each in deliveries(person, webhook)) == 1


def test_a_receiver_that_is_gone_is_disabled_and_its_owner_told(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int], bank: Bank, database: Database[Document]
) -> None:
    person, account = owner
    webhook, _ = made(person, receiver.url)
    receiver.answer = lambda _received: (410, {})
    bank.fund(account, 1)
    bank.fund(account, 2)
    deliver()
    bank.fund(account, 3)
    deliver()

    found = shown(person, webhook)
    assert (found["status"], found["disabledReason"]) == ("DISABLED", "gone")
    assert len(receiver.received) == 1
    assert {each["status"] for each in deliveries(person, webhook)} == {"FAILED"}
    assert person.post(f"/api/webhooks/{webhook}/ping").body["delivery"]["status"] == "FAILED"
    (letter,) = (message for message in told(database) if message.kind == "webhook_disabled")
    assert letter.payload["reason"] == "gone"
    # It is about no event.
    assert EventType.MONEY_RECEIVED in [each["type"] for each in person.get("/api/events").body["events"]]


def test_five_days_of_failure_disable_a_webhook_and_one_success_does_not(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int], database: Database[Document]
) -> None:
    person, _ = owner
    webhook, _ = made(person, receiver.url)
    receiver.answer = lambda _received: (500, {})
    person.post(f"/api/webhooks/{webhook}/ping")
    deliver()
    database.webhooks.update_one({}, {"$set": {"failing_since": clock.now() - timedelta(days=4, hours=23)}})
    make_due(database)
    deliver()
    assert shown(person, webhook)["status"] == "ACTIVE"
    database.webhooks.update_one({}, {"$set": {"failing_since": clock.now() - timedelta(days=5)}})
    make_due(database)
    deliver()

    assert shown(person, webhook)["disabledReason"] == "failing"


@pytest.mark.usefixtures("no_silence")
def test_an_address_that_is_forbidden_by_now_is_not_reached(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int]
) -> None:
    person, _ = owner
    webhook, _ = made(person, receiver.url)
    person.post(f"/api/webhooks/{webhook}/ping")
    allow()
    deliver()

    assert receiver.received == []
    assert deliveries(person, webhook)[0]["attempts"][0]["error"] == "could not be reached"


def test_a_slow_receiver_delays_no_other(owner: tuple[Person, str], receiver: Receiver, bank: Bank) -> None:
    person, account = owner
    released = threading.Event()

    def answer_slowly(_received: Received) -> tuple[int, dict[str, str]]:
        released.wait(2 * WAIT_S)
        return 204, {}

    others = [bank.customer() for _ in range(3)]
    with receiving("127.0.0.2") as slow:
        slow.answer = answer_slowly
        for _ in range(3):
            made(person, slow.url)
        for other, _ in others:
            made(other, receiver.url)
        dispatcher = Dispatcher()
        thread = threading.Thread(target=dispatcher.run)
        thread.start()
        try:
            bank.fund(account, 1)
            for _, others_account in others:
                bank.fund(others_account, 2)
            assert holds_within(WAIT_S, lambda: len(receiver.received) >= len(others))
            assert len(receiver.received) == len(others)
        finally:
            released.set()
            dispatcher.close()
            thread.join()


def test_two_dispatchers_do_not_send_the_same_thing(owner: tuple[Person, str], receiver: Receiver, bank: Bank) -> None:
    person, account = owner
    made(person, receiver.url)
    dispatchers = [Dispatcher() for _ in range(2)]
    threads = [threading.Thread(target=dispatcher.run) for dispatcher in dispatchers]
    for thread in threads:
        thread.start()
    try:
        for amount in range(1, 11):
            bank.fund(account, amount)
        holds_within(WAIT_S, lambda: len(receiver.received) >= 10)
    finally:
        for dispatcher in dispatchers:
            dispatcher.close()
        for thread in threads:
            thread.join()

    assert [json.loads(each.body)["data"]["amount"] for each in receiver.received] == list(range(1, 11))


def test_neither_one_user_nor_all_new_receivers_take_all_threads(
    bank: Bank, deliver: Callable[[], int], database: Database[Document]
) -> None:
    dispatcher = Dispatcher()
    people = [bank.register() for _ in range(5)]
    for number, person in enumerate(people):
        for other in range(6):
            webhook, _ = made(person, f"http://127.0.{number}.{other + 1}:9999/")
            person.post(f"/api/webhooks/{webhook}/ping")

    def claimed() -> int:
        count = 0
        while dispatcher._claim() is not None:
            count += 1
        return count

    database.webhooks.update_many({"user": {"$ne": ObjectId(people[0].id)}}, {"$unset": {"due_at": ""}})
    assert claimed() == dispatch.PER_USER_MAX
    database.webhooks.update_many({}, {"$set": {"due_at": clock.now() - timedelta(seconds=1)}})
    assert claimed() == dispatch.THREADS // 2 - dispatch.PER_USER_MAX
    database.webhooks.update_many({}, {"$set": {"proven": True}})
    assert claimed() == dispatch.THREADS // 2


def test_what_a_dispatcher_had_when_it_was_killed_is_sent_by_the_next_one(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int], bank: Bank, database: Database[Document]
) -> None:
    person, account = owner
    made(person, receiver.url)
    bank.fund(account, 1)
    feed.place()
    dispatch.spread()
    killed = Dispatcher()
    claimed = killed._claim()
    assert claimed is not None
    dispatch.take_news(*claimed)
    bank.fund(account, 2)

    deliver()
    assert receiver.received == []
    database.webhooks.update_many({}, {"$set": {"not_before": clock.now()}})
    deliver()

    assert [json.loads(each.body)["data"]["amount"] for each in receiver.received] == [1, 2]


def test_positions_that_a_restore_left_out_delay_no_event(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int], bank: Bank, database: Database[Document]
) -> None:
    person, account = owner
    made(person, receiver.url)
    feed.place()
    dispatch.spread()
    database.feed.update_one({"_id": "outbox"}, {"$inc": {"position": Int64(10**12)}})
    bank.fund(account, 1)
    bank.fund(account, 2)

    deliver()

    assert [json.loads(each.body)["data"]["amount"] for each in receiver.received] == [1, 2]


def test_an_event_that_the_dispatcher_passed_over_while_the_webhook_was_made_is_sent(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int], bank: Bank, database: Database[Document]
) -> None:
    person, account = owner
    made(person, receiver.url)
    bank.fund(account, 1)
    feed.place()
    # As a dispatcher leaves it that does not see the new webhook yet.
    end = database.feed.find_one({"_id": "outbox"})
    assert end is not None
    database.feed.update_one({"_id": "webhooks"}, {"$set": {"position": end["position"]}}, upsert=True)

    deliver()

    assert len(receiver.received) == 1
