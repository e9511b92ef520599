"""Requests that wait for events."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from bson import ObjectId
from flask import Flask

from app import clock, mongo
from app.events import service
from app.events.waiting import LOOK_EVERY_S
from app.outbox import feed, messages
from app.outbox import repository as outbox
from app.settings.policies import WorkPolicy
from local.processes import holds_within
from tests.events import read
from tests.people import Bank
from tests.threads import at_once

# Well below what they would wait for.
SOON_S = 20.0


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


def number_of_waiting() -> int:
    return sum(map(len, list(service._room._behind.values())))


def test_who_waits_is_answered_when_the_process_stops(bank: Bank, room: Callable[[int], None]) -> None:
    room(4)
    person = bank.register()
    page = read(person)
    begun = time.monotonic()
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(read, person, after=page["nextAfter"], wait=service.WAIT_MAX_S) for _ in range(2)]
        assert holds_within(SOON_S, lambda: number_of_waiting() == len(waiting))

        service.end_waiting()

        assert [each.result() for each in waiting] == [{"events": [], "nextAfter": page["nextAfter"]}] * 2
    # And nobody begins to wait.
    assert read(person, after=page["nextAfter"], wait=service.WAIT_MAX_S)["events"] == []
    assert time.monotonic() - begun < SOON_S


def test_a_session_that_ends_while_its_request_waits_is_told_nothing(bank: Bank, room: Callable[[int], None]) -> None:
    room(2)
    person, account = bank.customer()
    after = read(person, limit=200)["nextAfter"]
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(person.get, f"/api/events?after={after}&wait={service.WAIT_MAX_S}")
        assert holds_within(SOON_S, lambda: number_of_waiting() == 1)
        assert person.post("/api/auth/logout").status == 200
        bank.fund(account, 5)

        answer = waiting.result()
    assert (answer.status, answer.code) == (401, "token_revoked")


def test_news_that_makes_no_event_wakes_nobody_twice(
    bank: Bank, room: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    room(2)
    person = bank.register()
    letter = messages.webhook_disabled(ObjectId(person.id), host="shop.example", reason="gone", at=clock.now())
    mongo.atomically(lambda session: outbox.insert([letter], session))
    looks: list[int] = []
    look = service.look

    def counted(*query: Any) -> service.Page:
        looks.append(1)
        return look(*query)

    monkeypatch.setattr(service, "look", counted)
    after = read(person)["nextAfter"]
    assert read(person, after=after, wait=1)["events"] == []
    assert len(looks) == 2


def test_one_user_takes_half_of_the_seats_at_most(bank: Bank, room: Callable[[int], None]) -> None:
    room(4)
    greedy, other = bank.register(), bank.register()
    places = {person.id: read(person)["nextAfter"] for person in (greedy, other)}
    begun = time.monotonic()
    with ThreadPoolExecutor(3) as threads:
        for number, person in enumerate((greedy, greedy, other), 1):
            threads.submit(read, person, after=places[person.id], wait=service.WAIT_MAX_S)
            assert holds_within(SOON_S, lambda number=number: number_of_waiting() == number)  # type: ignore[misc]

        assert read(greedy, after=places[greedy.id], wait=service.WAIT_MAX_S)["events"] == []

        service.end_waiting()
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
