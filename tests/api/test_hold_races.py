"""Holds under races, over HTTP against two workers: only one of capture, void and expiry ever wins."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

import pytest
from pymongo.database import Database

from app.ledger.proof.verify import verify
from app.mongo import Document
from local.processes import holds_within
from tests.clients import Answer
from tests.people import Bank, Person, new_key
from tests.proof import assert_ledger_is_whole
from tests.threads import at_once

ROUNDS = 20
EXPIRY_TIMEOUT_S = 60.0


@pytest.fixture(autouse=True)
def _the_ledger_stays_sound(database: Database[Document]) -> Iterator[None]:
    """Insist that after each race the ledger proves itself, to its own verification and to another reader."""
    yield
    assert verify().faults == []
    assert_ledger_is_whole(database)


def place(payer: Person, from_account: str, to_account: str, amount: int, expires_in: int = 600) -> str:
    body = {
        "fromAccount": from_account,
        "toAccount": to_account,
        "amount": amount,
        "idempotencyKey": new_key(),
        "expiresIn": expires_in,
    }
    answer = payer.post("/api/transactions/hold", body)
    assert answer.status == 201, answer.content
    hold: str = answer.body["transaction"]["id"]
    return hold


def settle(person: Person, how: str, hold: str, key: str | None = None) -> Callable[[], Answer]:
    return lambda: person.post(f"/api/transactions/{hold}/{how}", {"idempotencyKey": key or new_key()})


@pytest.mark.parametrize("ways", [("capture", "void"), ("capture", "capture"), ("void", "void")])
def test_only_one_way_to_settle_wins(ways: tuple[str, str], live_bank: Bank) -> None:
    payer, a = live_bank.customer(ROUNDS * 10)
    payee, b = live_bank.customer()
    captured = 0
    for _ in range(ROUNDS):
        hold = place(payer, a, b, 10)

        answers = at_once([*(settle(payee, way, hold) for way in ways), settle(live_bank.system, ways[0], hold)])

        assert Counter(answer.status for answer in answers) == {200: 1, 409: 2}
        winner = next(answer for answer in answers if answer.status == 200).body["transaction"]
        captured += winner["status"] == "COMPLETED"
    assert payee.balance(b) == captured * 10
    assert payer.balance(a) == (ROUNDS - captured) * 10


@pytest.mark.parametrize("way", ["capture", "void"])
def test_what_races_with_expiry_wins_or_loses_as_a_whole(
    way: str, live_bank: Bank, database: Database[Document]
) -> None:
    payer, a = live_bank.customer(ROUNDS * 10)
    payee, b = live_bank.customer()
    holds = [place(payer, a, b, 10, expires_in=1) for _ in range(ROUNDS)]
    expiry = {str(hold["_id"]): hold["expires_at"] for hold in database.transactions.find({"kind": "HOLD"})}

    def around_expiry(hold: str, offset_ms: int, call: Callable[[], Answer]) -> Answer:
        time.sleep(max((expiry[hold] - datetime.now(UTC)).total_seconds() + offset_ms / 1000, 0))
        return call()

    # Sent early enough to win, or too late, as a request takes its time. All the money is held: a transfer that comes
    # when a hold is over has it expire at once and takes its place.
    settlements = [
        partial(around_expiry, hold, 2 * (n - ROUNDS), settle(payee, way, hold)) for n, hold in enumerate(holds)
    ]
    transfers = [partial(around_expiry, hold, 1, partial(payer.transfer, a, b, 10)) for hold in holds]
    answers = at_once([*settlements, *transfers])[:ROUNDS]

    won = sum(answer.status == 200 for answer in answers)
    assert {answer.status for answer in answers} <= {200, 409}
    assert holds_within(
        EXPIRY_TIMEOUT_S, lambda: database.transactions.count_documents({"kind": "HOLD", "status": "PENDING"}) == 0
    )
    expired = database.transactions.count_documents({"kind": "HOLD", "failure.code": "hold_expired"})
    assert won + expired == ROUNDS
    captured = won if way == "capture" else 0
    moved = database.transactions.count_documents({"kind": "TRANSFER", "status": "COMPLETED"})
    assert database.transactions.count_documents({"kind": "HOLD", "status": "COMPLETED"}) == captured
    assert payee.balance(b) == (captured + moved) * 10
    available = payer.get(f"/api/accounts/{a}/balance").body["availableBalance"]
    assert available == payer.balance(a) == (ROUNDS - captured - moved) * 10


def test_a_capture_under_one_key_happens_once(live_bank: Bank) -> None:
    payer, a = live_bank.customer(100)
    payee, b = live_bank.customer()
    hold = place(payer, a, b, 100)

    answers = at_once([settle(payee, "capture", hold, "one-key")] * 16)

    assert {answer.status for answer in answers} == {200}
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert len({answer.content for answer in answers}) == 1
    assert payee.balance(b) == 100


def test_holds_and_transfers_that_race_never_overdraw(live_bank: Bank) -> None:
    payer, a = live_bank.customer(50)
    _, b = live_bank.customer()

    def hold() -> Answer:
        body = {"fromAccount": a, "toAccount": b, "amount": 1, "idempotencyKey": new_key()}
        return payer.post("/api/transactions/hold", body)

    answers = at_once([hold, lambda: payer.transfer(a, b, 1)] * 40)

    assert Counter(answer.status for answer in answers) == {201: 50, 422: 30}
    balance = payer.get(f"/api/accounts/{a}/balance").body
    assert balance["availableBalance"] == 0


def test_the_workers_release_an_expired_hold_by_themselves(live_bank: Bank) -> None:
    payer, a = live_bank.customer(100)
    _, b = live_bank.customer()
    place(payer, a, b, 100, expires_in=1)

    def is_released() -> bool:
        return bool(payer.get(f"/api/accounts/{a}/balance").body["availableBalance"] == 100)

    assert holds_within(EXPIRY_TIMEOUT_S, is_released)


def test_one_key_on_a_batch_posts_it_once(live_bank: Bank) -> None:
    payer, a = live_bank.customer(1_000)
    payee, b = live_bank.customer()
    items = [{"fromAccount": a, "toAccount": b, "amount": 1}] * 20

    def send() -> Answer:
        return payer.post("/api/transactions/batch", {"idempotencyKey": "one", "transfers": items})

    answers = at_once([send] * 16)

    assert Counter(answer.status for answer in answers) == {201: 1, 200: 15}
    assert len({answer.content for answer in answers}) == 1
    assert payee.balance(b) == 20
