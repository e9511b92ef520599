"""The places of events: a reader misses none and sees none twice, in whatever order blocks commit."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any

import pytest
from bson import ObjectId, Timestamp
from flask import Flask
from pymongo.client_session import ClientSession
from pymongo.database import Database

from app import mongo
from app.errors import LedgerBusy
from app.mongo import Document, blocks
from app.outbox import feed
from tests.api.conftest import UnderWay
from tests.background import settle
from tests.events import events, read
from tests.integration.branch import Customer, process
from tests.people import Bank, Person
from tests.threads import at_once

WRITERS, TRANSFERS_EACH = 64, 3
SOON_S = 20.0


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


def test_a_place_that_is_not_committed_is_seen_by_nobody(
    bank: Bank, database: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    person, account = bank.customer()
    settle()
    end = feed.end()
    bank.fund(account, 5)
    commit, placing, may_commit = blocks._commit, threading.Event(), threading.Event()

    def commit_late(session: ClientSession) -> None:
        placing.set()
        assert may_commit.wait(SOON_S)
        commit(session)

    monkeypatch.setattr(blocks, "_commit", commit_late)
    with ThreadPoolExecutor(1) as threads:
        placed = threads.submit(feed.place)
        assert placing.wait(SOON_S)
        seen = [told.position for told in feed.walk(ObjectId(person.id), position=end + 1, number=0)]
        # By this webhooks would be made due for what nobody can see yet.
        end_meanwhile = feed.end()
        may_commit.set()
        placed.result()

    assert (seen, end_meanwhile) == ([], end)
    assert feed.end() == end + 1
    assert [told.position for told in feed.walk(ObjectId(person.id), position=end + 1, number=0)] == [end + 1]


def test_what_gets_its_place_while_a_page_is_read_is_on_the_next_page(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, account = bank.customer()
    walk = feed.walk

    def walk_and_fund(*where: Any, **more: Any) -> Iterator[feed.Told]:
        yield from walk(*where, **more)
        monkeypatch.setattr(feed, "walk", walk)
        bank.fund(account, 5)
        feed.place()

    monkeypatch.setattr(feed, "walk", walk_and_fund)
    page = read(person)

    assert [event["type"] for event in page["events"]] == ["user.welcome", "account.opened"]
    assert [event["data"]["amount"] for event in read(person, after=page["nextAfter"])["events"]] == [5]


def test_what_readers_are_shown_cannot_be_rolled_back(app: Flask) -> None:
    # Or a place that a new primary gives to something else would be behind a reader who was there already.
    for collection in (mongo.database().outbox, mongo.database().feed):
        assert collection.read_concern.level == "majority"
        assert collection.write_concern.document["w"] == "majority"


def test_events_are_read_while_another_process_hangs_as_it_gives_places(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = bank.register()
    settle()

    def busy() -> int:
        raise LedgerBusy

    monkeypatch.setattr(feed, "place", busy)
    assert [event["type"] for event in read(person)["events"]] == ["user.welcome"]


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


def test_news_is_in_the_order_of_its_blocks_even_if_the_ids_are_not(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, account = bank.customer()
    settle()
    # As if another host, whose clock is behind, posted the second one.
    earlier, later = ObjectId(), ObjectId()
    ids = chain([later, earlier], iter(ObjectId, None))
    monkeypatch.setattr("app.outbox.repository.ObjectId", lambda: next(ids))
    for amount in (1, 2):
        bank.fund(account, amount)

    assert [event["data"]["amount"] for event in events(person) if event["type"] == "money.received"] == [1, 2]


def test_a_place_is_given_once_and_in_order_by_many_at_once(bank: Bank, database: Database[Document]) -> None:
    for _ in range(5):
        bank.register()
    settle()
    database.feed.delete_many({"_id": "outbox"})
    # What was known later has the earlier id, as from a host whose clock is behind.
    for number, document in enumerate(database.outbox.find().sort("_id", -1), 1):
        causal = {"unplaced": True, "causal": Timestamp(number, 1)}
        database.outbox.update_one({"_id": document["_id"]}, {"$set": causal, "$unset": {"position": ""}})

    at_once([feed.place] * 8)

    positions = [each["position"] for each in database.outbox.find().sort("causal", 1)]
    assert positions == [1, 2, 3, 4, 5]
    assert [each["position"] for each in database.feed.find({"_id": "outbox"})] == [5]
