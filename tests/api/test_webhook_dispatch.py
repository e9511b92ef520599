"""The cost of webhooks in a bank in which nobody has one."""

import pytest
from pymongo.database import Database

from app.mongo import Document
from app.outbox import feed
from app.webhooks import dispatch, repository
from app.webhooks.dispatch import Dispatcher
from tests.asked import commands
from tests.people import Bank


def test_the_feed_is_left_alone_while_nobody_has_a_webhook(bank: Bank, database: Database[Document]) -> None:
    dispatcher = Dispatcher()
    dispatcher.turn()
    bank.customer(100)
    with commands(database) as sent:
        assert dispatcher.turn() == dispatch.NOBODY_PAUSE_S
    touched = {each["ns"].partition(".")[2] for each in sent}
    assert "webhooks" in touched
    assert touched.isdisjoint({"feed", "outbox"})


def test_the_first_webhook_finds_no_backlog(
    bank: Bank, database: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "SPREAD_MAX", 1)
    _, account = bank.customer(100)
    for _ in range(3):
        bank.fund(account, 1)
    feed.place()
    with commands(database) as sent:
        Dispatcher().turn()

    assert repository.find_spread() == feed.end()
    # Not an event at a time, though others that pass over the same ones may have been first.
    assert len([each for each in sent if each["op"] == "update" and each["ns"].endswith(".feed")]) <= 1
