"""Lines of the log: each is written once, whole and at once, whichever threads and processes write beside it."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from app.telemetry.logs import Lines
from config import ROOT

# Each process has threads that write lines of nearly PIPE_BUF to the same pipe.
WRITERS = """
import sys, threading
from app.telemetry.logs import STANDARD_OUTPUT, Lines
lines = Lines(STANDARD_OUTPUT)
def say(thread):
    for number in range(20):
        lines.msg(b"%s/%d/%d " % (sys.argv[1].encode(), thread, number) + 4_000 * b"x")
threads = [threading.Thread(target=say, args=(number,)) for number in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
# A line is logged while another thread, which no end of a process waits for, cannot write.
ENDS = """
import os, sys, threading, time
from app.telemetry.logs import Lines
full, descriptor = Lines(int(sys.argv[1])), Lines(1)
threading.Thread(target=full.msg, args=(1_000_000 * b"x",), daemon=True).start()
for number in range(100): descriptor.msg(b"%d" % number)
"""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        os.close(descriptor)


def test_no_line_of_many_threads_and_processes_is_lost_or_torn() -> None:
    reading, writing = os.pipe()
    command = [sys.executable, "-c", WRITERS]
    writers = [subprocess.Popen([*command, name], cwd=ROOT, stdout=writing) for name in ("a", "b")]
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        lines = file.read().split(b"\n")
    for writer in writers:
        assert writer.wait() == 0

    expected = [b"%s/%d/%d " % (name, thread, n) for name in (b"a", b"b") for thread in range(4) for n in range(20)]
    assert sorted(lines) == sorted([b"", *(start + 4_000 * b"x" for start in expected)])


def test_nothing_that_was_logged_is_lost_when_the_process_ends_while_another_thread_writes(
    pipe: tuple[int, int],
) -> None:
    _, writing = pipe
    command = [sys.executable, "-c", ENDS, str(writing)]

    said = subprocess.run(command, cwd=ROOT, pass_fds=[writing], capture_output=True, check=True).stdout

    assert said.split() == [b"%d" % number for number in range(100)]


def test_a_log_that_cannot_be_written_fails_whoever_logs_and_nobody_else(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.set_blocking(writing, False)
    lines = Lines(writing)
    while True:
        try:
            lines.msg(1_000 * b"x")
        except BlockingIOError:
            break
    while len(os.read(reading, 65_536)) == 65_536:
        pass

    lines.msg(b"next")

    assert os.read(reading, 65_536).endswith(b"next\n")


def test_a_line_that_is_written_in_parts_is_written_to_its_end(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    long = 300_000 * b"x"
    writer = threading.Thread(target=Lines(writing).msg, args=(long,), daemon=True)
    writer.start()
    read = b""
    while len(read) <= len(long):
        read += os.read(reading, 65_536)
    writer.join()

    assert read == long + b"\n"
