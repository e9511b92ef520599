"""Request limits, shared by all workers and hosts.

The library's fixed windows count with `LeasedCounters`. MongoDB keeps the count, and each process leases
a few numbers of it at a time, so most requests need no round trip. All processes together never exceed
a limit. Numbers that a process leased and did not use are lost to the others: a few per cent of the limit at most.
"""

import hashlib
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil

from flask import Flask, Response, current_app, g, request
from limits import RateLimitItem, parse
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter
from pymongo import ReturnDocument
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

from app.errors import RateLimited
from app.http.contract import contract_of
from app.mongo import database
from app.networks import client_network
from app.policies import HttpPolicy

EXTENSION = "fincore-rate-limits"
LEASE_SIZE_MAX = 20
# A lease is at most this fraction of its limit.
LEASES_PER_WINDOW_MIN = 30


@dataclass(slots=True)
class _Lease:
    """The numbers of a window's count that this process may still use: from `next` to `last`."""

    ends_at: float
    next: int = 1
    last: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class LeasedCounters(Storage):
    """The library's storage: counters in MongoDB, from which this process leases `lease_size` numbers at a time.

    Writes do not wait for a majority, because it does no harm if a failover loses the newest counts.
    """

    STORAGE_SCHEME = ["fincore"]

    def __init__(self, lease_size: int) -> None:
        super().__init__()
        self._lease_size = lease_size
        self._lock = threading.Lock()
        self._leases: dict[str, _Lease] = {}
        self._window = 0

    @property
    def base_exceptions(self) -> type[Exception]:
        return PyMongoError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count `amount` hits and return the last one's number in the current window; raises PyMongoError."""
        window = int(time.time() // expiry)
        lease = self._lease(key, window, ends_at=(window + 1) * expiry)
        # If a client sends requests in parallel, one of them takes the lease and the others wait for it.
        with lease.lock:
            for _ in range(amount):
                if lease.next > lease.last:
                    lease.last = self._take(f"{key}/{window}", lease.ends_at + expiry)
                    lease.next = lease.last - self._lease_size + 1
                lease.next += 1
            return lease.next - 1

    def get(self, key: str) -> int:
        lease = self._leases.get(key)
        return 0 if lease is None else lease.next - 1

    def get_expiry(self, key: str) -> float:
        lease = self._leases.get(key)
        return time.time() if lease is None else lease.ends_at

    def check(self) -> bool:
        return True

    def reset(self) -> None:
        self._leases = {}

    def clear(self, key: str) -> None:
        self._leases.pop(key, None)

    def _lease(self, key: str, window: int, *, ends_at: float) -> _Lease:
        with self._lock:
            if window != self._window:
                self._window, self._leases = window, {}
            return self._leases.setdefault(key, _Lease(ends_at))

    def _take(self, key: str, expires_at: float) -> int:
        counters = database().get_collection("rate_limits", write_concern=WriteConcern(w=1, j=False))
        row = counters.find_one_and_update(
            {"_id": {"$eq": key}},
            {
                "$inc": {"count": self._lease_size},
                "$setOnInsert": {"expires_at": datetime.fromtimestamp(expires_at, UTC)},
            },
            projection=["count"],
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        assert row is not None, "An upsert finds what it has made."
        count: int = row["count"]
        return count


class _Limit:
    """One named limit with its counters."""

    def __init__(self, name: str, rule: str) -> None:
        self.item: RateLimitItem = parse(rule)
        self._name = name
        lease_size = max(1, min(LEASE_SIZE_MAX, self.item.amount // LEASES_PER_WINDOW_MIN))
        self._limiter = FixedWindowRateLimiter(LeasedCounters(lease_size))

    def hit(self, key: str) -> tuple[bool, "_Standing"]:
        is_within = self._limiter.hit(self.item, self._name, key)
        stats = self._limiter.get_window_stats(self.item, self._name, key)
        reset_s = max(1, ceil(stats.reset_time - time.time()))
        return is_within, _Standing(self.item.amount, stats.remaining, reset_s)


@dataclass(frozen=True, slots=True)
class _Standing:
    """How much of its limit a client has left in the current window."""

    limit: int
    remaining: int
    reset_s: int


def register(app: Flask, policy: HttpPolicy) -> None:
    """Give the application its limits, or none if the policy says so."""
    rules = {
        "auth": policy.ratelimit_auth,
        "money": policy.ratelimit_money,
        "read": policy.ratelimit_read,
    }
    limits = {name: _Limit(name, rule) for name, rule in rules.items()} if policy.ratelimit_enabled else {}
    app.extensions[EXTENSION] = limits
    app.before_request(_check_anonymous)


def check(name: str, key: str) -> None:
    """Count one request of `key` under the named limit; raises RateLimited.

    If the database is away, the PyMongoError is raised and becomes a 503. The request needs
    the database anyway, so it would fail a moment later.
    """
    limit: _Limit | None = current_app.extensions[EXTENSION].get(name)
    if limit is None:
        return
    # A hash has a fixed length, and it keeps users' ids and clients' addresses out of this collection.
    is_within, standing = limit.hit(hashlib.sha256(key.encode()).hexdigest()[:32])
    g.rate_limit_standing = standing
    if not is_within:
        refusal = RateLimited(f"At most {limit.item}. Wait {standing.reset_s} seconds.")
        refusal.retry_after_seconds = standing.reset_s
        raise refusal


def check_user(user_id: str) -> None:
    """Count the current request of a verified user; raises RateLimited."""
    check(_name_for_request(), f"user:{user_id}")


def check_address() -> None:
    """Count the current request, which has no verified user, for its client's address; raises RateLimited."""
    check(_name_for_request(), f"address:{client_network(request.remote_addr or '')}")


def add_headers(response: Response) -> None:
    """Tell the client how much of its limit is left, if its request was counted."""
    standing: _Standing | None = g.get("rate_limit_standing")
    if standing is not None:
        response.headers["RateLimit-Limit"] = str(standing.limit)
        response.headers["RateLimit-Remaining"] = str(standing.remaining)
        response.headers["RateLimit-Reset"] = str(standing.reset_s)


def _name_for_request() -> str:
    if request.method in ("GET", "HEAD"):
        return "read"
    return "auth" if request.blueprint == "auth" else "money"


def _check_anonymous() -> None:
    """Count calls of the API that need no token. Where a token is needed, its check counts the call.

    Health, documents and pages are not counted.
    """
    if request.blueprint in (None, "operations") or request.method == "OPTIONS":
        return
    if contract_of(current_app.view_functions[request.endpoint or ""]).access is None:
        check_address()
