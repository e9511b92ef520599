"""What the processes of a drill use, and a limit for it."""

import itertools
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from tests.server import MASTERS, children, workers_of

LOOK_S = 0.5


class Governor:
    """Keeps the processor time of this process and all it started below a share of one core."""

    def __init__(self, share: float | None, over: threading.Event) -> None:
        self._share, self._over = share, over
        self._lock = threading.Lock()
        self._looked_at, self._spent_s, self._free_at = 0.0, 0.0, 0.0

    def wait(self) -> None:
        """Wait until there is processor time left."""
        while self._share is not None and not self._over.is_set():
            with self._lock:
                now = time.monotonic()
                if now - self._looked_at > LOOK_S:
                    spent_s = sum(map(processor_s, family(os.getpid())))
                    if self._looked_at:
                        # Time that was used is repaid by waiting. Unused time is forgotten after a second.
                        owed_s = max(0.0, spent_s - self._spent_s) / self._share
                        self._free_at = max(self._free_at, now - 1.0) + owed_s
                    self._looked_at, self._spent_s = now, spent_s
                left_s = self._free_at - now
            if left_s <= 0:
                return
            self._over.wait(min(left_s, LOOK_S))


def family(pid: int) -> list[int]:
    return [pid, *itertools.chain.from_iterable(map(family, children(pid)))]


def workers_of_this_process() -> list[int]:
    """Return the workers of the gunicorn that this process has started."""
    return [worker for port in MASTERS for worker in workers_of(port)]


def processor_s(pid: int) -> float:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def weigh(pid: int) -> dict[str, int]:
    """Return a process's resident memory in kB and its number of descriptors and threads."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = {name: value.split()[0] for name, _, value in (line.partition(":") for line in lines) if value.split()}
    return {
        "memory_kb": int(found["VmRSS"]),
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "threads": int(found["Threads"]),
    }
