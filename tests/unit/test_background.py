"""Background tasks: called again and again, whatever they raise, until they are stopped."""

import threading

from app.background import Background, Task

TIMEOUT_S = 5.0


def test_a_task_is_called_again_after_the_pause_it_asks_for() -> None:
    third_call = threading.Event()
    calls: list[int] = []

    def run() -> float:
        calls.append(len(calls))
        if len(calls) == 3:
            third_call.set()
            return 3600.0
        return 0.0

    background = Background([Task("counting", run)])
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

    background = Background([Task("slow", run)])
    background.start()
    assert begun.wait(TIMEOUT_S)
    threading.Timer(0.02, finish.set).start()

    background.stop()

    assert finished == [True]
    assert "slow" not in {thread.name for thread in threading.enumerate()}
