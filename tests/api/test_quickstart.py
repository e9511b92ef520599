"""The walk through the bank in the README, as its script does it on a running server."""

import subprocess

from config import ROOT
from local.processes import free_port
from tests.clients import OverHttp
from tests.documents import with_this_python
from tests.people import PASSWORD, Bank

TIMEOUT_S = 60


def walk_through(address: str, system_password: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", ROOT / "docs" / "quickstart.sh", address],
        env={**with_this_python(), "SYSTEM_PASSWORD": system_password},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )


def test_the_walk_through_arrives_where_it_says(live_bank: Bank) -> None:
    client = live_bank.client
    assert isinstance(client, OverHttp)

    walk = walk_through(f"http://127.0.0.1:{client.port}", PASSWORD)

    assert walk.returncode == 0, walk.stderr
    assert walk.stdout.count('"balance":6500,') == 1
    assert walk.stdout.count('"balance":3000,') == 1
    assert walk.stdout.count('"balance":500,') == 1
    assert "/transactions/create answered 422" in walk.stderr
    assert "insufficient_funds" in walk.stderr
    assert "/auth/me answered 401" in walk.stderr
    assert "token_revoked" in walk.stderr


def test_a_walk_through_without_the_right_password_says_what_is_wrong_and_nothing_else(live_bank: Bank) -> None:
    client = live_bank.client
    assert isinstance(client, OverHttp)

    stopped = walk_through(f"http://127.0.0.1:{client.port}", "a wrong password")

    assert stopped.returncode == 1
    first, problem, *more = stopped.stderr.splitlines()
    assert first == "POST /auth/login answered 401"
    assert "invalid_credentials" in problem
    assert more == []


def test_a_walk_through_without_a_server_says_so() -> None:
    stopped = walk_through(f"http://127.0.0.1:{free_port()}", PASSWORD)

    assert stopped.returncode == 1
    assert stopped.stderr.splitlines()[-1].endswith("Is `make run` ready?")
