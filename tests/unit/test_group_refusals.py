"""Group commit without a database: which callers are refused because they would wait too long."""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect, OperationFailure

from app.errors import LedgerBusy
from app.ledger.commands import Command
from app.ledger.group import GroupCommit, _Ticket
from app.ledger.records import Outcome
from app.settings.policies import LedgerPolicy
from local.processes import holds_within
from tests.unit.gate import COMMAND, WAIT_S, Gate


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
        # A group first believes that 15,000 transfers take 9 s. So the leader and three more begin in half a minute.
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


def test_waiting_long_with_small_blocks_refuses_no_large_ones() -> None:
    """As with another process, whose turns are long. That does not make each transfer slow."""

    def block(commands: Sequence[Command], _timeout_s: float) -> list[Outcome]:
        time.sleep(0.2 if len(commands) == 1 else 0.0001 * len(commands))
        return [Outcome() for _ in commands]

    group = GroupCommit(LedgerPolicy(), block)
    for _ in range(20):
        group.post([COMMAND])
    with ThreadPoolExecutor(16) as threads:
        futures = [threads.submit(group.post, [COMMAND] * 500) for _ in range(16)]

        assert [len(future.result(WAIT_S)) for future in futures] == [500] * 16


def test_who_fits_into_the_block_that_comes_next_is_not_refused() -> None:
    gate = Gate()
    group = GroupCommit(LedgerPolicy(timeout_ms=WAIT_S * 1_000), gate)
    # The block that is running lets the others come in time, and a second one would not.
    group._drain.block_s = 0.8 * WAIT_S
    with ThreadPoolExecutor(11) as threads:
        first = threads.submit(group.post, [COMMAND])
        assert gate.begun.wait(WAIT_S)
        others = [threads.submit(group.post, [COMMAND]) for _ in range(10)]
        assert holds_within(WAIT_S, lambda: len(group._queue) + sum(map(Future.done, others)) == 10)
        refused = [other for other in others if other.done()]
        gate.opened.set()
        first.result(WAIT_S)
    assert refused == []


def test_no_more_wait_than_the_queue_may_hold() -> None:
    gate = Gate()
    group = GroupCommit(LedgerPolicy(queue_size_max=3), gate)
    with ThreadPoolExecutor(3) as threads:
        threads.submit(group.post, [COMMAND])
        assert gate.begun.wait(WAIT_S)
        for size in (1, 2):
            threads.submit(group.post, [COMMAND] * size)
        assert holds_within(WAIT_S, lambda: len(group._queue) == 2)
        with pytest.raises(LedgerBusy, match="More postings are waiting"):
            group.post([COMMAND])
        gate.opened.set()


def test_who_gets_the_lead_just_as_its_time_ends_posts(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = _Ticket.wait

    def late(ticket: _Ticket, timeout_s: float) -> bool:
        wait(ticket, timeout_s)
        return False

    monkeypatch.setattr(_Ticket, "wait", late)
    gate = Gate()
    group = GroupCommit(LedgerPolicy(), gate)
    with ThreadPoolExecutor(2) as threads:
        threads.submit(group.post, [COMMAND])
        assert gate.begun.wait(WAIT_S)
        second = threads.submit(group.post, [COMMAND])
        assert holds_within(WAIT_S, lambda: len(group._queue) == 1)
        gate.opened.set()
        assert len(second.result(WAIT_S)) == 1


def test_an_outage_tells_nothing_about_what_a_transfer_takes() -> None:
    def block(commands: Sequence[Command], _timeout_s: float) -> list[Outcome]:
        time.sleep(0.1)
        raise AutoReconnect

    group = GroupCommit(LedgerPolicy(), block)
    before_s = group._drain.seconds(0, 500)
    for _ in range(3):
        with pytest.raises(AutoReconnect):
            group.post([COMMAND] * 500)
    assert group._drain.seconds(0, 500) == before_s


def test_callers_whose_block_is_refused_are_each_told_as_soon_as_theirs_is_posted_and_none_waits_for_all() -> None:
    gate = Gate()
    poisoned = replace(COMMAND, hold=ObjectId("b" * 24))
    told: dict[int, tuple[float, LedgerBusy | None]] = {}

    def block(commands: Sequence[Command], timeout_s: float) -> list[Outcome]:
        time.sleep(0.5)
        outcomes = gate(commands, timeout_s)
        if poisoned in commands:
            raise OperationFailure("refused")
        return outcomes

    group = GroupCommit(LedgerPolicy(timeout_ms=2_000), block)

    def post(number: int) -> None:
        busy = None
        try:
            group.post([COMMAND])
        except LedgerBusy as error:
            busy = error
        told[number] = time.monotonic(), busy

    def are_waiting(count: int) -> bool:
        return holds_within(WAIT_S, lambda: len(group._queue) == count)

    with ThreadPoolExecutor(9) as threads:
        threads.submit(group.post, [COMMAND])
        assert gate.begun.wait(WAIT_S)
        bad = threads.submit(group.post, [poisoned])
        for number in range(7):
            assert are_waiting(1 + number)
            threads.submit(post, number)
        assert are_waiting(8)
        gate.opened.set()
        assert isinstance(bad.exception(WAIT_S), OperationFailure)

    (first_at, first), (last_at, last) = told[0], told[6]
    assert first is None
    assert last is not None
    assert "Nothing was done" in last.detail
    assert last_at - first_at >= 0.5, "The block of somebody else came between."


def test_a_slow_ledger_refuses_earlier_and_a_fast_one_takes_all_again() -> None:
    gate, slow = Gate(), True

    def block(commands: Sequence[Command], timeout_s: float) -> list[Outcome]:
        time.sleep(0.2 if slow else 0)
        return gate(commands, timeout_s)

    group = GroupCommit(LedgerPolicy(timeout_ms=1_000, batch_size_max=1), block)

    def refused() -> int:
        """Return how many of ten callers are refused while another one's block hangs."""
        gate.opened.clear()
        gate.begun.clear()
        with ThreadPoolExecutor(11) as threads:
            first = threads.submit(group.post, [COMMAND])
            assert gate.begun.wait(WAIT_S)
            others = [threads.submit(group.post, [COMMAND]) for _ in range(10)]
            assert holds_within(WAIT_S, lambda: len(group._queue) + sum(map(Future.done, others)) == 10)
            count = sum(map(Future.done, others))
            gate.opened.set()
            first.result(WAIT_S)
        return count

    gate.opened.set()
    for _ in range(20):
        group.post([COMMAND])
    assert refused() > 4
    slow = False

    def takes_all_again() -> bool:
        group.post([COMMAND])
        return refused() == 0

    # On a busy machine some of these blocks are slow, too.
    assert holds_within(WAIT_S, takes_all_again)
