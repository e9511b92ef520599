"""Which waiting request gets the next free thread, so that a crowd of one kind keeps nobody else waiting.

Requests wait in lanes, one for each kind. A thread that is free takes from the lane that has the fewest threads just
now. So a kind that comes alone has nearly all threads, and kinds that come together share them evenly. A few threads
are kept from each kind, because postings may hold theirs for seconds while the database hangs, and reads and probes go
on. A lane has a limit: who comes when it is full is refused at once, because a request that waits for long is repeated
and makes things worse.
Only the worker's main thread uses this, so nothing is locked.
"""

from collections import Counter, deque
from enum import Enum
from typing import Generic, TypeVar

Item = TypeVar("Item")

# How many requests of one kind may wait for each thread. At the slowest, a transfer waits about a second behind them.
WAITING_PER_THREAD = 4
# How many more requests than there are threads are handed over, so that a thread need not wait for the main thread.
AHEAD = 2
# For every so many threads, one is kept from each kind, but one at least.
THREADS_PER_KEPT = 16
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})


class Lane(Enum):
    """The kinds of requests that share the threads."""

    PROBE = "is this process alive"
    SIGN_IN = "sessions and passwords"
    READ = "reads"
    WRITE = "everything else, such as postings"


def lane_of(method: str, path: str) -> Lane:
    """Return the lane of a request, by its head alone."""
    if path in _PROBES:
        return Lane.PROBE
    if path.startswith(("/api/auth/", "/session")):
        return Lane.SIGN_IN
    return Lane.READ if method in _SAFE_METHODS else Lane.WRITE


class Lanes(Generic[Item]):
    """The requests that wait for one of `threads` threads."""

    def __init__(self, threads: int) -> None:
        self._started_max = threads + AHEAD
        self._lane_max = max(1, threads - max(1, threads // THREADS_PER_KEPT))
        self._waiting_max = threads * WAITING_PER_THREAD
        self._waiting: dict[Lane, deque[Item]] = {lane: deque() for lane in Lane}
        self._started: Counter[Lane] = Counter()

    def join(self, lane: Lane, item: Item) -> bool:
        """Let an item wait for its turn; return False if too many wait in its lane."""
        if len(self._waiting[lane]) >= self._waiting_max:
            return False
        self._waiting[lane].append(item)
        return True

    def start(self) -> tuple[Lane, Item] | None:
        """Return whose turn it is, and count it as started; None if nobody waits or no thread is free."""
        if self._started.total() >= self._started_max:
            return None
        waiting = [lane for lane in Lane if self._waiting[lane] and self._started[lane] < self._lane_max]
        if not waiting:
            return None
        lane = min(waiting, key=self._started.__getitem__)
        self._started[lane] += 1
        return lane, self._waiting[lane].popleft()

    def end(self, lane: Lane) -> None:
        """Count an item that had started as done."""
        self._started[lane] -= 1
