"""A schedule: tasks that run one at a time, in an order that one seed decides, on a clock of its own.

A task runs until it pauses, sleeps or waits. Which of the ready tasks goes on is one step.
"""

import hashlib
import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from greenlet import GreenletExit, greenlet

START = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
STEP_US_MIN, STEP_US_MAX = 20, 400
TRACE_KEPT_MAX = 400


class Task:
    """What runs in one process of the simulated bank, or in a client, until it is done or its process dies."""

    def __init__(self, name: str, owner: object, run: Callable[[], None], schedule: "Schedule") -> None:
        self.name = name
        self.owner = owner
        self.is_dead = False
        # When the operation under way gives up, by the schedule's clock.
        self.deadline_us: int | None = None
        # What the server may still do if the task dies while this is on its way to it.
        self.in_flight: Callable[[], None] | None = None
        # Counts the waits, so that an alarm that is left over from an earlier one is known.
        self.waits = 0
        self._greenlet = greenlet(run, schedule.hub)

    @property
    def is_done(self) -> bool:
        return bool(self._greenlet.dead)

    def resume(self) -> None:
        """Let the task go on until it pauses or is done."""
        self._greenlet.switch()

    def kill(self) -> None:
        self.is_dead = True
        if self._greenlet:
            self._greenlet.throw(GreenletExit)


class Schedule:
    """Tasks, the clock and the chance of one simulated world, and a trace of all that happens in it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.hub = greenlet.getcurrent()
        self.current: Task | None = None
        self.now_us = 0
        self.steps = 0
        self.trace: deque[str] = deque(maxlen=TRACE_KEPT_MAX)
        self._digest = hashlib.sha256()
        self._ready: list[Task] = []
        self._alarms: list[tuple[int, int, int, Task]] = []
        self._alarm_number = 0

    def start(self, name: str, owner: object, run: Callable[[], None]) -> Task:
        task = Task(name, owner, run, self)
        self._ready.append(task)
        return task

    def step(self) -> None:
        """Let one of the ready tasks go on, or let time pass until one is ready."""
        self.steps += 1
        self.now_us += self.chance.randrange(STEP_US_MIN, STEP_US_MAX)
        if not self._ready and self._alarms:
            self.now_us = max(self.now_us, self._alarms[0][0])
        while self._alarms and self._alarms[0][0] <= self.now_us:
            _, _, waits, task = heapq.heappop(self._alarms)
            if task.waits == waits and not task.is_dead:
                self.wake(task)
        if not self._ready:
            return
        position = self.chance.randrange(len(self._ready))
        self._ready[position], self._ready[-1] = self._ready[-1], self._ready[position]
        self.current = task = self._ready.pop()
        task.resume()
        self.current = None

    def pause(self) -> None:
        """Let others run first."""
        task = self._running()
        self._ready.append(task)
        self._yield(task)

    def sleep(self, seconds: float) -> None:
        """Go on after this time, or as soon as somebody wakes the task."""
        task = self._running()
        task.waits += 1
        self._set_alarm(task, seconds)
        self._yield(task)

    def wake(self, task: Task) -> None:
        """Make a task ready that sleeps or waits."""
        task.waits += 1
        self._ready.append(task)

    def kill(self, task: Task) -> None:
        """End a task where it is. What it still does on its way out reaches nobody."""
        if task in self._ready:
            self._ready.remove(task)
        task.waits += 1
        before, self.current = self.current, task
        task.kill()
        self.current = before

    def note(self, what: str) -> None:
        """Add a line to the trace."""
        line = f"{self.steps} {self.now_us} {self.current.name if self.current else '-'}: {what}"
        self.trace.append(line)
        self._digest.update(line.encode())

    @property
    def digest(self) -> str:
        """The SHA-256 of the whole trace."""
        return self._digest.hexdigest()

    @property
    def now(self) -> datetime:
        """The true time."""
        return START + timedelta(microseconds=self.now_us)

    def happens(self, rate: float) -> bool:
        return rate > 0 and self.chance.random() < rate

    def _running(self) -> Task:
        assert self.current is not None, "Only a task can wait."
        if self.current.is_dead:
            raise GreenletExit
        return self.current

    def _yield(self, task: Task) -> None:
        self.hub.switch()
        if task.is_dead:
            raise GreenletExit

    def _set_alarm(self, task: Task, seconds: float) -> None:
        # The first one wins a tie, so no two tasks are ever compared.
        self._alarm_number += 1
        heapq.heappush(self._alarms, (self.now_us + int(seconds * 1_000_000), self._alarm_number, task.waits, task))


class Event:
    """What `threading.Event` is to threads, for tasks."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._is_set = False
        self._waiting: list[tuple[Task, int]] = []

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True
        for task, waits in self._waiting:
            if task.waits == waits and not task.is_dead:
                self._schedule.wake(task)
        self._waiting.clear()

    def wait(self, timeout: float) -> bool:
        if not self._is_set:
            task = self._schedule._running()
            self._waiting.append((task, task.waits + 1))
            self._schedule.sleep(timeout)
        return self._is_set


class Lock:
    """What `threading.Lock` is to threads, for tasks. At most one task waits for it."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._is_locked = False
        self._freed = Event(schedule)

    def locked(self) -> bool:
        return self._is_locked

    def acquire(self, timeout: float = 0.0) -> bool:
        if self._is_locked:
            self._freed.wait(timeout)
        if self._is_locked:
            return False
        self._is_locked, self._freed = True, Event(self._schedule)
        return True

    def release(self) -> None:
        self._is_locked = False
        self._freed.set()

    def __enter__(self) -> None:
        assert self.acquire(), "A task paused while it held the lock."

    def __exit__(self, *_: object) -> None:
        self.release()


class Clock:
    """Stands for the module `time` in the code under simulation."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    def monotonic(self) -> float:
        return self._schedule.now_us / 1_000_000

    def time(self) -> float:
        return self._schedule.now.timestamp()

    def sleep(self, seconds: float) -> None:
        self._schedule.sleep(seconds)

    @contextmanager
    def timeout(self, seconds: float) -> Iterator[None]:
        """Stands for `pymongo.timeout`."""
        task = self._schedule.current
        assert task is not None
        before = task.deadline_us
        until = self._schedule.now_us + int(seconds * 1_000_000)
        task.deadline_us = until if before is None else min(before, until)
        try:
            yield
        finally:
            task.deadline_us = before
