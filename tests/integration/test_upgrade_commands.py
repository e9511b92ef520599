"""How an operator upgrades a database: `flask db upgrade`, `finish` and `status`."""

from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from pymongo import MongoClient
from pymongo.database import Database

from app import mongo
from app.mongo import Document
from app.mongo.migrations import run
from app.mongo.migrations.version_2 import normalise_emails
from app.mongo.readiness import check_schema
from local.replica_set import ReplicaSet
from tests.documents import block, commands
from tests.integration.test_schema import USER
from tests.upgrades import EMPTY_DATABASE, run_again


def db(app: Flask, replica_set: ReplicaSet, *arguments: str) -> Result:
    """Run a command on this database with an administrator's rights."""
    mongo.close()
    mongo.use(MongoClient[Document](replica_set.admin_uri, tz_aware=True)[EMPTY_DATABASE])
    try:
        return app.test_cli_runner().invoke(args=["db", *arguments])
    finally:
        mongo.close()


def test_two_old_users_whose_addresses_become_one_are_named_and_do_not_stop_the_upgrade(
    app: Flask, old_database: Database[Document], replica_set: ReplicaSet
) -> None:
    users = old_database.users
    addresses = ("jos\u0301e@fincore.example", "jo\u015be@fincore.example", "ve\u0301ra@fincore.example")
    ids = [users.insert_one({**USER, "email": email}).inserted_id for email in addresses]

    for command in ("upgrade", "finish", "upgrade"):
        result = db(app, replica_set, command)

        assert result.exit_code == 0, result.output
        (told,) = [line for line in result.stdout.splitlines() if line.startswith("Attention")]
        assert all(str(id_) in told for id_ in ids[:2])
    check_schema(old_database)
    kept = [users.find_one({"_id": id_})["email"] for id_ in ids]  # type: ignore[index]
    assert kept == [addresses[0], addresses[1], "v\u00e9ra@fincore.example"]
    assert len(run_again(normalise_emails, old_database)) == 1


def test_the_operator_follows_an_upgrade(app: Flask, old_database: Database[Document], replica_set: ReplicaSet) -> None:
    def status() -> tuple[int, Any]:
        result = db(app, replica_set, "status", "--json")
        return result.exit_code, result.stdout

    before = db(app, replica_set, "status")
    assert before.exit_code == 1
    assert "1  upgrade  normalise addresses" in before.stdout

    upgraded = db(app, replica_set, "upgrade")
    assert upgraded.exit_code == 0, upgraded.output
    assert "5 migrations done. The schema has version 2." in upgraded.stdout
    assert "db finish" in upgraded.stdout
    assert "Collections and indexes" in upgraded.stderr
    between = status()
    assert between[0] == 1
    assert '"finished": false' in between[1]
    assert '"usableFrom": 1' in between[1]

    finished = db(app, replica_set, "finish")
    assert finished.exit_code == 0, finished.output
    assert "7 migrations done." in finished.stdout
    after = status()
    assert after[0] == 0
    assert '"pending": []' in after[1]
    again = db(app, replica_set, "upgrade")
    assert (again.exit_code, again.stdout) == (0, "Nothing was pending. The schema has version 2.\n")


def test_the_operator_types_what_the_guide_says_in_its_order(
    app: Flask, empty_database: Database[Document], replica_set: ReplicaSet
) -> None:
    shown = commands(block("docs/operations.md", "flask --app wsgi db"))

    for words in shown:
        assert words[:4] == ["flask", "--app", "wsgi", "db"]
        result = db(app, replica_set, *words[4:])
        assert result.exit_code == 0, result.output
    assert run.state(empty_database).is_up_to_date


def test_a_refusal_is_one_line_and_exit_code_1(
    app: Flask, empty_database: Database[Document], replica_set: ReplicaSet
) -> None:
    for command in ("upgrade", "finish"):
        result = db(app, replica_set, command)

        assert result.exit_code == 1
        assert result.stderr == (
            f"Error: The database {EMPTY_DATABASE!r} has no schema. Run `flask --app wsgi db init`.\n"
        )
    assert db(app, replica_set, "status").exit_code == 1


@pytest.mark.usefixtures("database")
def test_the_applications_own_user_may_look_but_not_upgrade(app: Flask) -> None:
    looked = app.test_cli_runner().invoke(args=["db", "status"])
    upgraded = app.test_cli_runner().invoke(args=["db", "upgrade"])

    assert looked.exit_code == 0, looked.output
    assert upgraded.exit_code == 0, "nothing was pending, so nothing was refused"
