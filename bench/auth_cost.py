"""What the checks of every request cost: the blocklist and the request limits, alone and as a share of a request.

    python -m bench.auth_cost

It starts a replica set of its own in a temporary directory and calls the application in process. The figures are
medians over the rounds, taken in turns; the shares are what counts, because they depend less on the machine.
"""

import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from flask import Flask
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, MongoDBStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, RateLimiter

from app import create_app, mongo
from app.auth import repository
from app.auth.service import ensure_system_user
from app.http.rate_limits import LEASE_SIZE_MAX, LeasedCounters
from app.policies import AuthPolicy, HttpPolicy, MongoPolicy
from bench.extent import extent
from config import Config
from local.replica_set import ReplicaSet, provision
from tests.clients import InProcess
from tests.people import PASSWORD, SYSTEM_EMAIL, Bank, new_key

ROUNDS = extent(15, brief=1)
CALLS_PER_ROUND = extent(100, brief=2)
# So high that nothing is refused: the cost of letting through is what matters.
LIMIT = RateLimitItemPerMinute(10**9)
Call = Callable[[], object]


# What a password costs is not what is measured.
AUTH = AuthPolicy("a secret that signs nothing here", bcrypt_rounds=4)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        replica_set = ReplicaSet(Path(directory))
        replica_set.start()
        try:
            uri = provision(replica_set.admin_uri, "bench-password")
            compare(create_app(_config(uri, enabled=False)), create_app(_config(uri, enabled=True)), replica_set)
        finally:
            mongo.close()
            replica_set.stop()


def compare(unlimited: Flask, limited: Flask, replica_set: ReplicaSet) -> None:
    ensure_system_user(email=SYSTEM_EMAIL, password=PASSWORD, policy=AUTH)
    bank = Bank(InProcess(unlimited))
    person, account = bank.customer(10**9)
    _, payee = bank.customer()
    in_limits = Bank(InProcess(limited)).log_in(person.user["email"])
    ids = [secrets.token_hex(16) for _ in range(3)]
    limiters: dict[str, RateLimiter] = {
        f"limit, leases of {LEASE_SIZE_MAX}": FixedWindowRateLimiter(LeasedCounters(LEASE_SIZE_MAX)),
        "limit, a round trip each": FixedWindowRateLimiter(LeasedCounters(1)),
        "limit, library in memory": FixedWindowRateLimiter(MemoryStorage()),
        "limit, library in MongoDB": MovingWindowRateLimiter(_library_storage(replica_set.admin_uri)),
    }
    calls: dict[str, Call] = {
        "GET balance, unlimited": lambda: person.balance(account),
        "GET balance, limited": lambda: in_limits.balance(account),
        "POST transfer, unlimited": lambda: person.transfer(account, payee, 1, new_key()),
        "POST transfer, limited": lambda: in_limits.transfer(account, payee, 1, new_key()),
        "blocklist": lambda: repository.find_revocations(ids),
        **{name: _hit(limiter) for name, limiter in limiters.items()},
    }
    figures = _measure(calls)
    read, write = figures["GET balance, unlimited"], figures["POST transfer, unlimited"]
    print(f"{'':28} {'µs':>8} {'of a read':>10} {'of a transfer':>14}   (median of {ROUNDS} rounds)")
    for name, microseconds in figures.items():
        print(f"{name:28} {microseconds:8.0f} {microseconds / read:10.1%} {microseconds / write:14.1%}")


def _measure(calls: dict[str, Call]) -> dict[str, float]:
    rounds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            begun = time.perf_counter()
            for _ in range(CALLS_PER_ROUND):
                call()
            rounds[name].append((time.perf_counter() - begun) / CALLS_PER_ROUND * 1e6)
    return {name: statistics.median(of_call) for name, of_call in rounds.items()}


def _hit(limiter: RateLimiter) -> Call:
    return lambda: limiter.hit(LIMIT, "bench", "user")


def _library_storage(uri: str) -> MongoDBStorage:
    class OnOurClient(MongoDBStorage):
        """Closing the client is not its business."""

        def __del__(self) -> None:
            pass

    return OnOurClient(uri, database_name="bench", w=1)


def _config(uri: str, *, enabled: bool) -> Config:
    high = f"{10**8}/minute"
    return Config(
        mongo=MongoPolicy(uri),
        auth=AuthPolicy(secrets.token_urlsafe(48), access_lifetime=timedelta(minutes=60), bcrypt_rounds=4),
        http=HttpPolicy(ratelimit_enabled=enabled, ratelimit_auth=high, ratelimit_money=high, ratelimit_read=high),
        log_level="ERROR",
    )


if __name__ == "__main__":
    main()
