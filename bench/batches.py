"""Transfers per second over HTTP in batches of 500, against single requests on one connection, in one run.

Run it from the top of the project: `python -m bench.batches`.
"""

import statistics
import tempfile
import time
from pathlib import Path

from app import mongo
from app.auth.service import ensure_system_user
from app.policies import AuthPolicy, MongoPolicy
from bench.extent import extent
from local.replica_set import ReplicaSet, provision
from tests.clients import OverHttp
from tests.people import PASSWORD, SYSTEM_EMAIL, Bank, Person, new_key
from tests.server import running_server

ROUNDS = extent(7, brief=1)
BATCH_SIZE = 500
SINGLES = extent(100, brief=2)


# What a password costs is not what is measured.
AUTH = AuthPolicy("a secret that signs nothing here", bcrypt_rounds=4)


def batches_per_second(payer: Person, a: str, b: str) -> float:
    items = [{"fromAccount": a, "toAccount": b, "amount": 1}] * BATCH_SIZE
    begun = time.perf_counter()
    answer = payer.post("/api/transactions/batch", {"idempotencyKey": new_key(), "transfers": items})
    assert answer.status == 201, answer.content
    return BATCH_SIZE / (time.perf_counter() - begun)


def singles_per_second(payer: Person, a: str, b: str) -> float:
    begun = time.perf_counter()
    for _ in range(SINGLES):
        assert payer.transfer(a, b, 1).status == 201
    return SINGLES / (time.perf_counter() - begun)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        replica_set = ReplicaSet(Path(directory))
        replica_set.start()
        uri = provision(replica_set.admin_uri, "bench-password")
        mongo.connect(MongoPolicy(uri, timeout_ms=4_000))
        ensure_system_user(email=SYSTEM_EMAIL, password=PASSWORD, policy=AUTH)
        with running_server(uri) as port:
            client = OverHttp(port)
            bank = Bank(client)
            payer, a = bank.customer(10_000_000)
            _, b = bank.customer()
            rounds = [(batches_per_second(payer, a, b), singles_per_second(payer, a, b)) for _ in range(ROUNDS)]
            client.close()
        mongo.close()
        replica_set.stop()
    batched, single = (statistics.median(values) for values in zip(*rounds, strict=True))
    print(f"batches of {BATCH_SIZE}: {batched:,.0f} transfers/s")
    print(f"one by one: {single:,.0f} transfers/s, ratio {batched / single:.1f}")


if __name__ == "__main__":
    main()
