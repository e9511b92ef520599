"""A crowd of one kind of request: the surplus is refused at once, and everybody else is served meanwhile."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from pymongo.database import Database

from app.http.lanes import WAITING_PER_THREAD
from app.mongo import Document
from local.processes import holds_within
from tests.clients import Answer, OverHttp
from tests.integration.branch import Branch, Customer
from tests.people import Bank, Person, new_key
from tests.server import running_server

THREADS = 4
# As many as have threads and as many as may wait, and some more.
SURPLUS = 10
CROWD = THREADS + THREADS * WAITING_PER_THREAD + SURPLUS
# Others are served while every posting of the crowd is stuck, and well before a stuck one gives up.
SERVED_WITHIN_S = 15.0
POST_TIMEOUT_MS = 25_000


@pytest.fixture
def narrow_bank(mongo_uri: str, database: Database[Document]) -> Iterator[Bank]:
    """A bank with one process and few threads."""
    few = {"WEB_CONCURRENCY": "1", "THREADS": str(THREADS), "POST_TIMEOUT_MS": str(POST_TIMEOUT_MS)}
    with running_server(mongo_uri, **few) as port, closing(OverHttp(port)) as client:
        yield Bank(client)


def test_a_crowd_of_stuck_postings_keeps_nobody_else_waiting(narrow_bank: Bank, database: Database[Document]) -> None:
    asha, account = narrow_bank.customer(1_000)
    ravi, other = narrow_bank.customer(1)
    answers: list[tuple[float, Answer]] = []

    def pay() -> None:
        begun = time.monotonic()
        answer = asha.transfer(account, other, 1)
        answers.append((time.monotonic() - begun, answer))

    crowd = [threading.Thread(target=pay) for _ in range(CROWD)]
    with Branch(narrow_bank, database).blocked(Customer.of(asha, account)):
        for thread in crowd:
            thread.start()
        assert holds_within(SERVED_WITHIN_S, lambda: len(answers) >= SURPLUS - 2)
        begun = time.monotonic()
        assert narrow_bank.anonymous.get("/healthz").status == 200
        assert ravi.get(f"/api/accounts/{other}/balance").status == 200
        assert time.monotonic() - begun < SERVED_WITHIN_S
        refused = list(answers)
    for thread in crowd:
        thread.join()

    assert len(refused) >= SURPLUS - 2
    for took_s, answer in refused:
        assert (answer.status, json.loads(answer.content)["type"]) == (503, "about:blank")
        assert int(answer.headers["retry-after"]) >= 1
        assert took_s < SERVED_WITHIN_S
    posted = [answer for _, answer in answers if answer.status == 201]
    assert ravi.balance(other) == 1 + len(posted)


def test_who_was_refused_for_want_of_room_is_served_later(narrow_bank: Bank, database: Database[Document]) -> None:
    person: Person
    person, account = narrow_bank.customer(1_000)
    _, other = narrow_bank.customer()
    statuses: list[int] = []

    def insist() -> None:
        key = new_key()
        while (answer := person.transfer(account, other, 1, key)).status == 503:
            time.sleep(0.1)
        statuses.append(answer.status)

    crowd = [threading.Thread(target=insist) for _ in range(CROWD)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()

    assert len(statuses) == CROWD
    assert set(statuses) <= {200, 201}
    assert person.balance(account) == 1_000 - CROWD
