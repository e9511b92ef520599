from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.synchronous.pool import Connection

from app import mongo
from app.backup import create
from app.mongo import Document
from local.replica_set import ReplicaSet
from tests import first_release
from tests.background import settle
from tests.copies import Silent
from tests.integration.branch import Branch
from tests.integration.scratch import COLLECTIONS, TIMEOUT_MS, Closed
from tests.people import Bank, new_key
from tests.proof import assert_ledger_is_whole
from tests.upgrades import EMPTY_DATABASE


@pytest.fixture
def branch(bank: Bank, database: Database[Document]) -> Iterator[Branch]:
    yield Branch(bank, database)
    assert_ledger_is_whole(database)


@pytest.fixture
def as_application(mongo_uri: str, database: Database[Document]) -> Iterator[Database[Document]]:
    """The bank's database with the rights of the application."""
    with MongoClient[Document](mongo_uri, tz_aware=True) as client:
        yield client.get_default_database()


@pytest.fixture
def empty_database(replica_set: ReplicaSet, database: Database[Document]) -> Iterator[Database[Document]]:
    """A database next to the bank's, with nothing in it, with an administrator's rights."""
    with MongoClient[Document](replica_set.admin_uri, tz_aware=True) as client:
        yield client[EMPTY_DATABASE]
        client[EMPTY_DATABASE].command("dropAllUsersFromDatabase")
        client[EMPTY_DATABASE].command("dropAllRolesFromDatabase")
        client.drop_database(EMPTY_DATABASE)


@pytest.fixture
def old_database(empty_database: Database[Document]) -> Database[Document]:
    """A database of the first release, not upgraded."""
    first_release.load(empty_database)
    return empty_database


@pytest.fixture
def busy_bank(bank: Bank) -> Bank:
    """A bank in which something of everything has happened."""
    asha, savings = bank.customer(10_000)
    ravi, shop = bank.customer(500)
    for number in range(5):
        assert asha.transfer(savings, shop, 10 + number, metadata={"number": str(number)}).status == 201
    assert asha.transfer(savings, shop, 1_000_000).code == "insufficient_funds"
    body = {"fromAccount": savings, "toAccount": shop, "amount": 100}
    holds = [asha.post("/api/transactions/hold", {**body, "idempotencyKey": new_key()}).body for _ in range(2)]
    path = f"/api/transactions/{holds[0]['transaction']['id']}/capture"
    assert ravi.post(path, {"idempotencyKey": new_key()}).status == 200
    items = {"transfers": [body, body], "idempotencyKey": new_key()}
    assert asha.post("/api/transactions/batch", items).status == 201
    assert bank.anonymous.post("/api/auth/password/forgot", {"email": asha.user["email"]}).status == 202
    return bank


@pytest.fixture
def copied(busy_bank: Bank, database: Database[Document], tmp_path: Path) -> Path:
    """A complete copy of the busy bank, which stays as it is."""
    settle()
    create.create(database, tmp_path / "copy", Silent())
    return tmp_path / "copy"


@pytest.fixture
def closed() -> Closed:
    return Closed()


@pytest.fixture
def scratch(
    app: Flask, replica_set: ReplicaSet, closed: Closed, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Database[Document]]:
    """A database with empty collections and no rules, in place of the bank's."""
    listeners = mongo.client._listeners
    monkeypatch.setattr(mongo.client, "_listeners", lambda: [*listeners(), closed])
    client = mongo.new_client(replica_set.admin_uri, timeout_ms=TIMEOUT_MS, is_timed=True)
    database = client["scratch"]
    for name in COLLECTIONS:
        database.create_collection(name)
    # The bank's own client would be left open.
    mongo.close()
    mongo.use(database)
    yield database
    client.drop_database(database)
    mongo.close()


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What this process does with its connections, in order: send something, or wait for an answer."""
    done: list[str] = []
    for name, function in (("send", Connection.send_message), ("wait", Connection.receive_message)):

        def noted(self: Connection, *args: Any, name: str = name, function: Any = function) -> Any:
            done.append(name)
            return function(self, *args)

        monkeypatch.setattr(Connection, function.__name__, noted)
    return done
