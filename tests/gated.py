"""The bank for a server that tests share, whose background rests while its gate is closed: `gunicorn tests.gated:app`.

The gate is a file, named by GATE in the environment. All work that no request asks for passes it with a shared lock.
The holder of the exclusive lock has waited for the work under way, and keeps other work from starting.
"""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from bson import ObjectId

from app import create_app, mongo
from app.events import service as events
from app.runtime.background import Background, Task
from app.webhooks.dispatch import Dispatcher

GATE = os.environ["GATE"]


@contextmanager
def passing(*, waits: bool) -> Iterator[bool]:
    """Pass the gate; yield whether it was open."""
    with open(GATE) as gate:
        try:
            fcntl.flock(gate, fcntl.LOCK_SH | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def gated(task: Task) -> Task:
    # Each task has a thread of its own, which sleeps at the gate: polling would cost as much as some tests.
    def run() -> float:
        with passing(waits=True):
            return task.run()

    return replace(task, run=run)


def gated_deliveries(serve: Callable[..., None]) -> Callable[..., None]:
    # These too have threads of their own, which the dispatcher's task does not wait for.
    def wait_and_serve(*arguments: Any) -> None:
        with passing(waits=True):
            serve(*arguments)

    return wait_and_serve


def gated_look(look: Callable[[Mapping[ObjectId, int]], set[ObjectId]]) -> Callable[..., set[ObjectId]]:
    # Requests that wait for events go on for a while after their clients have gone.
    def look_if_open(after: Mapping[ObjectId, int]) -> set[ObjectId]:
        with passing(waits=False) as is_open:
            return look(after) if is_open else set()

    return look_if_open


setattr(Dispatcher, "_serve", gated_deliveries(Dispatcher._serve))  # noqa: B010 -- to mypy it is a method
setattr(events, "_who_has_news", gated_look(events._who_has_news))  # noqa: B010
app = create_app()
app.extensions["background"] = Background(
    [gated(task) for task in app.extensions["background"]._tasks], is_outage=mongo.is_away
)
