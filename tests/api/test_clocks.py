"""The bank's time is its database's: a host whose clock is off writes nothing, and only settled times are final."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from bson import Int64, ObjectId
from pymongo.database import Database

from app import clock
from app.clock import SETTLING
from app.fields import rfc3339
from app.mongo import Document
from tests.people import Bank, Person, new_key

Turn = Callable[[timedelta], None]


@pytest.fixture
def turn_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Turn]:
    """Turn this host's clock by so much."""
    right = clock.now

    def turn(by: timedelta) -> None:
        monkeypatch.setattr(clock, "now", lambda: right() + by)

    yield turn
    monkeypatch.undo()


def balance_at(person: Person, account: str, moment: datetime) -> tuple[int, bool]:
    answer = person.get(f"/api/accounts/{account}/balance?{urlencode({'at': rfc3339(moment)})}")
    assert answer.status == 200, answer.content
    assert answer.body["asOf"] == rfc3339(moment)
    return answer.body["balance"], answer.body["final"]


@pytest.mark.parametrize("by", [timedelta(minutes=1), -timedelta(minutes=1), timedelta(minutes=10)])
def test_a_host_whose_clock_is_off_posts_nothing_and_says_why(bank: Bank, turn_clock: Turn, by: timedelta) -> None:
    payer, account = bank.customer(100)
    _, other = bank.customer()
    key = new_key()
    turn_clock(by)

    paid = payer.transfer(account, other, 1, key)
    opened = payer.post("/api/accounts/create", {})
    frozen = payer.post(f"/api/accounts/{other}/close")
    ready = bank.anonymous.get("/readyz")

    assert (paid.status, paid.code) == (503, "service_unavailable")
    assert opened.status == 503
    assert frozen.status in (404, 503)
    assert "retry-after" in paid.headers
    assert (ready.status, ready.code) == (503, "service_unavailable")
    side = "ahead of" if by > timedelta() else "behind"
    assert side in ready.body["detail"]
    turn_clock(timedelta())
    assert bank.anonymous.get("/readyz").status == 200
    assert payer.transfer(account, other, 1, key).status == 201


@pytest.mark.parametrize("by", [timedelta(seconds=5), -timedelta(seconds=5)])
def test_a_clock_within_the_leeway_does_not_date_what_it_posts(bank: Bank, turn_clock: Turn, by: timedelta) -> None:
    payer, account = bank.customer(100)
    _, other = bank.customer()
    turn_clock(by)

    begun = datetime.now(UTC)
    created = payer.transfer(account, other, 1).body["transaction"]["createdAt"]

    leeway = timedelta(seconds=1)
    assert begun - leeway < datetime.fromisoformat(created) < datetime.now(UTC) + leeway
    assert bank.anonymous.get("/readyz").status == 200


def test_a_balance_at_a_moment_ago_says_that_it_is_not_final(bank: Bank, database: Database[Document]) -> None:
    payer, account = bank.customer(1_000)
    head = database.ledger_entries.find_one({"account": ObjectId(account)}, sort=[("sequence", -1)])
    assert head is not None
    # A block that has begun and is not committed: its time is before that of the question.
    late = {
        **head,
        "_id": ObjectId(),
        "sequence": Int64(head["sequence"] + 1),
        "balance": Int64(600),
        "created_at": clock.now(),
    }
    with database.client.start_session() as session:
        session.start_transaction()
        database.ledger_entries.insert_one(late, session=session)
        asked_at = clock.now()
        first = balance_at(payer, account, asked_at)
        session.commit_transaction()

    assert first == (1_000, False)
    assert balance_at(payer, account, asked_at) == (600, False)


def test_a_balance_is_final_once_its_time_is_settled_or_a_later_entry_is_there(
    bank: Bank, database: Database[Document]
) -> None:
    payer, account = bank.customer(1_000)
    _, other = bank.customer()
    for n, age in enumerate((3 * SETTLING, 2 * SETTLING)):
        database.ledger_entries.update_one(
            {"account": ObjectId(account), "sequence": n}, {"$set": {"created_at": clock.now() - age}}
        )
    now = clock.now()
    assert balance_at(payer, account, now - SETTLING - timedelta(seconds=5)) == (1_000, True)
    assert balance_at(payer, account, now - SETTLING / 2) == (1_000, False)

    created = payer.transfer(account, other, 1).body["transaction"]["createdAt"]

    assert balance_at(payer, account, datetime.fromisoformat(created) - timedelta(milliseconds=1)) == (1_000, True)
    assert balance_at(payer, account, datetime.fromisoformat(created)) == (999, False)


def test_a_history_says_of_each_point_whether_it_may_still_change(bank: Bank, database: Database[Document]) -> None:
    payer, account = bank.customer(1_000)
    now, period = clock.now(), SETTLING / 2
    for n, age in enumerate((4 * period, 3 * period)):
        database.ledger_entries.update_one(
            {"account": ObjectId(account), "sequence": n}, {"$set": {"created_at": now - age}}
        )
    query = urlencode({"from": rfc3339(now - 5 * period), "to": rfc3339(now), "points": 6})

    points = payer.get(f"/api/accounts/{account}/balance/history?{query}").body["points"]

    # The account opened at the second point. The fourth is as old as what settles just now.
    assert [point["balance"] for point in points] == [0, 0, 1_000, 1_000, 1_000, 1_000]
    assert [point["final"] for point in points] == [True, True, True, True, False, False]

    payer.transfer(account, bank.customer()[1], 1)
    assert all(point["final"] for point in payer.get(f"/api/accounts/{account}/balance/history?{query}").body["points"])


def test_a_time_within_the_clocks_leeway_is_no_future(bank: Bank) -> None:
    payer, account = bank.customer(1_000)

    assert balance_at(payer, account, clock.now() + timedelta(seconds=8)) == (1_000, False)
    beyond = {"at": rfc3339(clock.now() + timedelta(minutes=1))}
    refused = payer.get(f"/api/accounts/{account}/balance?{urlencode(beyond)}")
    assert (refused.status, list(refused.body["errors"])) == (422, ["at"])


def test_the_present_balance_says_nothing_of_finality(bank: Bank) -> None:
    person, account = bank.customer(1)

    assert "final" not in person.get(f"/api/accounts/{account}/balance").body
