"""Decides which waiting request gets the next free thread, so that a crowd of one kind delays only its own kind.

Requests wait in lanes, one for each kind. Each lane has a few threads of its own, and all lanes share the others. So
a kind is served whatever happens to the others: while the database hangs, postings and reads may hold their threads
for seconds. If there is only one kind, it has `threads` threads. Several kinds share them evenly: a free thread takes
from the lane that has the fewest threads just now.

A request is refused at once if too many of its kind wait already, and later if it has waited for WAITING_MAX_S,
because clients repeat requests that wait long, and make things worse.
Only the worker's main thread uses this, so nothing is locked.
"""

from collections import deque
from enum import Enum
from operator import attrgetter
from typing import Generic, TypeVar
from urllib.parse import unquote

Item = TypeVar("Item")

# How many requests of one kind may wait for each thread, and in total, because more threads do not answer faster. At
# worst, a transfer waits about a second behind them. Even if all lanes are full, a worker has room for connections.
WAITING_PER_THREAD = 4
WAITING_MAX = 128
# Longer than any request waits in a crowd while the bank works. The limit is for a bank that hangs.
WAITING_MAX_S = 5.0
# For this many threads, each lane has one of its own, but it has at least one.
THREADS_PER_OWN = 16
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Lane(Enum):
    """The kinds of requests that share the threads."""

    ALIVE = "is this process alive"
    PROBE = "is it fit, and how is it: these ask the database"
    SIGN_IN = "sessions and passwords"
    ADMIN = "the bank's own people"
    READ = "reads"
    WRITE = "everything else, such as postings"


_BY_PATH = {"/healthz": Lane.ALIVE, "/readyz": Lane.PROBE, "/metrics": Lane.PROBE}
_BY_START = {"/api/auth/": Lane.SIGN_IN, "/session": Lane.SIGN_IN, "/api/admin/": Lane.ADMIN}


def lane_of(method: str, path: str) -> Lane:
    """Return the lane of a request, by its head alone. The application decodes the path too."""
    path = unquote(path)
    if path in _BY_PATH:
        return _BY_PATH[path]
    for start, lane in _BY_START.items():
        if path.startswith(start):
            return lane
    return Lane.READ if method in _SAFE_METHODS else Lane.WRITE


class Lanes(Generic[Item]):
    """The requests that wait for a thread. If only one lane has requests, it has at most `threads` threads."""

    def __init__(self, threads: int) -> None:
        self._own = max(1, threads // THREADS_PER_OWN)
        self._shared = threads - self._own
        self._waiting_max = min(threads * WAITING_PER_THREAD, WAITING_MAX)
        self._lanes = {lane: _Lane[Item](lane) for lane in Lane}
        # Over all lanes: how many wait, and how many have started beyond the threads of their own lane.
        self._waiting = self._sharing = 0

    @property
    def threads(self) -> int:
        """How many threads there must be, so that every request that may start finds one at once."""
        return self._shared + self._own * len(Lane)

    def join(self, lane: Lane, item: Item, now: float) -> bool:
        """Let an item wait for its turn; return False if too many items wait in its lane already."""
        waiting = self._lanes[lane].waiting
        if len(waiting) >= self._waiting_max:
            return False
        waiting.append((now, item))
        self._waiting += 1
        return True

    def start(self) -> tuple[Lane, Item] | None:
        """Return the item whose turn it is, and count it as started; None if none waits or no thread is free."""
        if not self._waiting:
            return None
        is_shared = self._sharing < self._shared
        may_start = (lane for lane in self._lanes.values() if lane.waiting and (is_shared or lane.started < self._own))
        first = min(may_start, key=attrgetter("started"), default=None)
        if first is None:
            return None
        self._waiting -= 1
        first.started += 1
        self._sharing += first.started > self._own
        return first.kind, first.waiting.popleft()[1]

    def end(self, lane: Lane) -> None:
        """Count an item that had started as done."""
        ended = self._lanes[lane]
        self._sharing -= ended.started > self._own
        ended.started -= 1

    def take_late(self, now: float) -> list[Item]:
        """Remove the items that have waited too long, and return them."""
        late = []
        for lane in self._lanes.values():
            while lane.waiting and lane.waiting[0][0] <= now - WAITING_MAX_S:
                late.append(lane.waiting.popleft()[1])
        self._waiting -= len(late)
        return late


class _Lane(Generic[Item]):
    """The items that wait in a lane, since when, and how many have started."""

    def __init__(self, kind: Lane) -> None:
        self.kind = kind
        self.waiting: deque[tuple[float, Item]] = deque()
        self.started = 0
