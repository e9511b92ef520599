"""The loss of the primary while clients transfer: the others take over, and what was acknowledged is there once."""

from pathlib import Path

from local.processes import holds_within
from tests.faults.traffic import RECOVERY_TIMEOUT_S, Traffic, open_bank


def test_what_was_acknowledged_survives_the_loss_of_the_primary(tmp_path: Path) -> None:
    with open_bank(tmp_path, size=3) as bank:
        lost = bank.replica_set.primary()
        with Traffic(bank) as traffic:
            lost.kill()
            before = len(traffic.acknowledged)
            assert holds_within(RECOVERY_TIMEOUT_S, lambda: len(traffic.acknowledged) > before + 100)

        assert bank.replica_set.primary() is not lost
        assert all(attempt.is_told_to_come_back for attempt in traffic.in_doubt)
        traffic.settle()
        bank.assert_ledger_is_whole()
