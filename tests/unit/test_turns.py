"""Turns: processes that conflicted work one after another, in order, and nobody waits long for a stuck one."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

import pytest

from app.runtime import turns as turns_module
from app.runtime.turns import GATE, TURN, TURNS_AFTER_COLLISION, Turns
from local.processes import holds_within

WAIT_S = 60
# Another process, which does what it is told, a word a line, and says when it is done.
NEIGHBOUR = """
import os, runpy, sys, time
turns = runpy.run_path(sys.argv[1])["Turns"](int(sys.argv[2]))
for line in sys.stdin:
    match line.strip():
        case "take":
            turns.collided()
        case "give":
            turns.__exit__(None, None, None)
        case "take for a moment":
            with turns:
                turns.collided()
                time.sleep(0.02)
                taken_until = time.monotonic()
            print(taken_until, flush=True)
        case "fork":
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
    print("done", flush=True)
"""


class Neighbour:
    """Another process that takes turns."""

    def __init__(self, file: IO[bytes]) -> None:
        command = [sys.executable, "-I", "-S", "-c", NEIGHBOUR, str(turns_module.__file__), str(file.fileno())]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=[file.fileno()], process_group=0
        )

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def do(self, word: str) -> None:
        self.tell(word)
        assert self.hear() == "done"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(WAIT_S)


@pytest.fixture
def file() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as opened:
        yield opened


@contextmanager
def another(file: IO[bytes]) -> Iterator[Neighbour]:
    neighbour = Neighbour(file)
    with neighbour.process:
        try:
            yield neighbour
        finally:
            # It and what it forked, if any of them still runs.
            with suppress(ProcessLookupError):
                os.killpg(neighbour.process.pid, signal.SIGKILL)


def is_free(turns: Turns, byte: int) -> bool:
    is_ours = turns._lock(byte, time.monotonic())
    if is_ours:
        turns._unlock(byte)
    return is_ours


@contextmanager
def pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Count how often it was waited for a lock."""
    slept: list[float] = []
    sleep = time.sleep

    def pause(seconds: float) -> None:
        slept.append(seconds)
        sleep(seconds)

    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", pause)
        yield slept


def test_nobody_takes_a_turn_before_two_have_met(file: IO[bytes]) -> None:
    with another(file) as neighbour, Turns(file.fileno()):
        neighbour.do("take")


def test_whoever_met_another_has_its_next_turns_alone_and_then_no_more(file: IO[bytes]) -> None:
    turns, outsider = Turns(file.fileno()), Turns(file.fileno())
    with turns:
        turns.collided()
        assert turns._has_turn
    taken = []
    for _ in range(TURNS_AFTER_COLLISION + 2):
        with turns:
            taken.append(turns._has_turn)
    with another(file) as neighbour:
        neighbour.do("take")
        assert not is_free(outsider, TURN)

    assert taken == [True] * TURNS_AFTER_COLLISION + [False] * 2


def test_a_turn_is_given_back_when_the_work_fails(file: IO[bytes]) -> None:
    def fail() -> None:
        with Turns(file.fileno()) as turns:
            turns.collided()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with another(file) as neighbour:
        neighbour.do("take")


def test_whoever_waits_for_a_turn_gets_it_before_the_one_that_just_had_it(
    file: IO[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "WAIT_MAX_S", WAIT_S)
    turns = Turns(file.fileno())
    with another(file) as neighbour:
        with turns:
            turns.collided()
            neighbour.tell("take for a moment")
            # It stands at the gate, until its own wait is over.
            assert holds_within(WAIT_S, lambda: not is_free(turns, GATE))
        with turns:
            begun = time.monotonic()

        assert float(neighbour.hear()) <= begun


def test_a_process_that_is_stopped_with_the_turn_is_waited_for_once_and_not_long(
    file: IO[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "WAIT_MAX_S", 0.05)
    turns = Turns(file.fileno())
    with another(file) as neighbour:
        neighbour.do("take")
        neighbour.process.send_signal(signal.SIGSTOP)
        with pauses(monkeypatch) as first, turns:
            turns.collided()
        with pauses(monkeypatch) as second, turns:
            turns.collided()
        neighbour.process.send_signal(signal.SIGCONT)
        neighbour.do("give")
        with turns:
            has_turn = turns._has_turn

    assert first
    assert not second
    assert has_turn


def test_after_a_while_a_process_that_was_passed_over_is_waited_for_again(
    file: IO[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "WAIT_MAX_S", 0.05)
    monkeypatch.setattr(turns_module, "WAIT_AGAIN_S", 0.0)
    turns = Turns(file.fileno())
    with another(file) as neighbour:
        neighbour.do("take")
        for _ in range(2):
            with pauses(monkeypatch) as paused, turns:
                turns.collided()
            assert paused


@pytest.mark.parametrize("has_forked", [False, True])
def test_a_process_that_is_killed_with_the_turn_leaves_it_at_once(file: IO[bytes], has_forked: bool) -> None:
    turns = Turns(file.fileno())
    with another(file) as neighbour:
        neighbour.do("take")
        if has_forked:
            neighbour.do("fork")
        neighbour.kill()
        with turns:
            turns.collided()
            assert turns._has_turn


def test_work_goes_on_where_the_system_gives_no_locks(file: IO[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def lockf(*_: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(turns_module, "WAIT_MAX_S", 0.05)
    monkeypatch.setattr(fcntl, "lockf", lockf)
    with Turns(file.fileno()) as turns:
        turns.collided()
        assert not turns._has_turn


def test_without_a_file_nothing_is_waited_for() -> None:
    turns = Turns()
    with turns:
        turns.collided()
    with turns:
        assert not turns._has_turn
