"""Background tasks: called again and again, whatever they raise, until they are stopped."""

import threading

import pytest
from structlog.testing import CapturingLogger

from app.runtime.background import Background, Task

TIMEOUT_S = 30.0


def never(error: Exception) -> bool:
    return False


def test_a_task_is_called_again_after_the_pause_it_asks_for() -> None:
    third_call = threading.Event()
    calls: list[int] = []

    def run() -> float:
        calls.append(len(calls))
        if len(calls) == 3:
            third_call.set()
            return 3600.0
        return 0.0

    background = Background([Task("counting", run)], is_outage=never)
    background.start()

    assert third_call.wait(TIMEOUT_S)
    background.stop()
    assert calls == [0, 1, 2]


def test_stopping_waits_for_what_is_under_way_and_ends_the_threads() -> None:
    begun, finish = threading.Event(), threading.Event()
    finished: list[bool] = []

    def run() -> float:
        begun.set()
        finish.wait(TIMEOUT_S)
        finished.append(True)
        return 0.0

    background = Background([Task("slow", run)], is_outage=never)
    background.start()
    assert begun.wait(TIMEOUT_S)
    threading.Timer(0.02, finish.set).start()

    background.stop()

    assert finished == [True]
    assert "slow" not in {thread.name for thread in threading.enumerate()}


def test_stopping_tells_each_task_once() -> None:
    told: list[str] = []
    names = ("first", "second")
    tasks = [Task(name, lambda: 3600.0, lambda name=name: told.append(name)) for name in names]  # type: ignore[misc]
    background = Background(tasks, is_outage=never)
    background.start()

    background.stop()

    assert told == ["first", "second"]


def test_a_row_of_failures_is_told_once_and_a_new_kind_of_failure_again(monkeypatch: pytest.MonkeyPatch) -> None:
    told = CapturingLogger()
    monkeypatch.setattr("app.runtime.background.log", told)
    kinds: list[type[Exception]] = [ValueError, ValueError, KeyError, KeyError, ValueError]
    over = threading.Event()

    def run() -> float:
        if not kinds:
            over.set()
            return 3600.0
        raise kinds.pop(0)

    background = Background([Task("failing", run)], is_outage=never, pause_after_failure_s=0)
    background.start()
    assert over.wait(TIMEOUT_S)
    background.stop()

    assert [type(call.kwargs["exc_info"]) for call in told.calls] == [ValueError, KeyError, ValueError]
