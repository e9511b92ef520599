"""A process that is killed while it calls webhooks loses no event, whatever step it was at."""

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from pymongo.database import Database

from app import clock
from app.mongo import Document
from app.outbox import feed
from app.webhooks import attempts, dispatch, outgoing, repository
from tests.hooks import deliveries, made
from tests.people import Bank, Person
from tests.receiver import Receiver

pytestmark = pytest.mark.usefixtures("loopback_is_allowed")


class Killed(BaseException):
    """Nothing that the process would have done comes after this."""


def die(*_: Any, **__: Any) -> None:
    raise Killed


def dying_after(step: Callable[..., Any]) -> Callable[..., Any]:
    def do(*arguments: Any, **more: Any) -> Any:
        step(*arguments, **more)
        raise Killed

    return do


@pytest.mark.parametrize(
    ("module", "step", "arrives"),
    [
        (feed, "place", 1),
        (dispatch, "spread", 1),
        (repository, "claim", 1),
        # In its block, which is undone.
        (repository, "insert_deliveries", 1),
        (dispatch, "take_news", 1),
        # It was sent, and nobody knows, so it is sent once more.
        (outgoing, "post", 2),
        (repository, "note_attempt", 2),
        (attempts, "attempt", 1),
    ],
)
def test_what_a_killed_process_had_is_sent_by_the_next_one(
    module: ModuleType,
    step: str,
    arrives: int,
    owner: tuple[Person, str],
    receiver: Receiver,
    deliver: Callable[[], int],
    bank: Bank,
    database: Database[Document],
) -> None:
    person, account = owner
    webhook, _ = made(person, receiver.url)
    deliver()
    bank.fund(account, 1)
    bank.fund(account, 2)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, step, dying_after(getattr(module, step)))
        patched.setattr(repository, "release", die)
        with pytest.raises(Killed):
            deliver()
    # When its lease is over.
    database.webhooks.update_many({"not_before": {"$exists": True}}, {"$set": {"not_before": clock.now()}})

    deliver()

    amounts = [json.loads(each.body)["data"]["amount"] for each in receiver.received]
    assert amounts == [1] * arrives + [2]
    assert len({each.id for each in receiver.received}) == 2
    assert [each["status"] for each in deliveries(person, webhook)] == ["DELIVERED"] * 2


def test_an_attempt_without_an_answer_outlives_the_process_that_made_it(
    owner: tuple[Person, str], deliver: Callable[[], int], bank: Bank, database: Database[Document]
) -> None:
    person, account = owner
    webhook, _ = made(person, "http://127.0.0.1:49999/")
    bank.fund(account, 1)
    deliver()
    database.webhooks.update_many({}, {"$set": {"not_before": clock.now(), "due_at": clock.now()}})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(attempts, "note_unanswered", die)
        patched.setattr(repository, "release", die)
        with pytest.raises(Killed):
            deliver()
    database.webhooks.update_many({}, {"$set": {"not_before": clock.now()}})

    deliver()

    (delivery,) = deliveries(person, webhook)
    assert [each["error"] for each in delivery["attempts"]] == ["could not be reached"]
