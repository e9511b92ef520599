"""Request limits, shared by all workers and hosts.

Requests are counted in fixed windows. MongoDB keeps the count, and each process leases
a few numbers of it at a time, so most requests need no round trip. All processes together never exceed
a limit. Numbers that a process leased and did not use are lost to the others: a few per cent of the limit at most.
"""

import hashlib
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil

from flask import Flask
from limits import RateLimitItem, parse
from pymongo import ReturnDocument
from pymongo.write_concern import WriteConcern

from app.errors import RateLimited
from app.http.contract import contract_of
from app.http.incoming import Incoming, Standing, application
from app.mongo import database
from app.networks import client_network
from app.settings.policies import HttpPolicy

EXTENSION = "fincore-rate-limits"
LEASE_SIZE_MAX = 20
# A lease is at most this fraction of its limit.
LEASES_PER_WINDOW_MIN = 30
# The blueprints of health, documents and pages. None: no route was found.
_UNCOUNTED = (None, "operations", "service", "web")
# The blueprints that check passwords and continue sessions.
_OF_SESSIONS = ("auth", "session")


@dataclass(slots=True)
class _Lease:
    """The numbers of a window's count that this process may still use: from `next` to `last`."""

    ends_at: float
    next: int = 1
    last: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class LeasedCounters:
    """Counters in MongoDB, from which this process leases `lease_size` numbers at a time.

    Writes do not wait for a majority, because it does no harm if a failover loses the newest counts.
    """

    def __init__(self, lease_size: int) -> None:
        self._lease_size = lease_size
        self._lock = threading.Lock()
        self._leases: dict[str, _Lease] = {}
        self._window = 0

    def hit(self, key: str, window_s: int) -> tuple[int, float]:
        """Count a hit; return its number in the current window, and when the window ends. Raises PyMongoError."""
        window = int(time.time() // window_s)
        lease = self._lease(key, window, ends_at=(window + 1) * window_s)
        # If a client sends requests in parallel, one of them takes the lease and the others wait for it.
        with lease.lock:
            if lease.next > lease.last:
                lease.last = self._take(f"{key}/{window}", lease.ends_at + window_s)
                lease.next = lease.last - self._lease_size + 1
            lease.next += 1
            return lease.next - 1, lease.ends_at

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
        self._window_s = self.item.get_expiry()
        self._counters = LeasedCounters(max(1, min(LEASE_SIZE_MAX, self.item.amount // LEASES_PER_WINDOW_MIN)))

    def hit(self, key: str) -> tuple[bool, Standing]:
        """Count a hit; return whether it is within the limit, and where the client stands now."""
        number, ends_at = self._counters.hit(self.item.key_for(self._name, key), self._window_s)
        limit = self.item.amount
        return number <= limit, Standing(limit, max(0, limit - number), max(1, ceil(ends_at - time.time())))


def register(app: Flask, policy: HttpPolicy) -> None:
    """Give the application its limits, or none if the policy says so."""
    rules = {
        "auth": policy.ratelimit_auth,
        "money": policy.ratelimit_money,
        "read": policy.ratelimit_read,
        "lookup": policy.ratelimit_lookup,
    }
    limits = {name: _Limit(name, rule) for name, rule in rules.items()} if policy.ratelimit_enabled else {}
    app.extensions[EXTENSION] = limits


def check_user(incoming: Incoming, user_id: str) -> None:
    """Count a request with a verified user; raises RateLimited."""
    _check(incoming, f"user:{user_id}")


def check_address(incoming: Incoming) -> None:
    """Count a request without a verified user, for its client's address; raises RateLimited."""
    _check(incoming, f"address:{client_network(incoming.remote_addr or '')}")


def check_anonymous(incoming: Incoming) -> None:
    """Count a call of the API that needs no token. The check of the token counts all other calls.

    Health, documents and pages are not counted. Raises RateLimited.
    """
    if incoming.endpoint is None or incoming.method == "OPTIONS":
        return
    needs_no_token = contract_of(application().view_functions[incoming.endpoint]).access is None
    if needs_no_token and incoming.blueprint not in _UNCOUNTED:
        check_address(incoming)


def _check(incoming: Incoming, key: str) -> None:
    """Count one request of `key` under the limit for such requests.

    If the database is away, the PyMongoError is raised and becomes a 503. The request needs
    the database anyway, so it would fail a moment later.
    """
    limits = application().extensions[EXTENSION]
    if not limits:
        return
    limit: _Limit = limits[_name_for(incoming)]
    # A hash has a fixed length, and it keeps users' ids and clients' addresses out of this collection.
    is_within, incoming.standing = limit.hit(hashlib.sha256(key.encode()).hexdigest()[:32])
    if not is_within:
        refusal = RateLimited(f"At most {limit.item}. Wait {incoming.standing.reset_s} seconds.")
        refusal.retry_after_seconds = incoming.standing.reset_s
        raise refusal


def _name_for(incoming: Incoming) -> str:
    own = contract_of(application().view_functions[incoming.endpoint or ""]).limit
    if own is not None:
        return own
    if incoming.method in ("GET", "HEAD"):
        return "read"
    return "auth" if incoming.blueprint in _OF_SESSIONS else "money"


def headers(incoming: Incoming) -> list[tuple[str, str]]:
    """Return the headers that tell the client how much of its limit is left, if its request was counted."""
    standing = incoming.standing
    if standing is None:
        return []
    return [
        ("RateLimit-Limit", str(standing.limit)),
        ("RateLimit-Remaining", str(standing.remaining)),
        ("RateLimit-Reset", str(standing.reset_s)),
    ]
