"""Group commit without a database: who leads, and what happens to callers that are interrupted."""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytest

from app.errors import LedgerBusy
from app.ledger import group as group_module
from app.ledger.commands import Command
from app.ledger.group import GroupCommit, _Ticket
from app.ledger.records import Outcome
from app.runtime.turns import Turns
from app.settings.policies import LedgerPolicy
from local.processes import holds_within
from tests.unit.gate import COMMAND, WAIT_S, Gate, TornAway


class Uncopyable(Exception):
    """An error that cannot be made again from what it shows."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what} {why}")


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


class Sizes:
    """Blocks that succeed at once. It keeps how many commands each had."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, commands: Sequence[Command], _timeout_s: float) -> list[Outcome]:
        self.seen.append(len(commands))
        return [Outcome() for _ in commands]


def about_to_post(group: GroupCommit, comes: threading.Event, *, posts: bool = True) -> None:
    """Be about to post until the event, and then post, or do not."""
    group.expect()
    assert comes.wait(WAIT_S)
    if posts:
        group.post([COMMAND])
    group.expect_no_more()


def awaited(group: GroupCommit) -> int:
    """Return for how many threads the leader waits."""
    return len(group._siblings.threads)


@pytest.mark.parametrize("posts", [True, False])
def test_a_leader_waits_for_those_who_are_about_to_post(posts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_module, "COMMIT_DELAY_MAX_S", WAIT_S)
    block, comes = Sizes(), threading.Event()
    group = GroupCommit(LedgerPolicy(timeout_ms=60_000), block)
    with ThreadPoolExecutor(3) as threads:
        others = [threads.submit(about_to_post, group, comes, posts=posts) for _ in range(2)]
        assert holds_within(WAIT_S, lambda: len(group._coming) == 2)
        leader = threads.submit(group.post, [COMMAND])
        assert holds_within(WAIT_S, lambda: awaited(group) == 2)
        assert not block.seen
        comes.set()
        leader.result(WAIT_S)
        for other in others:
            other.result(WAIT_S)

    assert block.seen == [3 if posts else 1]


def test_a_leader_waits_neither_for_itself_nor_for_a_single_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_module, "COMMIT_DELAY_MAX_S", WAIT_S)
    block, never, at_once = Sizes(), threading.Event(), threading.Event()
    at_once.set()
    group = GroupCommit(LedgerPolicy(timeout_ms=60_000), block)
    with ThreadPoolExecutor(2) as threads:
        other = threads.submit(about_to_post, group, never, posts=False)
        assert holds_within(WAIT_S, lambda: len(group._coming) == 1)
        threads.submit(about_to_post, group, at_once).result(WAIT_S)
        assert not other.done()
        never.set()

    assert block.seen == [1]


def test_whoever_does_not_come_in_time_is_not_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_module, "COMMIT_DELAY_MAX_S", 0.01)
    block, comes = Sizes(), threading.Event()
    group = GroupCommit(LedgerPolicy(timeout_ms=60_000), block)
    with ThreadPoolExecutor(2) as threads:
        late = [threads.submit(about_to_post, group, comes) for _ in range(2)]
        assert holds_within(WAIT_S, lambda: len(group._coming) == 2)
        group.post([COMMAND])
        monkeypatch.setattr(group_module, "COMMIT_DELAY_MAX_S", WAIT_S)
        group.post([COMMAND])
        assert block.seen == [1, 1]
        comes.set()
        for future in late:
            future.result(WAIT_S)


def test_a_full_block_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_module, "COMMIT_DELAY_MAX_S", WAIT_S)
    block, comes = Sizes(), threading.Event()
    group = GroupCommit(LedgerPolicy(timeout_ms=60_000, batch_size_max=5), block)
    with ThreadPoolExecutor(2) as threads:
        others = [threads.submit(about_to_post, group, comes, posts=False) for _ in range(2)]
        assert holds_within(WAIT_S, lambda: len(group._coming) == 2)
        group.post([COMMAND] * 5)
        assert not any(other.done() for other in others)
        comes.set()

    assert block.seen == [5]


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
