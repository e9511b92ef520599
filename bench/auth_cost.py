"""What the checks of every request cost: the blocklist and the request limits, alone and as a share of a request.

    python -m bench.auth_cost

It starts a replica set of its own in a temporary directory and calls the application in process. The figures are
medians over the rounds, taken in turns; the shares are what counts, because they depend less on the machine.
"""

import secrets
import statistics
import time
from collections.abc import Callable

from flask import Flask
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage, MongoDBStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, RateLimiter

from app.auth import repository
from app.http.rate_limits import LEASE_SIZE_MAX, LeasedCounters
from bench.bank import application, bank_of, own_replica_set
from bench.extent import extent
from local.replica_set import ReplicaSet
from tests.clients import InProcess
from tests.people import Bank, new_key

ROUNDS = extent(15, brief=1)
CALLS_PER_ROUND = extent(100, brief=2)
# So high that nothing is refused: the cost of letting through is what matters.
LIMIT = RateLimitItemPerMinute(10**9)
Call = Callable[[], object]


def main() -> None:
    with own_replica_set() as (replica_set, uri):
        compare(application(uri), application(uri, is_limited=True), replica_set)


def compare(unlimited: Flask, limited: Flask, replica_set: ReplicaSet) -> None:
    bank = bank_of(unlimited)
    person, account = bank.customer(10**9)
    _, payee = bank.customer()
    in_limits = Bank(InProcess(limited)).log_in(person.user["email"])
    ids = [secrets.token_hex(16) for _ in range(3)]
    leased, single = LeasedCounters(LEASE_SIZE_MAX), LeasedCounters(1)
    limiters: dict[str, RateLimiter] = {
        "limit, library in memory": FixedWindowRateLimiter(MemoryStorage()),
        "limit, library in MongoDB": MovingWindowRateLimiter(_library_storage(replica_set.admin_uri)),
    }
    calls: dict[str, Call] = {
        "GET balance, unlimited": lambda: person.balance(account),
        "GET balance, limited": lambda: in_limits.balance(account),
        "POST transfer, unlimited": lambda: person.transfer(account, payee, 1, new_key()),
        "POST transfer, limited": lambda: in_limits.transfer(account, payee, 1, new_key()),
        f"limit, leases of {LEASE_SIZE_MAX}": lambda: leased.hit("bench", LIMIT.get_expiry()),
        "limit, a round trip each": lambda: single.hit("bench", LIMIT.get_expiry()),
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


if __name__ == "__main__":
    main()
