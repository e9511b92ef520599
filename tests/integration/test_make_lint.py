"""`make lint`: what pip-audit finds and how it fails are told apart from a service that can not be reached."""

import shutil
import subprocess
from pathlib import Path

import pytest

from config import ROOT

FINDING = "Found 1 known vulnerability in 1 package"


def lint(directory: Path, *, said: str, code: int) -> subprocess.CompletedProcess[str]:
    """Run the recipe of the Makefile with tools that find nothing, but for what pip-audit says."""
    shutil.copy(ROOT / "Makefile", directory)
    tools = directory / ".venv" / "bin"
    tools.mkdir(parents=True)
    (directory / "said").write_text(said)
    scripts = dict.fromkeys(("ruff", "mypy", "bandit"), "exit 0") | {"pip-audit": f"cat said >&2; exit {code}"}
    for name, script in scripts.items():
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    return subprocess.run(
        ["make", "--no-print-directory", "lint", "INSTALLED="],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_a_clean_audit_passes(tmp_path: Path) -> None:
    done = lint(tmp_path, said="No known vulnerabilities found", code=0)

    assert (done.returncode, done.stdout) == (0, "pip-audit: No known vulnerabilities found\n")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("No known vulnerabilities found\nattrs  Dependency not found on PyPI and could not be audited: attrs", 0),
        ("requests.exceptions.ConnectionError: HTTPSConnectionPool(host='pypi.org', port=443)", 1),
        ("urllib3.exceptions.MaxRetryError: Max retries exceeded with url: /pypi/attrs/json", 1),
        ("ERROR:pip_audit._cli:Temporary failure in name resolution", 1),
        ("requests.exceptions.ReadTimeout: HTTPSConnectionPool(host='pypi.org', port=443): Read timed out.", 1),
        ("ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed", 1),
    ],
)
def test_a_service_that_can_not_be_reached_is_said_and_passes(tmp_path: Path, said: str, code: int) -> None:
    done = lint(tmp_path, said=said, code=code)

    assert (done.returncode, "NOT DONE" in done.stdout) == (0, True)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (FINDING, 1),
        (f"{FINDING}\nattrs  Dependency not found on PyPI and could not be audited: attrs", 1),
        ("pip-audit: error: unrecognized arguments: --progress-spinner off", 2),
        ("Traceback (most recent call last):\nKeyError: 'version'", 1),
        ("", 127),
    ],
)
def test_a_finding_and_an_audit_that_fails_fail(tmp_path: Path, said: str, code: int) -> None:
    done = lint(tmp_path, said=said, code=code)

    assert done.returncode != 0
    assert said in done.stdout
    assert "NOT DONE" not in done.stdout
