"""Lines of the log: each is written once and whole, by whichever thread, and no thread writes for others for long."""

import io
import threading
from typing import Any

import pytest

from app.telemetry.logs import WRITES_FOR_OTHERS_MAX, Lines


class _Held(io.BytesIO):
    """A file in which each writing takes as long as the test wants: it says that it began, and waits to be let go."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)

    def write(self, data: Any) -> int:
        self.begun.release()
        self.let_go.acquire()
        return super().write(data)


def _says(lines: Lines, text: bytes) -> threading.Thread:
    thread = threading.Thread(target=lines.msg, args=(text,), daemon=True)
    thread.start()
    return thread


def test_what_comes_while_a_thread_writes_is_written_by_that_thread() -> None:
    file = _Held()
    lines = Lines(file)
    writer = _says(lines, b"first")
    file.begun.acquire()
    for text in (b"second", b"third"):
        lines.msg(text)  # does not wait, though the first is not written
    file.let_go.release(2)
    writer.join()
    assert file.getvalue() == b"first\nsecond\nthird\n"


def test_a_thread_stops_writing_for_others_and_the_next_one_goes_on() -> None:
    file = _Held()
    lines = Lines(file)
    writer = _says(lines, b"0")
    for number in range(1, WRITES_FOR_OTHERS_MAX + 1):
        file.begun.acquire()
        lines.msg(b"%d" % number)
        file.let_go.release()
    file.begun.acquire()
    # Its last writing is under way. Who comes now has to write for itself.
    late = _says(lines, b"late")
    file.let_go.release()
    writer.join()
    file.let_go.release()
    late.join()
    assert file.getvalue().split() == [*(b"%d" % number for number in range(WRITES_FOR_OTHERS_MAX + 1)), b"late"]


def test_no_line_of_many_threads_is_lost_or_torn() -> None:
    file = io.BytesIO()
    lines = Lines(file)

    def say(who: int) -> None:
        for number in range(200):
            lines.msg(b"%d/%d" % (who, number))

    threads = [threading.Thread(target=say, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(file.getvalue().split()) == sorted(b"%d/%d" % (who, n) for who in range(8) for n in range(200))


def test_a_log_that_cannot_be_written_fails_its_writer_and_lets_the_next_one_try() -> None:
    class Full(io.BytesIO):
        is_full = True

        def write(self, data: Any) -> int:
            if self.is_full:
                raise OSError("full")
            return super().write(data)

    file = Full()
    lines = Lines(file)
    with pytest.raises(OSError, match="full"):
        lines.msg(b"lost")
    file.is_full = False
    lines.msg(b"kept")
    assert file.getvalue() == b"kept\n"
