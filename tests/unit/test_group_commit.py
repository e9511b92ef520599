"""Group commit without a database: who leads, who is refused, and what happens to callers that are torn away."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from bson import ObjectId

from app.errors import LedgerBusy
from app.ledger.commands import Command, Expire
from app.ledger.group import GroupCommit
from app.ledger.records import Outcome
from app.policies import LedgerPolicy
from local.processes import holds_within

COMMAND = Expire(hold=ObjectId("a" * 24))


class TornAway(BaseException):
    """What ends a thread in the middle of its work, such as SystemExit."""


class Gate:
    """A block that takes as long as the test wants."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.begun = threading.Event()
        self.tear = False

    def __call__(self, commands: Sequence[Command], timeout_s: float) -> list[Outcome]:
        self.begun.set()
        assert self.opened.wait(20)
        if self.tear:
            self.tear = False
            raise TornAway
        return [Outcome() for _ in commands]


def torn_waiter(group: GroupCommit, monkeypatch: pytest.MonkeyPatch, *, once_it_leads: bool) -> None:
    """Have a caller wait for its turn and be torn away: while it waits, or just when it is handed the lead."""
    waited = threading.Event.wait

    def torn(event: threading.Event, timeout: float | None = None) -> bool:
        if threading.current_thread().name.startswith("torn"):
            if once_it_leads:
                waited(event, timeout)
            raise TornAway
        return waited(event, timeout)

    monkeypatch.setattr(threading.Event, "wait", torn)
    with pytest.raises(TornAway):
        group.post([COMMAND])


@pytest.mark.parametrize("once_it_leads", [False, True])
def test_a_waiting_caller_that_is_torn_away_does_not_take_the_lead_with_it(
    once_it_leads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    group = GroupCommit(LedgerPolicy(timeout_ms=5_000), gate)
    with (
        ThreadPoolExecutor(2) as threads,
        ThreadPoolExecutor(1, thread_name_prefix="torn") as torn_threads,
    ):
        leader = threads.submit(group.post, [COMMAND])
        assert gate.begun.wait(5)
        torn = torn_threads.submit(torn_waiter, group, monkeypatch, once_it_leads=once_it_leads)
        assert holds_within(5, lambda: torn.done() or bool(group._queue))
        gate.opened.set()
        assert len(leader.result(10)) == 1
        torn.result(10)

        assert len(threads.submit(group.post, [COMMAND]).result(10)) == 1


def test_a_leader_that_is_torn_away_hands_on_the_lead_and_wakes_its_batch() -> None:
    gate = Gate()
    gate.tear = True
    group = GroupCommit(LedgerPolicy(timeout_ms=5_000), gate)
    with ThreadPoolExecutor(2) as threads:
        leader = threads.submit(group.post, [COMMAND])
        assert gate.begun.wait(5)
        other = threads.submit(group.post, [COMMAND])
        assert holds_within(5, lambda: bool(group._queue))
        gate.opened.set()

        assert isinstance(leader.exception(10), TornAway)
        assert len(other.result(10)) == 1
        assert len(group.post([COMMAND])) == 1


def test_sixteen_callers_with_five_hundred_each_all_have_their_turn() -> None:
    def block(commands: Sequence[Command], _timeout_s: float) -> list[Outcome]:
        time.sleep(0.0001 * len(commands))
        return [Outcome() for _ in commands]

    group = GroupCommit(LedgerPolicy(), block)
    with ThreadPoolExecutor(16) as threads:
        futures = [threads.submit(group.post, [COMMAND] * 500) for _ in range(16)]

        assert [len(future.result(20)) for future in futures] == [500] * 16


def test_who_would_come_too_late_is_refused_at_once_and_told_when_to_come_back() -> None:
    gate = Gate()
    group = GroupCommit(LedgerPolicy(timeout_ms=1_000), gate)
    with ThreadPoolExecutor(20) as threads:
        # By the model alone, 500 transfers take 0.31 s: the leader's, and three more, fit into a second.
        futures = [threads.submit(group.post, [COMMAND] * 500) for _ in range(20)]
        refused, _ = wait(futures, timeout=0.5)
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
    for _ in range(60):
        group.post([COMMAND])
    assert group._pace < 1
