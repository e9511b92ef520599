import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from pymongo.client_session import ClientSession
from pymongo.database import Database

from app.mongo import Document, blocks, leases
from app.webhooks import attempts
from app.webhooks.dispatch import SIGN, Dispatcher
from tests.hooks import allow
from tests.people import Bank, Person
from tests.receiver import Receiver, receiving

WAIT_S = 60
UnderWay = Callable[[Callable[[], Any]], AbstractContextManager[None]]


@pytest.fixture
def parties(bank: Bank) -> tuple[Person, str, Person, str]:
    """A payer with 1,000 and a payee."""
    payer, from_account = bank.customer(1_000)
    payee, to_account = bank.customer()
    return payer, from_account, payee, to_account


@pytest.fixture
def under_way(monkeypatch: pytest.MonkeyPatch) -> UnderWay:
    """Return a context in which a call has done all but commit, which it does at the end."""
    commit = blocks._commit

    @contextmanager
    def uncommitted(call: Callable[[], Any]) -> Iterator[None]:
        done, may_commit = threading.Event(), threading.Event()

        def commit_late(session: ClientSession) -> None:
            done.set()
            assert may_commit.wait(WAIT_S)
            commit(session)

        with ThreadPoolExecutor(1) as threads:
            monkeypatch.setattr(blocks, "_commit", commit_late)
            answer = threads.submit(call)
            assert done.wait(WAIT_S)
            monkeypatch.setattr(blocks, "_commit", commit)
            try:
                yield
            finally:
                may_commit.set()
            assert answer.result().status == 201

    return uncommitted


@pytest.fixture
def loopback_is_allowed(app: Flask, database: Database[Document]) -> Iterator[None]:
    """Webhooks of this process may reach this machine, and no server that runs beside it calls them."""
    leases.give_sign(SIGN, timedelta(minutes=10))
    allow("127.0.0.0/8")
    yield
    allow()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def owner(bank: Bank) -> tuple[Person, str]:
    """A customer with an account."""
    return bank.customer(1_000)


@pytest.fixture
def no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an attempt without an answer noted at once."""
    monkeypatch.setattr(attempts, "SILENCE", timedelta())


@pytest.fixture
def deliver(database: Database[Document]) -> Iterator[Callable[[], int]]:
    """Send webhooks all that is due."""
    dispatcher = Dispatcher()
    yield dispatcher.deliver_due
    dispatcher.close()
