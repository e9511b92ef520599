"""The API's description passes the linters that its readers use, without errors or warnings."""

from clients.document import DOCUMENT
from config import ROOT
from tests.node import run_tool


def test_spectral_finds_nothing() -> None:
    rules = ROOT / "tests" / "npm" / "spectral.yaml"

    linted = run_tool(
        "spectral", "lint", "--ruleset", rules, "--display-only-failures", "--fail-severity", "hint", DOCUMENT
    )

    assert linted.returncode == 0, linted.stdout
    assert "No results" in linted.stdout


def test_redocly_finds_nothing() -> None:
    # It reports how it is used, and looks for a newer version, unless told not to.
    quiet = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}

    linted = run_tool("redocly", "lint", "--extends", "recommended", DOCUMENT, env=quiet)

    assert linted.returncode == 0, linted.stdout
    assert "warning" not in linted.stdout.lower(), linted.stdout
