"""MongoDB is killed and restarted between two steps of a block, and cannot be connected to for a moment.

The block must happen wholly or not at all. A driver that began it again with its next step would commit the rest of it.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from app import mongo
from app.auth.service import ensure_system_user
from app.ledger import repository
from app.ledger.proof.verify import verify
from app.mongo import blocks
from app.settings.policies import MongoPolicy
from config import Config
from local.replica_set import ReplicaSet, provision
from tests.clients import InProcess
from tests.conftest import AUTH, PATIENCE_MS
from tests.integration.scratch import refuse_the_next_connection
from tests.people import PASSWORD, SYSTEM_EMAIL, Bank, new_key

STEPS: dict[str, tuple[Any, str]] = {
    "read": (repository, "find"),
    "inserts": (mongo, "insert_all"),
    "updates": (repository, "update_transactions"),
    "commit": (blocks, "_commit"),
}


@pytest.fixture
def own_set(tmp_path: Path) -> Iterator[ReplicaSet]:
    replica_set = ReplicaSet(tmp_path)
    replica_set.start()
    yield replica_set
    replica_set.kill()


@pytest.fixture
def bank(app: Flask, config: Config, own_set: ReplicaSet) -> Iterator[Bank]:
    """The bank of this process on a MongoDB of its own."""
    uri = provision(own_set.admin_uri, "application-password")
    mongo.connect(MongoPolicy(uri, timeout_ms=PATIENCE_MS))
    ensure_system_user(email=SYSTEM_EMAIL, password=PASSWORD, policy=AUTH)
    yield Bank(InProcess(app))
    mongo.connect(config.mongo)


@pytest.mark.parametrize(("place", "name"), STEPS.values(), ids=STEPS)
def test_a_capture_during_which_the_database_restarts_is_whole(
    bank: Bank, own_set: ReplicaSet, monkeypatch: pytest.MonkeyPatch, place: Any, name: str
) -> None:
    asha, savings = bank.customer(1_000)
    ravi, shop = bank.customer()
    body = {"fromAccount": savings, "toAccount": shop, "amount": 300, "idempotencyKey": new_key()}
    hold = asha.post("/api/transactions/hold", body).body["transaction"]["id"]
    restarts = 0

    def restart() -> None:
        nonlocal restarts
        restarts += 1
        own_set.kill()
        own_set.start()

    step: Callable[..., Any] = getattr(place, name)
    with ExitStack() as stack:

        def interrupted(*args: Any, **options: Any) -> Any:
            monkeypatch.setattr(place, name, step)
            refuse_the_next_connection(mongo.database(), stack, monkeypatch, restart)
            return step(*args, **options)

        monkeypatch.setattr(place, name, interrupted)
        answer = ravi.post(f"/api/transactions/{hold}/capture", {"idempotencyKey": new_key()})

    assert restarts == 1
    assert answer.status == 200, answer
    assert (asha.balance(savings), ravi.balance(shop)) == (700, 300)
    assert verify().faults == []
