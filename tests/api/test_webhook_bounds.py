"""What webhooks may cost the bank: limits for their owners, and for the delays of slow receivers."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from pymongo.database import Database

from app import clock
from app.events import service as events
from app.mongo import Document
from app.runtime import heavy
from app.webhooks import attempts, dispatch, repository, service, targets
from local.processes import LOOPBACK, holds_within
from tests.clients import Answer as Told
from tests.hooks import deliveries, made, make_due, shown
from tests.mail import told
from tests.people import Bank, Person
from tests.receiver import Received, Receiver
from tests.threads import at_once

pytestmark = pytest.mark.usefixtures("loopback_is_allowed")
SOON_S = 20.0
SILENT_URL = f"http://{LOOPBACK}:49999/"


def refused(answer: Told) -> bool:
    assert answer.status in (202, 429), answer.content
    if answer.status == 429:
        assert answer.code == "rate_limited"
        assert 0 < int(answer.headers["retry-after"]) <= timedelta(days=1).total_seconds()
    return answer.status == 429


def paths(receiver: Receiver) -> str:
    """Return the last letters of the paths that were called, in order."""
    return "".join(each.path[-1] for each in receiver.received)


def test_only_so_many_deliveries_that_were_asked_for_wait_for_a_webhook(
    owner: tuple[Person, str],
    receiver: Receiver,
    deliver: Callable[[], int],
    bank: Bank,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "ASKED_WAITING_MAX", 2)
    person, account = owner
    webhook, _ = made(person, receiver.url, types=["money.received"])
    path = f"/api/webhooks/{webhook}"
    place = person.get("/api/events?limit=200").body["nextAfter"]
    bank.fund(account, 1)
    bank.fund(account, 2)
    deliver()
    first = deliveries(person, webhook)[0]["id"]
    # The webhook's own events do not count.
    bank.fund(account, 3)

    answers = [
        person.post(f"{path}/ping"),
        person.post(f"{path}/replay", {"after": place}),
        person.post(f"{path}/deliveries/{first}/resend"),
        person.post(f"{path}/ping"),
        person.post(f"{path}/deliveries/{first}/resend"),
    ]

    assert [refused(answer) for answer in answers] == [False, True, False, True, True]
    assert len(deliveries(person, webhook)) == 4
    deliver()
    assert not refused(person.post(f"{path}/ping"))


def test_a_user_asks_for_so_many_deliveries_a_day_whichever_webhook_they_are_for(
    owner: tuple[Person, str], bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "ASKED_PER_DAY_MAX", 2)
    person, _ = owner
    other = bank.register()
    first, second, theirs = made(person, SILENT_URL)[0], made(person, SILENT_URL)[0], made(other, SILENT_URL)[0]
    person.patch(f"/api/webhooks/{second}", {"status": "DISABLED"})

    answers = [person.post(f"/api/webhooks/{each}/ping") for each in (first, second, first, second)]
    assert person.call("DELETE", f"/api/webhooks/{first}").status == 204
    third = made(person, SILENT_URL)[0]

    assert [refused(answer) for answer in answers] == [False, False, True, True]
    assert refused(person.post(f"/api/webhooks/{third}/ping"))
    assert not refused(other.post(f"/api/webhooks/{theirs}/ping"))


def test_events_wait_in_the_feed_while_too_many_deliveries_wait(
    owner: tuple[Person, str],
    receiver: Receiver,
    deliver: Callable[[], int],
    bank: Bank,
    database: Database[Document],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(repository, "WAITING_MAX", 2)
    person, account = owner
    webhook, _ = made(person, receiver.url)
    receiver.answer = lambda _received: (500, {})
    for amount in (1, 2, 3):
        bank.fund(account, amount)

    # Two are made and fail, and then nothing is due.
    assert deliver() <= 2
    assert [each["status"] for each in deliveries(person, webhook)] == ["PENDING"] * 2

    receiver.answer = lambda _received: (204, {})
    make_due(database)
    deliver()
    assert [each["status"] for each in deliveries(person, webhook)] == ["DELIVERED"] * 3
    assert len({each.id for each in receiver.received}) == 3


def test_twenty_at_once_make_ten_webhooks(owner: tuple[Person, str]) -> None:
    person, _ = owner
    answers = at_once([partial(person.post, "/api/webhooks", {"url": SILENT_URL})] * 20)

    assert sorted(answer.status for answer in answers) == [201] * 10 + [422] * 10
    kept = person.get("/api/webhooks").body["webhooks"]
    assert len(kept) == 10
    # One that is deleted makes room for another.
    person.call("DELETE", f"/api/webhooks/{kept[3]['id']}")
    made(person, SILENT_URL)


def test_names_for_which_nobody_answers_hold_few_requests(
    owner: tuple[Person, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    person, _ = owner
    may_answer = threading.Event()

    def hang(*_: object) -> list[object]:
        may_answer.wait(SOON_S)
        return []

    monkeypatch.setattr(targets, "_resolve", hang)
    with ThreadPoolExecutor(2) as threads:
        hanging = [threads.submit(person.post, "/api/webhooks", {"url": "https://silent.example/"}) for _ in range(2)]
        assert holds_within(SOON_S, lambda: heavy.names._admitted == 2)
        third = person.post("/api/webhooks", {"url": "https://silent.example/"})
        made(person, SILENT_URL)
        may_answer.set()

    assert (third.status, third.code) == (503, "service_unavailable")
    assert int(third.headers["retry-after"]) > 0
    assert {each.result().code for each in hanging} == {"webhook_url_refused"}


def test_after_its_turn_a_webhook_goes_behind_the_others(
    owner: tuple[Person, str],
    receiver: Receiver,
    deliver: Callable[[], int],
    bank: Bank,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatch, "TURN_DELIVERIES_MAX", 1)
    person, _ = owner
    other = bank.register()
    busy, _ = made(person, f"{receiver.url}/a", types=["payee.added"])
    quiet, _ = made(other, f"{receiver.url}/b", types=["payee.added"])
    deliver()
    for _ in range(3):
        person.post(f"/api/webhooks/{busy}/ping")
    other.post(f"/api/webhooks/{quiet}/ping")

    deliver()

    assert paths(receiver) == "abaa"


@pytest.mark.usefixtures("no_silence")
def test_new_events_do_not_end_the_rest_of_a_webhook_whose_receiver_gave_no_answer(
    owner: tuple[Person, str], deliver: Callable[[], int], bank: Bank
) -> None:
    person, account = owner
    webhook, _ = made(person, SILENT_URL)
    for amount in (1, 2, 3):
        bank.fund(account, amount)
        person.post(f"/api/webhooks/{webhook}/ping")
        deliver()

    assert sum(len(each["attempts"]) for each in deliveries(person, webhook)) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_receiver_that_says_until_when_it_is_busy_is_not_called_before(
    status: int,
    owner: tuple[Person, str],
    receiver: Receiver,
    deliver: Callable[[], int],
    bank: Bank,
    database: Database[Document],
) -> None:
    person, account = owner
    webhook, _ = made(person, receiver.url)
    receiver.answer = lambda _received: (status, {"Retry-After": "600"})
    bank.fund(account, 1)
    bank.fund(account, 2)
    deliver()
    bank.fund(account, 3)
    person.post(f"/api/webhooks/{webhook}/ping")
    deliver()
    assert len(receiver.received) == 1

    receiver.answer = lambda _received: (204, {})
    make_due(database)
    deliver()
    amounts = [json.loads(each.body)["data"].get("amount") for each in receiver.received]
    assert [amount for amount in amounts if amount] == [1, 1, 2, 3]
    assert len(amounts) == 5


def test_another_failure_with_retry_after_puts_off_its_own_delivery_only(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int], bank: Bank
) -> None:
    person, account = owner
    made(person, receiver.url)
    receiver.answer = lambda _received: (500, {"Retry-After": "600"})
    bank.fund(account, 1)
    bank.fund(account, 2)
    deliver()

    assert len(receiver.received) == 2


def test_who_takes_events_slowly_shares_threads_with_who_fails(
    owner: tuple[Person, str],
    receiver: Receiver,
    deliver: Callable[[], int],
    database: Database[Document],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    person, _ = owner
    webhook, _ = made(person, receiver.url)

    def is_proven_after_ping() -> bool:
        person.post(f"/api/webhooks/{webhook}/ping")
        deliver()
        return "proven" in (database.webhooks.find_one({}) or {})

    assert is_proven_after_ping()
    monkeypatch.setattr(attempts, "QUICK_MS", -1)
    assert not is_proven_after_ping()


def test_a_closed_door_takes_as_long_as_one_that_nobody_answers(
    owner: tuple[Person, str], deliver: Callable[[], int], database: Database[Document]
) -> None:
    person, _ = owner
    webhook, _ = made(person, SILENT_URL)
    asked = person.post(f"/api/webhooks/{webhook}/ping").body["delivery"]
    begun = clock.now()
    deliver()

    # Nothing shows that the connection was refused at once.
    assert deliveries(person, webhook) == [asked]
    assert shown(person, webhook)["lastDelivery"] is None
    stored = database.webhooks.find_one({}) or {}
    assert stored["not_before"] - begun >= attempts.SILENCE

    make_due(database)
    deliver()
    stored = database.webhook_deliveries.find_one({}) or {}
    (attempt,) = stored["attempts"]
    pause = (stored["next_attempt_at"] - attempt["at"] - attempts.SILENCE).total_seconds()
    assert 4 <= pause <= 6
    assert shown(person, webhook)["lastDelivery"]["status"] == "PENDING"


@pytest.mark.parametrize("status", [410, 204])
def test_what_a_former_receiver_answers_says_nothing_about_the_new_one(
    status: int,
    owner: tuple[Person, str],
    receiver: Receiver,
    deliver: Callable[[], int],
    database: Database[Document],
) -> None:
    person, _ = owner
    webhook, _ = made(person, receiver.url)
    database.webhooks.update_one({}, {"$set": {"failing_since": clock.now(), "proven": True}})

    def move(_received: Received) -> tuple[int, dict[str, str]]:
        assert person.patch(f"/api/webhooks/{webhook}", {"url": SILENT_URL}).status == 200
        return status, {}

    receiver.answer = move
    person.post(f"/api/webhooks/{webhook}/ping")
    deliver()

    found = shown(person, webhook)
    assert (found["status"], found["url"], found["lastDelivery"]) == ("ACTIVE", SILENT_URL, None)
    stored = database.webhooks.find_one({}) or {}
    assert not stored.keys() & {"failing_since", "proven", "lease"}
    assert [each["status"] for each in deliveries(person, webhook)[0]["attempts"]] == [status]


@pytest.mark.parametrize(("status", "becomes"), [(204, "DELIVERED"), (500, "FAILED")])
def test_an_attempt_is_noted_also_if_its_webhook_was_disabled_meanwhile(
    status: int, becomes: str, owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int]
) -> None:
    person, _ = owner
    webhook, _ = made(person, receiver.url)

    def disable(_received: Received) -> tuple[int, dict[str, str]]:
        assert person.patch(f"/api/webhooks/{webhook}", {"status": "DISABLED"}).status == 200
        return status, {}

    receiver.answer = disable
    person.post(f"/api/webhooks/{webhook}/ping")
    deliver()

    (delivery,) = deliveries(person, webhook)
    assert (delivery["status"], [each["status"] for each in delivery["attempts"]]) == (becomes, [status])
    assert shown(person, webhook)["disabledReason"] == "owner"


def test_a_disabled_webhook_is_never_due(
    owner: tuple[Person, str], receiver: Receiver, deliver: Callable[[], int], bank: Bank, database: Database[Document]
) -> None:
    person, account = owner
    webhook, _ = made(person, receiver.url)
    person.post(f"/api/webhooks/{webhook}/ping")
    person.patch(f"/api/webhooks/{webhook}", {"status": "DISABLED"})
    person.post(f"/api/webhooks/{webhook}/ping")
    bank.fund(account, 1)
    deliver()

    # Or whoever looks for what is due would pass over it for ever.
    assert database.webhooks.count_documents({"due_at": {"$exists": True}}) == 0
    assert receiver.received == []


def test_a_receiver_that_is_gone_again_and_again_writes_few_letters(
    owner: tuple[Person, str],
    receiver: Receiver,
    deliver: Callable[[], int],
    database: Database[Document],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "DISABLED_LETTERS_PER_DAY_MAX", 1)
    person, _ = owner
    receiver.answer = lambda _received: (410, {})
    for _ in range(2):
        webhook, _ = made(person, receiver.url)
        person.post(f"/api/webhooks/{webhook}/ping")
        deliver()
        assert shown(person, webhook)["disabledReason"] == "gone"

    assert [message.kind for message in told(database)].count("webhook_disabled") == 1


def test_a_replay_looks_behind_events_of_other_types(
    owner: tuple[Person, str], receiver: Receiver, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, account = owner
    webhook, _ = made(person, receiver.url, types=["account.renamed"])
    place = person.get("/api/events?limit=200").body["nextAfter"]
    for amount in (1, 2, 3):
        bank.fund(account, amount)
    person.patch(f"/api/accounts/{account}", {"name": "Daily"})
    monkeypatch.setattr(events, "LOOKED_AT_MAX", 2)

    assert person.post(f"/api/webhooks/{webhook}/replay", {"after": place}).body == {"deliveries": 1}
    monkeypatch.setattr(service, "REPLAY_PAGES_MAX", 1)
    assert person.post(f"/api/webhooks/{webhook}/replay", {"after": place}).code == "validation_failed"


def test_no_more_is_replayed_than_may_be(
    owner: tuple[Person, str], receiver: Receiver, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, account = owner
    webhook, _ = made(person, receiver.url, types=["money.received"])
    place = person.get("/api/events?limit=200").body["nextAfter"]
    for amount in (1, 2):
        bank.fund(account, amount)
    monkeypatch.setattr(service, "REPLAYED_MAX", 2)
    assert person.post(f"/api/webhooks/{webhook}/replay", {"after": place}).body == {"deliveries": 2}

    bank.fund(account, 3)
    assert person.post(f"/api/webhooks/{webhook}/replay", {"after": place}).code == "validation_failed"
    assert len(deliveries(person, webhook)) == 2
