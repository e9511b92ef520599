"""Every command in the documents is executed by a test, or it is said here why it cannot be."""

import os
import re
import subprocess
from pathlib import Path

import click
import pytest
from flask import Flask

from config import ROOT
from tests.clients import OverHttp
from tests.people import PASSWORD, Bank

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "bench" / "README.md"])
FENCED = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Blocks of these languages are commands or settings for a program. The others are examples of text.
OF_PROGRAMS = {"sh", "javascript", "haproxy", "ini"}
TIMEOUT_S = 60
WALK = "This file executes it."
# By document and how a block begins: the file of the tests that execute it, or why none can.
EXECUTED = {
    ("README.md", "make run"): "tests/integration/test_make.py",
    ("README.md", "api="): WALK,
    ("README.md", "from=…"): WALK,
    ("README.md", "curl -s $api/accounts/$from/balance"): WALK,
    ("README.md", "curl -s -X POST $api/auth/logout"): WALK,
    ("README.md", "MONGO_URI="): "tests/integration/test_roles.py",
    ("docs/api.md", ""): "tests/api/test_guide.py",
    ("docs/clients.md", "newman run"): "tests/api/test_postman.py",
    ("docs/clients.md", "openapi-python-client"): "tests/api/test_generated_clients.py",
    ("docs/clients.md", "npx openapi-typescript"): "tests/api/test_generated_clients.py",
    (
        "docs/operations.md",
        "[Unit]",
    ): "Nothing runs systemd here. Its checker reads the units in deploy/.",
    ("docs/operations.md", "defaults"): "tests/faults/test_proxies.py",
    ("docs/operations.md", "flask --app wsgi db"): "tests/integration/test_upgrade_commands.py",
    ("docs/operations.md", "flask --app wsgi backup"): "tests/integration/test_backup.py",
    ("docs/operations.md", "flask --app wsgi doctor"): "tests/integration/test_doctor.py",
    (
        "docs/operations.md",
        "db.getSiblingDB",
    ): "It takes mongosh. tests/integration/test_roles.py makes such a user.",
    (
        "docs/operations.md",
        "sh.enableSharding",
    ): "It takes mongos. The text says that it was never run.",
    ("docs/webhooks.md", "const crypto"): "tests/api/test_webhook_guide.py",
    ("docs/webhooks.md", "body="): "tests/api/test_webhook_guide.py",
}
GIVEN = {
    "from=…": "from=$(account $asha)",
    "to=…": "to=$(open_account $ben)",
    '"password": "…"': f'"password": "{PASSWORD}"',
}
# What the reader does by hand: he takes an id out of an answer, and opens a second account.
HANDS = r"""
id_in() {
  python3 -c 'import json, sys; a = json.load(sys.stdin); print((a.get("accounts") or [a.get("account")])[0]["id"])'
}
account() { curl -s $api/accounts -H "Authorization: Bearer $1" | id_in; }
open_account() {
  curl -s $api/accounts/create -H "Authorization: Bearer $1" -H 'Content-Type: application/json' -d '{}' | id_in
}
"""


def blocks() -> list[tuple[str, str]]:
    """Return the document and the text of each block that is for a program."""
    return [
        (str(document.relative_to(ROOT)), text)
        for document in DOCUMENTS
        for language, text in FENCED.findall(document.read_text())
        if language in OF_PROGRAMS
    ]


def entry_of(document: str, text: str) -> tuple[str, str] | None:
    return next((entry for entry in EXECUTED if entry[0] == document and text.startswith(entry[1])), None)


def test_each_block_of_commands_is_executed_or_it_is_said_why_not() -> None:
    found = {(document, text.splitlines()[0]): entry_of(document, text) for document, text in blocks()}

    assert [block for block, entry in found.items() if entry is None] == []
    assert set(found.values()) == EXECUTED.keys()
    for where in EXECUTED.values():
        assert not where.startswith("tests/") or (ROOT / where).exists(), where


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_each_command_of_an_operator_in_the_documents_exists(document: Path, app: Flask) -> None:
    text = "\n".join(block for _, block in FENCED.findall(document.read_text()))
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


def test_the_walk_of_the_readme_goes_as_it_says(live_bank: Bank, tmp_path: Path) -> None:
    assert isinstance(live_bank.client, OverHttp)
    script = "\n".join(text for document, text in blocks() if document == "README.md" and "$api" in text)
    script = script.replace("http://127.0.0.1:5000", f"http://127.0.0.1:{live_bank.client.port}")
    for placeholder, value in GIVEN.items():
        assert placeholder in script
        script = script.replace(placeholder, value)

    walked = subprocess.run(
        ["bash", "-c", f"set -eu -o pipefail\n{HANDS}\n{script}"],
        cwd=tmp_path,
        env=os.environ,
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
