"""Every command in the documents is executed by a test, or this file says why it cannot be."""

import ast
import importlib.util
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from flask import Flask

from config import ROOT
from tests.clients import OverHttp
from tests.documents import DOCUMENTS, FENCED, SHELL, Block, block, blocks, found, with_this_python
from tests.people import PASSWORD, Bank

TIMEOUT_S = 60
# By document and how a block begins: why no test executes it.
NOT_EXECUTED = {
    ("docs/operations.md", "[Unit]"): "Nothing runs systemd here. Its checker reads the units in deploy/.",
    (
        "docs/operations.md",
        "db.getSiblingDB",
    ): "It takes mongosh. tests/integration/test_roles.py makes such a user.",
    (
        "docs/operations.md",
        "sh.enableSharding",
    ): "It takes mongos. The text says that it was never run.",
}


def taken() -> Iterator[tuple[Path, list[Block]]]:
    """Yield the blocks that each test takes out of a document by `block` or `script`."""
    users = [file for file in (ROOT / "tests").rglob("*.py") if "from tests.documents import" in file.read_text()]
    for file in users:
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Name("block"), args=[ast.Constant(str(document)), ast.Constant(str(begins))]):
                    yield file, found(document, begins)
                case ast.Call(func=ast.Name("script"), args=[ast.Constant(str(document))]):
                    yield file, [each for each in found(document, "") if each.language == SHELL]
                case ast.Call(func=ast.Name("block" | "script")):
                    raise AssertionError(f"{file}:{node.lineno} does not say which block it takes.")


def test_each_block_of_commands_is_taken_by_a_test_that_executes_it_or_it_is_said_why_not() -> None:
    left = set(blocks())
    for file, these in taken():
        assert these, f"{file} takes a block that is not there."
        left -= set(these)
    for (document, begins), reason in NOT_EXECUTED.items():
        (one,) = found(document, begins)
        assert one in left, f"A test executes it: {reason}"
        left.remove(one)

    assert [(each.document, each.text.splitlines()[0]) for each in left] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_each_command_of_an_operator_in_the_documents_exists(document: Path, app: Flask) -> None:
    text = "\n".join(shown for _, shown in FENCED.findall(document.read_text()))
    text += "\n".join(re.findall(r"`(flask [^`]+)`", document.read_text()))
    for line in re.findall(r"(?<![\w-])flask (?:--app wsgi )?([a-z].*)", text):
        options, words = re.findall(r"(?<![\w-])--[a-z][\w-]*", line.partition("#")[0]), line.split()
        command: click.Command = app.cli
        while isinstance(command, click.Group) and words and words[0] != "…":
            names = words.pop(0).split("|")
            assert all(name in command.commands for name in names), line
            command = command.commands[names[0]]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help", "--json"}
        assert isinstance(command, click.Group) or set(options) <= known, line


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_each_target_and_each_module_that_the_documents_name_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    # Between single backticks, or in an indented block.
    code = "\n".join(re.findall(r"`[^`\n]+`|^ {4}.+$", document.read_text(), re.MULTILINE))

    assert set(re.findall(r"(?<![\w-])make ([a-z]+)\b", code)) <= targets
    for module in re.findall(r"python -m ((?:app|bench|clients|local|tests)[\w.]*)", code):
        assert importlib.util.find_spec(module), module


def test_the_walk_of_the_readme_goes_as_it_says(live_bank: Bank, tmp_path: Path) -> None:
    assert isinstance(live_bank.client, OverHttp)
    steps = [
        block("README.md", "api="),
        block("README.md", "system_password=…"),
        block("README.md", "curl -s $api/accounts/$from/balance"),
        block("README.md", "curl -s -X POST $api/auth/logout"),
    ]
    script = "\n".join(steps).replace("http://127.0.0.1:5000", f"http://127.0.0.1:{live_bank.client.port}")

    walked = subprocess.run(
        ["bash", "-c", "set -eu -o pipefail\n" + script.replace("=…", f"='{PASSWORD}'")],
        cwd=tmp_path,
        env=with_this_python(),
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )

    assert walked.returncode == 0, walked.stderr
    answers = walked.stdout.splitlines()
    shown = (
        '"status":"ACTIVE"',
        '"amount":10000',
        '"message":"Transfer completed."',
        '"balance":9500',
        "Logged out.",
        "token_revoked",
    )
    assert len(answers) == len(shown), walked.stdout
    for answer, text in zip(answers, shown, strict=True):
        assert text in answer
