"""Group commit without a database: who leads, who is refused, and what happens to callers that are interrupted."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytest
from bson import ObjectId

from app.errors import LedgerBusy
from app.ledger import group as group_module
from app.ledger.commands import Command, Expire
from app.ledger.group import GroupCommit, _Ticket
from app.ledger.records import Outcome
from app.runtime.turns import Turns
from app.settings.policies import LedgerPolicy
from local.processes import holds_within

COMMAND = Expire(hold=ObjectId("a" * 24))
# Until what the tests do themselves has happened. It ends early, and a busy machine needs it.
WAIT_S = 30


class TornAway(BaseException):
    """What ends a thread in the middle of its work, such as SystemExit."""


class Uncopyable(Exception):
    """An error that cannot be made again from what it shows."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what} {why}")


class Gate:
    """A block that takes as long as the test wants."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.begun = threading.Event()
        self.tear = False
        self.tear_at = 0
        self.blocks = 0

    def __call__(self, commands: Sequence[Command], timeout_s: float) -> list[Outcome]:
        self.begun.set()
        assert self.opened.wait(WAIT_S)
        self.blocks += 1
        if self.tear or self.blocks == self.tear_at:
            self.tear = False
            raise TornAway
        return [Outcome() for _ in commands]


def torn_waiter(group: GroupCommit, monkeypatch: pytest.MonkeyPatch, *, once_it_leads: bool) -> None:
    """Have a caller wait for its turn and be torn away: while it waits, or just when it is handed the lead."""
    waited = _Ticket.wait

    def torn(ticket: _Ticket, timeout_s: float) -> bool:
        if threading.current_thread().name.startswith("torn"):
            if once_it_leads:
                waited(ticket, timeout_s)
            raise TornAway
        return waited(ticket, timeout_s)

    monkeypatch.setattr(_Ticket, "wait", torn)
    with pytest.raises(TornAway):
        group.post([COMMAND])


@pytest.mark.parametrize("once_it_leads", [False, True])
def test_a_waiting_caller_that_is_torn_away_does_not_take_the_lead_with_it(
    once_it_leads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    group = GroupCommit(LedgerPolicy(timeout_ms=60_000), gate)
    with (
        ThreadPoolExecutor(2) as threads,
        ThreadPoolExecutor(1, thread_name_prefix="torn") as torn_threads,
    ):
        leader = threads.submit(group.post, [COMMAND])
        assert gate.begun.wait(WAIT_S)
        torn = torn_threads.submit(torn_waiter, group, monkeypatch, once_it_leads=once_it_leads)
        assert holds_within(WAIT_S, lambda: torn.done() or bool(group._queue))
        gate.opened.set()
        assert len(leader.result(WAIT_S)) == 1
        torn.result(WAIT_S)

        assert len(threads.submit(group.post, [COMMAND]).result(WAIT_S)) == 1


def test_a_leader_that_is_torn_away_hands_on_the_lead_and_wakes_its_batch() -> None:
    gate = Gate()
    gate.tear = True
    group = GroupCommit(LedgerPolicy(timeout_ms=60_000), gate)
    with ThreadPoolExecutor(2) as threads:
        leader = threads.submit(group.post, [COMMAND])
        assert gate.begun.wait(WAIT_S)
        other = threads.submit(group.post, [COMMAND])
        assert holds_within(WAIT_S, lambda: bool(group._queue))
        gate.opened.set()

        assert isinstance(leader.exception(WAIT_S), TornAway)
        assert len(other.result(WAIT_S)) == 1
        assert len(group.post([COMMAND])) == 1


def test_whoever_shares_a_block_with_a_leader_that_is_torn_away_is_told_at_once() -> None:
    gate = Gate()
    group = GroupCommit(LedgerPolicy(timeout_ms=60_000), gate)
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(group.post, [COMMAND])
        assert gate.begun.wait(WAIT_S)
        both = [threads.submit(group.post, [COMMAND]) for _ in range(2)]
        assert holds_within(WAIT_S, lambda: len(group._queue) == 2)
        # The second block holds both, and its leader is torn away.
        gate.tear_at = 2
        gate.opened.set()
        assert len(first.result(WAIT_S)) == 1

        ends = sorted(type(future.exception(WAIT_S)).__name__ for future in both)

    assert ends == ["LedgerBusy", "TornAway"]
    assert len(group.post([COMMAND])) == 1


def test_who_comes_while_a_leader_waits_for_its_turn_shares_its_block() -> None:
    class OnesTurn(Turns):
        """A turn that another process has until the test gives it back."""

        has_come, is_waited_for = threading.Event(), threading.Event()

        def __enter__(self) -> Self:
            self.is_waited_for.set()
            assert self.has_come.wait(WAIT_S)
            return self

    sizes = []

    def block(commands: Sequence[Command], _timeout_s: float) -> list[Outcome]:
        sizes.append(len(commands))
        return [Outcome() for _ in commands]

    group = GroupCommit(LedgerPolicy(timeout_ms=60_000), block, OnesTurn())
    with ThreadPoolExecutor(3) as threads:
        futures = [threads.submit(group.post, [COMMAND])]
        assert OnesTurn.is_waited_for.wait(WAIT_S)
        futures += [threads.submit(group.post, [COMMAND]) for _ in range(2)]
        assert holds_within(WAIT_S, lambda: len(group._queue) == 3)
        OnesTurn.has_come.set()

        assert [len(future.result(WAIT_S)) for future in futures] == [1, 1, 1]

    assert sizes == [3]


def test_an_error_that_cannot_be_copied_reaches_every_caller_of_the_block() -> None:
    opened = threading.Event()

    def block(commands: Sequence[Command], _timeout_s: float) -> list[Outcome]:
        assert opened.wait(WAIT_S)
        raise Uncopyable("the", "reason")

    group = GroupCommit(LedgerPolicy(timeout_ms=60_000), block)
    with ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(group.post, [COMMAND]) for _ in range(4)]
        assert holds_within(WAIT_S, lambda: len(group._queue) == 3)
        opened.set()

        assert [type(future.exception(WAIT_S)) for future in futures] == [Uncopyable] * 4


class Torn:
    """A caller that is torn away at the n-th line that it runs in `group.py`. Tells whether it came to that."""

    def __init__(self, group: GroupCommit, line: int) -> None:
        self.group = group
        self.lines_left = line

    def __call__(self) -> bool:
        sys.settrace(self.trace)
        try:
            self.group.post([COMMAND])
        except TornAway:
            return True
        except LedgerBusy:
            return False
        finally:
            sys.settrace(None)
        return False

    def trace(self, frame: FrameType, event: str, _argument: object) -> Callable[..., Any] | None:
        if frame.f_code.co_filename != group_module.__file__:
            return None
        # On its way out of a `with`, Python comes by its line again and would leave without the lock.
        if event == "line" and frame.f_lineno not in WITH_LINES:
            self.lines_left -= 1
            if self.lines_left == 0:
                raise TornAway
        return self.trace


WITH_LINES = {
    number
    for number, line in enumerate(Path(group_module.__file__).read_text().splitlines(), 1)
    if line.strip().startswith("with ")
}


@pytest.mark.parametrize("batch_size_max", [1, 9])
@pytest.mark.parametrize("leads", [True, False])
def test_wherever_a_caller_is_torn_away_the_others_go_on(leads: bool, batch_size_max: int) -> None:
    was_torn, line = True, 0
    with ThreadPoolExecutor(4) as threads:
        while was_torn:
            line += 1
            gate = Gate()
            group = GroupCommit(LedgerPolicy(timeout_ms=60_000, batch_size_max=batch_size_max), gate)
            others = []
            if not leads:
                others.append(threads.submit(group.post, [COMMAND]))
                assert gate.begun.wait(WAIT_S)
            torn = threads.submit(Torn(group, line))
            while not (torn.done() or group._queue or (leads and gate.begun.is_set())):
                time.sleep(0)
            others += [threads.submit(group.post, [COMMAND]) for _ in range(2)]
            gate.opened.set()
            was_torn = torn.result(WAIT_S)

            for other in others:
                # Who shared its block is told that nobody knows what became of it.
                assert isinstance(other.exception(WAIT_S), LedgerBusy | None)
            assert len(group.post([COMMAND])) == 1
            assert (len(group._queue), group._leader) == (0, None)
    assert line > 20


def test_sixteen_callers_with_five_hundred_each_all_have_their_turn() -> None:
    def block(commands: Sequence[Command], _timeout_s: float) -> list[Outcome]:
        time.sleep(0.0001 * len(commands))
        return [Outcome() for _ in commands]

    group = GroupCommit(LedgerPolicy(), block)
    with ThreadPoolExecutor(16) as threads:
        futures = [threads.submit(group.post, [COMMAND] * 500) for _ in range(16)]

        assert [len(future.result(WAIT_S)) for future in futures] == [500] * 16


def test_who_would_come_too_late_is_refused_at_once_and_told_when_to_come_back() -> None:
    gate = Gate()
    group = GroupCommit(LedgerPolicy(timeout_ms=30_000, queue_size_max=10**9), gate)
    with ThreadPoolExecutor(20) as threads:
        # By the model alone, 15,000 transfers take 9.3 s: the leader's, and three more, fit into half a minute.
        futures = [threads.submit(group.post, [COMMAND] * 15_000) for _ in range(20)]
        assert holds_within(WAIT_S, lambda: 1 + len(group._queue) + sum(map(Future.done, futures)) == 20)
        refused = [future for future in futures if future.done()]
        assert 10 <= len(refused) < 18
        gate.opened.set()

    for future in refused:
        error = future.exception()
        assert isinstance(error, LedgerBusy)
        assert "Nothing was done" in error.detail
        assert error.retry_after_seconds is not None
        assert 1 <= error.retry_after_seconds <= 30


def test_a_slow_ledger_refuses_earlier_and_a_fast_one_takes_all_again() -> None:
    slow = True

    def block(commands: Sequence[Command], _timeout_s: float) -> list[Outcome]:
        time.sleep(0.2 if slow else 0)
        return [Outcome() for _ in commands]

    group = GroupCommit(LedgerPolicy(), block)
    for _ in range(10):
        group.post([COMMAND])
    assert group._pace > 5
    slow = False

    def takes_all_again() -> bool:
        group.post([COMMAND])
        return group._pace < 1

    # On a busy machine some of these blocks are slow, too.
    assert holds_within(WAIT_S, takes_all_again)
