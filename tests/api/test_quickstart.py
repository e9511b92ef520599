"""The walk-through of the README, as its script takes it against a started server."""

import os
import subprocess

from config import ROOT
from tests.support import PASSWORD, Bank, OverHttp

TIMEOUT_S = 60


def test_the_walk_through_arrives_where_it_says(live_bank: Bank) -> None:
    client = live_bank.client
    assert isinstance(client, OverHttp)

    walk = subprocess.run(
        ["bash", ROOT / "docs" / "quickstart.sh", f"http://127.0.0.1:{client.port}"],
        env={**os.environ, "SYSTEM_PASSWORD": PASSWORD},
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT_S,
    )

    assert walk.stdout.count('"balance":6500,') == 1
    assert walk.stdout.count('"balance":3000,') == 1
    assert walk.stdout.count('"balance":500,') == 1
    assert "insufficient_funds" in walk.stdout
    assert "token_revoked" in walk.stdout
    assert "answered 422" in walk.stderr
    assert "answered 401" in walk.stderr
