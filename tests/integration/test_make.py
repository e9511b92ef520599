"""The Makefile: what its targets pass on, and that two of them at once do not disturb each other."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clients.walks import PRINTED, missing
from config import ROOT
from local.processes import holds_within
from tests.documents import block, commands

TIMEOUT_S = 60


def make(directory: Path, *arguments: str, **tools: str) -> subprocess.Popen[str]:
    """Start make on a copy of the Makefile, with shell scripts for the tools in .venv."""
    if not (directory / "Makefile").exists():
        shutil.copy(ROOT / "Makefile", directory)
    programs = directory / ".venv" / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    for name, script in tools.items():
        program = programs / name.replace("_", "-")
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    return subprocess.Popen(
        ["make", "--no-print-directory", *arguments],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def said(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, output
    return output


def test_make_alone_says_what_can_be_done(tmp_path: Path) -> None:
    shown = said(make(tmp_path))

    assert all(f"make {target} " in shown for target in ("run", "test", "lint", "audit", "lock", "clean", "help"))


@pytest.mark.parametrize(
    "value", ["Tr0ub4dor$and3x", "a$$b", "$(shell touch planted)", "${HOME}", 'it\'s # "quoted" \\ `x`', "two  blanks"]
)
def test_a_setting_arrives_as_it_was_typed(tmp_path: Path, value: str) -> None:
    shown = make(tmp_path, "run", "INSTALLED=", f"SYSTEM_PASSWORD={value}", python="printenv SYSTEM_PASSWORD")

    assert said(shown) == f"{value}\n"
    assert not (tmp_path / "planted").exists()


def test_tests_are_chosen_by_their_arguments(tmp_path: Path) -> None:
    shown = said(
        make(
            tmp_path,
            "test",
            "INSTALLED=",
            "NPM_INSTALLED=",
            "ARGS=-k 'holds or batches' -x",
            python='printf "[%s]" "$@"',
        )
    )

    assert shown.endswith("[-k][holds or batches][-x]")


def test_what_the_readme_begins_with_starts_the_bank_and_its_tests(tmp_path: Path) -> None:
    run, test = commands(block("README.md", "make run"))

    shown = [
        said(make(tmp_path, *words, "INSTALLED=", "NPM_INSTALLED=", python='printf "[%s]" "$@"'))
        for _, *words in (run, test)
    ]

    assert shown[0].startswith("[-m][local.supervisor]")
    assert "[-m][pytest]" in shown[1]


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (1, 2), (127, 2)])
def test_an_audit_that_finds_something_or_is_not_done_fails(tmp_path: Path, code: int, expected: int) -> None:
    audit = make(tmp_path, "audit", "INSTALLED=", pip_audit=f'echo "$@"; exit {code}')

    output, _ = audit.communicate(timeout=TIMEOUT_S)

    assert audit.returncode == expected
    # Without it, what could not be looked up passes.
    assert "--strict" in output


def test_lint_does_not_ask_the_network(tmp_path: Path) -> None:
    tools = dict.fromkeys(("ruff", "mypy", "bandit"), "exit 0")

    said(make(tmp_path, "lint", "INSTALLED=", **tools, pip_audit="exit 1"))


def test_two_makes_in_a_fresh_clone_install_once(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "requirements-dev.txt").touch()
    # A Python whose `-m venv .venv` makes an environment in which everything takes a while.
    python = tmp_path / "python"
    python.write_text(
        '#!/bin/sh\n[ "$1" = -m ] || exit 0\necho made >> made\nmkdir -p .venv/bin\nsleep 1\n'
        'printf "#!/bin/sh\\nsleep 1\\necho installed >> made\\n" > .venv/bin/python\nchmod +x .venv/bin/python\n'
    )
    python.chmod(0o755)

    first = make(tmp_path, ".venv/installed", f"PYTHON={python}")
    assert holds_within(TIMEOUT_S, (tmp_path / "made").exists)
    second = make(tmp_path, ".venv/installed", f"PYTHON={python}")

    shown = [said(first), said(second)]
    assert (tmp_path / "made").read_text().split() == ["made", "installed"]
    assert "Installing into .venv" in shown[0]
    assert shown[1] == "Another make is installing into .venv. Waiting for it.\n"


def test_a_walk_that_leaves_something_out_or_counts_wrong_is_noticed() -> None:
    whole = "\n".join(f"{line} and more" for line in PRINTED)

    assert missing(whole) is None
    assert missing(whole.replace("6000001000", "1705033704")) == PRINTED[3]
    assert missing("\n".join(reversed(PRINTED))) is not None


def test_clients_in_languages_without_their_tools_are_left_out_aloud(tmp_path: Path) -> None:
    left_out = subprocess.run(
        [sys.executable, "-m", "clients.generate"],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )

    assert left_out.returncode == 0, left_out.stderr
    assert left_out.stdout.splitlines() == [
        f"{name}: left out, because this machine has no java and no {tool}."
        for name, tool in (("Java native", "mvn"), ("Java okhttp", "mvn"), ("Go", "go"), ("Rust", "cargo"))
    ]
