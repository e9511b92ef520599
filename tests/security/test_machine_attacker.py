"""Thousands of generated calls, valid and invalid, against a real server, from its own description.

Whatever is sent: no 5xx, and each answer is one that the document describes by
status, content type, headers and schema.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config import ROOT
from tests.clients import OverHttp
from tests.people import SYSTEM_EMAIL, Bank

# The same for everybody and nearly all there is: each limit of each schema kept and broken. The system user, whom
# every operation is open to, goes through it, and for a customer there are some of the cases made by chance.
BOUNDARIES = "coverage"
BY_CHANCE = "examples,fuzzing,stateful"
STOP_TIMEOUT_S = 280


@pytest.mark.parametrize(
    ("who", "phases", "examples_max", "cases_min"),
    [("user", BY_CHANCE, 4, 150), ("system", BOUNDARIES, 4, 1_850)],
    ids=["user", "system"],
)
def test_no_generated_call_gets_an_answer_that_is_not_documented(
    live_bank: Bank, tmp_path: Path, who: str, phases: str, examples_max: int, cases_min: int
) -> None:
    attacker, account = live_bank.customer(1_000_000)
    other, other_account = live_bank.customer()
    transaction = attacker.transfer(account, other_account, 100).body["transaction"]["id"]
    email = attacker.user["email"] if who == "user" else SYSTEM_EMAIL

    ids = [account, other_account, transaction, other.id]
    output, report = _attack(live_bank, email, ["--phases", phases, "--max-examples", str(examples_max)], ids, tmp_path)

    assert report["failures"] == [], output
    assert report["exit_code"] == 0, output
    assert report["operations"]["tested"] == report["operations"]["total"]
    assert report["test_cases"]["generated"] >= cases_min


def _attack(bank: Bank, email: str, extent: list[str], ids: list[str], directory: Path) -> tuple[str, dict[str, Any]]:
    """Run schemathesis as this user and return what it printed and its report."""
    assert isinstance(bank.client, OverHttp)
    report = directory / "report.json"
    # positive_data_acceptance knows statuses only; the hooks have a check that reads the problem's code.
    command = [
        *(sys.executable, "-m", "schemathesis.cli"),
        *("run", f"http://127.0.0.1:{bank.client.port}/api/openapi.json"),
        *extent,
        *("--checks", "all", "--exclude-checks", "positive_data_acceptance"),
        *("--seed", "1", "--no-shrink", "--suppress-health-check", "all"),
        # One worker: CPython 3.11 miscounts its recursion when two threads compile syntax trees, as hypothesis does.
        *("--workers", "1", "--continue-on-failure"),
        *("--report", "json", "--report-json-path", str(report)),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.security.attacker_hooks",
        "ATTACKER_PORT": str(bank.client.port),
        "ATTACKER_EMAIL": email,
        "ATTACKER_IDS": ",".join(ids),
    }
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=STOP_TIMEOUT_S, check=False
    )
    output = done.stdout + done.stderr
    assert report.exists(), output
    return output, json.loads(report.read_text())
