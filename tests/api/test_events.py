"""Events: what programs are told, once each, in the order of each account's journal."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pytest
from bson import ObjectId
from flask import Flask
from pymongo.database import Database

from app.events import service
from app.events.waiting import LOOK_EVERY_S
from app.mongo import Document
from app.outbox import feed
from app.settings.policies import WorkPolicy
from tests.api.conftest import UnderWay
from tests.integration.branch import Customer, process
from tests.mail import told
from tests.people import Bank, Caller, Person
from tests.threads import at_once

WRITERS, TRANSFERS_EACH, WALKERS = 64, 3, 4
# Well below what they would wait for.
SOON_S = 20.0


def events(person: Caller, **query: Any) -> list[dict[str, Any]]:
    """Return all of the person's events, page by page."""
    return list(walk(person, **query))


def walk(person: Caller, after: str = "", **query: Any) -> Iterator[dict[str, Any]]:
    while True:
        page = read(person, after=after, **query)
        yield from page["events"]
        after = page["nextAfter"]
        if not page["events"]:
            return


def read(person: Caller, **query: object) -> dict[str, Any]:
    said = "&".join(f"{name}={value}" for name, value in query.items() if value != "")
    answer = person.get(f"/api/events?{said}" if said else "/api/events")
    assert answer.status == 200, answer.content
    page: dict[str, Any] = answer.body
    return page


def types(person: Caller, **query: Any) -> list[str]:
    return [event["type"] for event in events(person, **query)]


def hold(payer: Person, from_account: str, to_account: str) -> str:
    body = {"fromAccount": from_account, "toAccount": to_account, "amount": 200, "idempotencyKey": str(ObjectId())}
    answer = payer.post("/api/transactions/hold", body)
    assert answer.status == 201, answer.content
    hold_id: str = answer.body["transaction"]["id"]
    return hold_id


def test_a_transfer_is_an_event_of_each_party_and_tells_nothing_of_the_other(
    parties: tuple[Person, str, Person, str],
) -> None:
    payer, from_account, payee, to_account = parties
    transaction = payer.transfer(from_account, to_account, 400).body["transaction"]

    sent, received = events(payer)[-1], events(payee)[-1]

    assert sent == {
        "id": sent["id"],
        "type": "money.sent",
        "createdAt": transaction["createdAt"],
        "data": {
            "accountId": from_account, "transactionId": transaction["id"], "amount": 400, "currency": "INR"
        },
    }  # fmt: skip
    assert received == {
        "id": received["id"],
        "type": "money.received",
        "createdAt": transaction["createdAt"],
        "data": {
            "accountId": to_account, "transactionId": transaction["id"], "amount": 400, "currency": "INR"
        },
    }  # fmt: skip
    assert sent["id"] != received["id"]
    assert events(payer)[-1] == sent


def test_everything_that_a_letter_tells_is_an_event(
    parties: tuple[Person, str, Person, str], bank: Bank, database: Database[Document]
) -> None:
    payer, from_account, payee, to_account = parties
    payer.transfer(from_account, to_account, 5_000)
    captured, voided = (hold(payer, from_account, to_account) for _ in range(2))
    payee.post(f"/api/transactions/{captured}/capture", {"amount": 150, "idempotencyKey": "capture"})
    payee.post(f"/api/transactions/{voided}/void", {"idempotencyKey": "void"})
    for status in ("FROZEN", "ACTIVE"):
        body = {"status": status, "reason": "asked"}
        assert bank.system.patch(f"/api/admin/accounts/{from_account}/status", body).status == 200
    payer.patch(f"/api/accounts/{from_account}", {"name": "Daily"})
    payer.patch(f"/api/accounts/{from_account}", {"name": "Daily"})
    payer.post(f"/api/accounts/{payer.open_account()}/close", {})

    assert types(payer) == [
        "user.welcome", "account.opened", "money.received", "transfer.declined", "hold.placed", "hold.placed",
        "hold.captured", "hold.voided", "account.frozen", "account.unfrozen", "account.renamed", "account.opened",
        "account.closed",
    ]  # fmt: skip
    assert types(payee) == [
        "user.welcome", "account.opened", "hold.placed", "hold.placed", "hold.captured", "hold.voided",
    ]  # fmt: skip
    # Each letter has one event, and only a change of an account's name has no letter.
    letters = [message for message in told(database) if message.user == ObjectId(payer.id)]
    assert len([each for each in letters if each.kind != "account_renamed"]) == len(types(payer)) - 1


def test_an_event_names_what_was_held_and_why_it_was_declined(parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, payee, to_account = parties
    payer.transfer(from_account, to_account, 5_000)
    held = hold(payer, from_account, to_account)
    payee.post(f"/api/transactions/{held}/capture", {"amount": 150, "idempotencyKey": "capture"})

    declined, _, captured = (event["data"] for event in events(payer)[-3:])

    assert declined["failureCode"] == "insufficient_funds"
    assert (captured["amount"], captured["heldAmount"]) == (150, 200)


def test_a_reversal_is_three_events_of_each_party(parties: tuple[Person, str, Person, str], bank: Bank) -> None:
    payer, from_account, payee, to_account = parties
    original = payer.transfer(from_account, to_account, 400).body["transaction"]["id"]
    body = {"idempotencyKey": "back", "reason": "paid twice"}
    reversal = bank.system.post(f"/api/transactions/{original}/reverse", body).body["transaction"]["id"]

    of_payer, of_payee = events(payer)[-2:], events(payee)[-2:]

    assert [(each["type"], each["data"]["transactionId"]) for each in of_payer] == [
        ("money.received", reversal),
        ("transaction.reversed", original),
    ]
    assert [(each["type"], each["data"]["transactionId"]) for each in of_payee] == [
        ("money.sent", reversal),
        ("transaction.reversed", original),
    ]
    assert of_payee[1]["data"]["reversedBy"] == reversal
    assert len({each["id"] for each in of_payer + of_payee}) == 4


def test_a_payment_to_oneself_is_an_event_of_both_accounts(bank: Bank) -> None:
    person, first = bank.customer(1_000)
    second = person.open_account()
    person.transfer(first, second, 300)

    assert [(each["type"], each["data"]["accountId"]) for each in events(person)[-2:]] == [
        ("money.sent", first),
        ("money.received", second),
    ]


def test_security_events_say_nothing_but_that_they_happened(bank: Bank) -> None:
    person = bank.register()
    bank.anonymous.post("/api/auth/password/forgot", {"email": person.user["email"]})

    assert [(each["type"], each["data"]) for each in events(person)] == [
        ("user.welcome", {}),
        ("user.password_reset", {}),
    ]


def test_small_pages_are_the_same_as_a_large_one(parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, _, to_account = parties
    items = [{"fromAccount": from_account, "toAccount": to_account, "amount": 1} for _ in range(7)]
    payer.post("/api/transactions/batch", {"idempotencyKey": "seven", "transfers": items})
    payer.transfer(from_account, payer.open_account(), 5)

    whole = events(payer, limit=200)

    assert len(whole) == len({event["id"] for event in whole}) == 3 + 7 + 1 + 2
    for limit in (1, 2, 3):
        assert events(payer, limit=limit) == whole
    assert events(payer, limit=2, types="money.received,account.opened") == [
        event for event in whole if event["type"] in ("money.received", "account.opened")
    ]


def test_a_cursor_outlives_what_types_are_asked_for_and_is_ones_own(bank: Bank) -> None:
    person, account = bank.customer(1_000)
    other = bank.register()
    place = read(person, types="user.password_changed")["nextAfter"]
    bank.fund(account, 5)

    assert [event["type"] for event in read(person, after=place)["events"]] == ["money.received"]
    assert other.get(f"/api/events?after={place}").code == "invalid_cursor"
    assert person.get("/api/events?after=abc").code == "invalid_cursor"
    assert person.get("/api/events?types=money.lost").status == 422
    assert person.get("/api/events?wait=26").status == 422


def test_nobody_sees_the_events_of_others(bank: Bank, parties: tuple[Person, str, Person, str]) -> None:
    payer, from_account, _, to_account = parties
    payer.transfer(from_account, to_account, 400)

    assert types(bank.register()) == ["user.welcome"]
    assert types(bank.system) == []
    assert bank.anonymous.get("/api/events").status == 401


def test_a_block_that_commits_late_is_told_behind_what_was_read(
    bank: Bank, parties: tuple[Person, str, Person, str], under_way: UnderWay
) -> None:
    payer, from_account, payee, to_account = parties
    payer_of_7 = Customer.of(*bank.customer(1_000))
    mine = payee.open_account()
    with under_way(lambda: payer.transfer(from_account, to_account, 400)):
        # As another process, because this one's leader is in a block.
        process().post([payer_of_7.pay(Customer.of(payee, mine), 7)])[0].raise_error()
        before = read(payee)
    after = read(payee, after=before["nextAfter"])

    assert [each["data"].get("amount") for each in before["events"]][-1] == 7
    assert [each["data"]["amount"] for each in after["events"]] == [400]
    assert read(payee, after=after["nextAfter"])["events"] == []


def test_64_writers_on_two_processes_leave_no_gap_and_no_repeat(live_bank: Bank) -> None:
    people = [live_bank.customer(1_000) for _ in range(8)]
    done = threading.Event()

    def write(number: int) -> None:
        payer, account = people[number % len(people)]
        for turn in range(TRANSFERS_EACH):
            payee = people[(number + turn + 1) % len(people)][1]
            assert payer.transfer(account, payee, 1).status == 201

    def follow(person: Person) -> list[dict[str, Any]]:
        seen: list[dict[str, Any]] = []
        after = ""
        while True:
            was_done = done.is_set()
            page = read(person, after=after, limit=5)
            seen += page["events"]
            after = page["nextAfter"]
            if was_done and not page["events"]:
                return seen

    def write_all() -> list[dict[str, Any]]:
        try:
            at_once([partial(write, number) for number in range(WRITERS)])
        finally:
            done.set()
        return []

    followers: list[Callable[[], list[dict[str, Any]]]] = [partial(follow, person) for person, _ in people]
    followed = at_once([*followers, write_all])[:-1]

    for (person, account), seen in zip(people, followed, strict=True):
        assert [event["id"] for event in seen] == [event["id"] for event in events(person, limit=200)]
        moved = [event["data"]["transactionId"] for event in seen if event["type"].startswith("money.")]
        assert len(moved) == len(set(moved))
        journal = person.get(f"/api/accounts/{account}/entries?limit=200").body["entries"]
        assert moved == [entry["transactionId"] for entry in reversed(journal) if entry["transactionId"]]


@pytest.fixture
def room(app: Flask) -> Iterator[Callable[[int], None]]:
    """Set how many may wait in this process."""
    yield lambda seats: service.configure(WorkPolicy(waiting_max=seats))
    service.configure(WorkPolicy())


def test_who_waits_is_answered_when_there_is_something(bank: Bank, room: Callable[[int], None]) -> None:
    room(2)
    person, account = bank.customer()
    after = read(person, limit=200)["nextAfter"]
    begun = time.monotonic()
    timer = threading.Timer(0.2, bank.fund, (account, 5))
    timer.start()

    found = read(person, after=after, wait=25, types="money.received")["events"]
    timer.join()

    assert [event["data"]["amount"] for event in found] == [5]
    assert time.monotonic() - begun < SOON_S


def test_who_waits_in_vain_is_answered_in_the_end_and_goes_on_from_there(
    bank: Bank, room: Callable[[int], None]
) -> None:
    room(2)
    person = bank.register()
    page = read(person, limit=200)

    assert read(person, after=page["nextAfter"], wait=1) == {"events": [], "nextAfter": page["nextAfter"]}


def test_beyond_the_seats_the_answer_comes_at_once(bank: Bank, room: Callable[[int], None]) -> None:
    room(0)
    person = bank.register()
    after = read(person)["nextAfter"]
    begun = time.monotonic()

    assert read(person, after=after, wait=25)["events"] == []
    assert time.monotonic() - begun < SOON_S


def test_all_who_wait_are_served_by_one_query(
    bank: Bank, room: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    look = feed.readers_with_news

    def counted(after: Mapping[ObjectId, int]) -> set[ObjectId]:
        asked.append(len(after))
        if len(after) == len(people):
            for _, account in people:
                bank.fund(account, 5)
            feed.place()
        return look(after)

    monkeypatch.setattr(feed, "readers_with_news", counted)
    room(4)
    people = [bank.customer() for _ in range(4)]
    places = {person.id: read(person)["nextAfter"] for person, _ in people}

    begun = time.monotonic()
    pages = at_once([partial(read, person, after=places[person.id], wait=25) for person, _ in people])

    assert [[event["type"] for event in page["events"]] for page in pages] == [["money.received"]] * len(people)
    assert asked[-1] == len(people)
    # By one of them for all, and not by each for itself.
    assert len(asked) <= 1 + (time.monotonic() - begun) / LOOK_EVERY_S


def test_a_place_is_given_once_and_in_order_by_many_at_once(bank: Bank, database: Database[Document]) -> None:
    for _ in range(5):
        bank.register()
    database.feed.delete_many({})
    database.outbox.update_many({}, {"$set": {"unplaced": True}, "$unset": {"position": ""}})

    at_once([feed.place] * 8)

    positions = [each["position"] for each in database.outbox.find().sort([("causal", 1), ("_id", 1)])]
    assert positions == [1, 2, 3, 4, 5]
    assert [each["position"] for each in database.feed.find({"_id": "outbox"})] == [5]
