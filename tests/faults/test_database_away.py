"""A database that is stopped or hangs: a quick and honest 503, and an automatic recovery."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from local.processes import holds_within
from tests.faults.traffic import CLIENTS, LiveBank, Traffic, open_bank
from tests.people import new_key

ANSWER_TIMEOUT_S = 30.0
# One that waits for its turn behind a block that hangs is told after it.
UNDER_WAY_TIMEOUT_S = 60.0
RECOVERY_TIMEOUT_S = 60.0

Fault = Callable[[LiveBank], AbstractContextManager[None]]


@contextmanager
def stopped(bank: LiveBank) -> Iterator[None]:
    bank.replica_set.stop()
    yield
    bank.replica_set.start()


@contextmanager
def hung(bank: LiveBank) -> Iterator[None]:
    """Connections stay open and nothing answers, as with a stuck disk."""
    pid = bank.replica_set.members[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveBank]:
    with open_bank(tmp_path_factory.mktemp("away")) as bank:
        yield bank


@pytest.mark.parametrize("away", [stopped, hung])
def test_a_transfer_is_told_to_come_back_and_then_takes_effect_once(bank: LiveBank, away: Fault) -> None:
    payer, from_account = bank.customer(100)
    payee, to_account = bank.customer()
    key = new_key()

    with away(bank):
        begun = time.monotonic()
        answer = payer.transfer(from_account, to_account, 30, key)
        waited_s = time.monotonic() - begun
        ready, healthy = bank.status_of("/readyz"), bank.status_of("/healthz")

    assert (answer.status, answer.code) == (503, "service_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert waited_s < ANSWER_TIMEOUT_S
    assert (ready, healthy) == (503, 200)

    assert holds_within(RECOVERY_TIMEOUT_S, lambda: bank.status_of("/readyz") == 200)
    assert payer.transfer(from_account, to_account, 30, key).status in (200, 201)
    assert (payer.balance(from_account), payee.balance(to_account)) == (70, 30)
    bank.assert_ledger_is_whole()


def test_transfers_on_their_way_when_the_database_hangs_are_answered_and_settled_later(bank: LiveBank) -> None:
    with Traffic(bank) as traffic, hung(bank):
        assert holds_within(UNDER_WAY_TIMEOUT_S, lambda: len(traffic.in_doubt) >= CLIENTS)

    assert all(attempt.is_told_to_come_back for attempt in traffic.in_doubt)
    traffic.settle()
    bank.assert_ledger_is_whole()
