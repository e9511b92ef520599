"""The operator's commands: what they do and print, their exit codes, and their audit records."""

import json
import os
import pwd
import signal
from typing import Any

import pytest
from bson import ObjectId
from click.testing import Result
from flask import Flask
from pymongo.database import Database

from app.mongo import Document
from tests.people import PASSWORD, SYSTEM_EMAIL, Bank
from tests.terminal import flask_process

ACTOR = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
COMMANDS = [
    ("users", "create"),
    ("users", "promote"),
    ("users", "list"),
    ("accounts", "show"),
    ("accounts", "freeze"),
    ("accounts", "unfreeze"),
    ("accounts", "close"),
    ("transactions", "show"),
    ("transactions", "reverse"),
    ("audit", "tail"),
]


class Operator:
    """Runs commands in this process."""

    def __init__(self, app: Flask, database: Database[Document]) -> None:
        self._runner = app.test_cli_runner()
        self._database = database

    def run(self, *arguments: str, typed: str | None = None) -> Result:
        return self._runner.invoke(args=list(arguments), input=typed)

    def json(self, *arguments: str, typed: str | None = None) -> Any:
        """Run a command that must do what it was asked, and return its one line of JSON."""
        result = self.run(*arguments, "--json", typed=typed)
        assert result.exit_code == 0, result.stderr
        (line,) = result.stdout.splitlines()
        return json.loads(line)

    def records(self) -> list[Document]:
        """Return what the commands were recorded for. Initial funds came through the API."""
        return list(self._database.audit_log.find({"action": {"$ne": "funds_credited"}}))

    def record(self) -> Document:
        """Return the one record there is."""
        (record,) = self.records()
        return record


@pytest.fixture
def operator(app: Flask, database: Database[Document]) -> Operator:
    return Operator(app, database)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_its_exit_codes(operator: Operator, command: tuple[str, str]) -> None:
    result = operator.run(*command, "--help")

    assert result.exit_code == 0
    assert "Exit codes: 0 done; 1 refused" in " ".join(result.stdout.split())
    assert "--json" in result.stdout


def test_the_ledgers_commands_explain_their_exit_codes(operator: Operator) -> None:
    verify, receipt = (
        " ".join(operator.run("ledger", name, "--help").stdout.split()) for name in ("verify", "receipt")
    )

    assert "Exit codes: 0 the ledger is sound; 1 there are faults; 2 wrong usage; 3 not done" in verify
    assert "Exit codes: 0 done; 1 refused" in receipt


def test_no_command_takes_a_password_as_an_argument(operator: Operator) -> None:
    assert operator.run("users", "create", "a@fincore.example", "--name", "A", "--password", PASSWORD).exit_code == 2


def test_a_user_is_created_and_can_log_in(operator: Operator, bank: Bank) -> None:
    arguments = ("users", "create", " Olga@Fincore.example ", "--name", "Olga", "--role", "ADMIN", "--password-stdin")

    user = operator.json(*arguments, typed=f"{PASSWORD}\n")

    assert (user["email"], user["role"]) == ("olga@fincore.example", "ADMIN")
    assert bank.log_in("olga@fincore.example").id == user["id"]
    record = operator.record()
    assert (record["actor"], record["action"], str(record["subject"])) == (ACTOR, "user_created", user["id"])
    assert record["after"] == {"email": "olga@fincore.example", "role": "ADMIN"}


def test_a_password_is_asked_for_twice_and_not_shown(operator: Operator, bank: Bank) -> None:
    result = operator.run(
        "users", "create", "asha@fincore.example", "--name", "Asha", typed=f"{PASSWORD}\n{PASSWORD}\n"
    )

    assert result.exit_code == 0
    assert PASSWORD not in result.output
    assert bank.log_in("asha@fincore.example").user["name"] == "Asha"


@pytest.mark.parametrize(
    ("email", "name", "password", "exit_code", "reason"),
    [
        ("nonsense", "A", PASSWORD, 2, "e-mail"),
        ("a@fincore.example", "", PASSWORD, 2, "name"),
        ("a@fincore.example", "A", "short", 2, "password"),
        (SYSTEM_EMAIL, "A", PASSWORD, 1, "is registered already"),
    ],
)
def test_a_user_that_may_not_be_is_not_created(
    operator: Operator,
    database: Database[Document],
    email: str,
    name: str,
    password: str,
    exit_code: int,
    reason: str,
) -> None:
    result = operator.run("users", "create", email, "--name", name, "--password-stdin", typed=f"{password}\n")

    assert result.exit_code == exit_code
    assert reason in result.stderr
    assert result.stdout == ""
    assert database.users.count_documents({}) == 1
    assert operator.records() == []


def test_a_user_is_promoted_by_address_or_id(operator: Operator, bank: Bank) -> None:
    person = bank.register()

    assert operator.json("users", "promote", person.user["email"].upper(), "--reason", "Hired")["role"] == "ADMIN"
    record = operator.record()
    assert (record["actor"], record["action"], record["reason"]) == (ACTOR, "role_changed", "Hired")
    assert operator.json("users", "promote", person.id, "--role", "USER")["role"] == "USER"
    assert operator.run("users", "promote", "nobody@fincore.example").exit_code == 1


def test_the_last_system_user_keeps_the_role(operator: Operator, bank: Bank) -> None:
    result = operator.run("users", "promote", SYSTEM_EMAIL, "--role", "ADMIN")

    assert (result.exit_code, result.stdout) == (1, "")
    assert "last user with the role SYSTEM" in result.stderr
    assert operator.records() == []


def test_users_are_listed_in_aligned_columns_and_as_json(operator: Operator, bank: Bank) -> None:
    bank.register("A")
    bank.register("A much longer name")

    table = operator.run("users", "list").stdout.splitlines()

    assert len(table) == 4
    column = table[0].index("role")
    assert [line[column:].split()[0] for line in table[1:]] == ["USER", "USER", "SYSTEM"]
    lines = operator.run("users", "list", "--json", "--limit", "2").stdout.splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["A much longer name", "A"]
    assert operator.json("users", "list", "--search", "a MUCH")["name"] == "A much longer name"


def test_an_account_is_shown_frozen_unfrozen_and_closed(operator: Operator, bank: Bank) -> None:
    owner, account = bank.customer(5)
    expected = ["FROZEN", "ACTIVE"]

    shown = operator.json("accounts", "show", account)
    assert (shown["userId"], shown["balance"], shown["status"]) == (owner.id, 5, "ACTIVE")
    assert operator.records() == []
    for command, status in zip(("freeze", "unfreeze"), expected, strict=True):
        assert operator.json("accounts", command, account, "--reason", command)["status"] == status
    not_empty = operator.run("accounts", "close", account, "--reason", "x")
    assert (not_empty.exit_code, "account_not_empty" in not_empty.stderr) == (1, True)
    assert operator.run("accounts", "close", empty := owner.open_account(), "--reason", "Done").exit_code == 0
    assert bank.system.get(f"/api/accounts/{empty}").body["account"]["status"] == "CLOSED"
    assert [(record["actor"], record["reason"]) for record in operator.records()] == [
        (ACTOR, "freeze"),
        (ACTOR, "unfreeze"),
        (ACTOR, "Done"),
    ]
    assert all(record["address"] for record in operator.records())


def test_a_transaction_is_shown_and_reversed_once(operator: Operator, bank: Bank) -> None:
    owner, account = bank.customer()
    funding = bank.fund(account, 70).body["transaction"]["id"]

    shown = operator.json("transactions", "show", funding)
    assert (shown["amount"], "idempotencyKey" in shown) == (70, False)
    reversal = operator.json("transactions", "reverse", funding, "--reason", "Typo", "--key", "ticket-1")
    repeated = operator.json("transactions", "reverse", funding, "--reason", "Typo", "--key", "ticket-1")
    again = operator.run("transactions", "reverse", funding, "--reason", "Typo")

    assert (reversal["kind"], reversal["reverses"], reversal["metadata"]) == ("REVERSAL", funding, {"reason": "Typo"})
    assert repeated == reversal
    assert (again.exit_code, "already_reversed" in again.stderr) == (1, True)
    assert owner.balance(account) == 0
    record = operator.record()
    assert (record["actor"], record["action"], str(record["subject"])) == (ACTOR, "transaction_reversed", funding)


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (("accounts", "show", "0" * 24), 2),
        (("accounts", "show", "nonsense"), 2),
        (("accounts", "show", "a" * 24), 1),
        (("accounts", "freeze", "a" * 24), 2),
        (("accounts", "freeze", "a" * 24, "--reason", ""), 2),
        (("accounts", "freeze", "a" * 24, "--reason", "x"), 1),
        (("transactions", "show", "a" * 24), 1),
        (("transactions", "reverse", "a" * 24, "--reason", "x"), 1),
        (("transactions", "reverse", "a" * 24, "--reason", "x", "--key", "a\nb"), 2),
        (("users", "promote", "a" * 24, "--role", "BOSS"), 2),
        (("users", "list", "--limit", "0"), 2),
        (("users", "list", "--limit", "9" * 20), 2),
        (("audit", "tail", "-n", "9" * 20), 2),
        (("users", "promote", "a\udcff"), 2),
        (("users", "list", "--search", "a\udcff"), 2),
        (("mail", "retry", "\udcff"), 2),
        (("ledger", "verify", "--account", "\udcff"), 2),
        (("\udcff",), 2),
        (("users", "nonsense"), 2),
    ],
)
def test_what_is_refused_and_what_is_wrongly_used_end_differently(
    operator: Operator, arguments: tuple[str, ...], exit_code: int
) -> None:
    result = operator.run(*arguments)

    assert result.exit_code == exit_code
    assert result.stdout == ""
    assert result.stderr
    assert operator.records() == []


def test_the_audit_log_ends_with_the_newest(operator: Operator, bank: Bank) -> None:
    _, account = bank.customer()
    for command in ("freeze", "unfreeze", "freeze"):
        operator.run("accounts", command, account, "--reason", command)

    lines = [json.loads(line) for line in operator.run("audit", "tail", "-n", "2", "--json").stdout.splitlines()]

    assert [line["action"] for line in lines] == ["account_unfrozen", "account_frozen"]
    table = operator.run("audit", "tail", "--subject", account, "--actor", ACTOR).stdout.splitlines()
    assert len(table) == 4
    assert table[0].split()[:4] == ["at", "actor", "action", "subject"]
    assert operator.run("audit", "tail", "--actor", "cli:nobody", "--json").stdout == ""


def test_nothing_that_people_wrote_acts_on_the_terminal(
    operator: Operator, bank: Bank, database: Database[Document]
) -> None:
    written = "\x1b]0;owned\x07\x9b31m\u202e\u2028\nAsha\x7f"
    shown = r"\x1b]0;owned\x07\x9b31m\u202e\u2028\nAsha\x7f"
    person, account = bank.customer()
    operator.run("accounts", "freeze", account, "--reason", "Look")
    # As an earlier version let them in, or somebody with the database's password.
    database.users.update_one({"_id": ObjectId(person.id)}, {"$set": {"name": written}})
    database.accounts.update_one({"_id": ObjectId(account)}, {"$set": {"name": written}})
    database.audit_log.update_one({}, {"$set": {"subject": written, "after": {"status": written}}})

    tables = [operator.run(*arguments).stdout for arguments in (("users", "list"), ("accounts", "show", account))]
    tables.append(operator.run("audit", "tail").stdout)

    assert all(shown in table for table in tables)
    assert all(line.isprintable() for table in tables for line in table.split("\n"))
    assert json.loads(operator.run("audit", "tail", "--json").stdout)["subject"] == written


def test_the_audit_log_is_followed_until_interrupted(operator: Operator, bank: Bank, mongo_uri: str) -> None:
    _, account = bank.customer()
    operator.run("accounts", "freeze", account, "--reason", "before")

    with flask_process(mongo_uri, "audit", "tail", "-f", "--json") as tail:
        assert tail.stdout is not None
        assert json.loads(tail.stdout.readline())["reason"] == "before"
        for reason, command in (("first", "unfreeze"), ("second", "freeze")):
            operator.run("accounts", command, account, "--reason", reason)
            assert json.loads(tail.stdout.readline())["reason"] == reason
        tail.send_signal(signal.SIGINT)
        assert tail.wait(60) == 0
