"""kill -9 of what serves the bank while clients transfer: what was acknowledged is there once, nothing is half done."""

import os
import signal
from pathlib import Path

from local.processes import holds_within
from tests.faults.traffic import RECOVERY_TIMEOUT_S, Traffic, open_bank


def test_what_was_acknowledged_survives_the_death_of_the_database(tmp_path: Path) -> None:
    with open_bank(tmp_path) as bank:
        with Traffic(bank) as traffic:
            bank.replica_set.kill()
            assert holds_within(RECOVERY_TIMEOUT_S, lambda: len(traffic.in_doubt) > 0)
            bank.replica_set.start()

        assert all(attempt.is_told_to_come_back for attempt in traffic.in_doubt)
        traffic.settle()
        bank.assert_ledger_is_whole()


def test_what_was_acknowledged_survives_the_death_of_a_worker_which_is_replaced(tmp_path: Path) -> None:
    with open_bank(tmp_path) as bank:
        with Traffic(bank) as traffic:
            killed = bank.busiest_worker()
            (survivor,) = set(bank.worker_pids()) - {killed}
            os.kill(killed, signal.SIGKILL)
            assert holds_within(RECOVERY_TIMEOUT_S, lambda: len(set(bank.worker_pids()) - {killed}) == 2)
            assert holds_within(RECOVERY_TIMEOUT_S, lambda: len(traffic.in_doubt) > 0)

        assert survivor in bank.worker_pids()
        assert all(attempt.answer is None or attempt.is_told_to_come_back for attempt in traffic.in_doubt)
        traffic.settle()
        bank.assert_ledger_is_whole()
