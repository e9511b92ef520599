"""`flask doctor`: its findings and its advice, and that it runs even if the bank cannot."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from pymongo.database import Database

from app.cli import infirmary
from app.mail.smtp import mail
from app.mongo import Document
from app.mongo.schema import VALIDATORS
from config import Config
from local.processes import LOOPBACK, free_port
from local.replica_set import ReplicaSet
from tests.documents import block, commands
from tests.mail import smtp_server
from tests.server import JWT_SECRET
from tests.terminal import environment, flask_process

pytestmark = pytest.mark.usefixtures("bank", "usual_mail")
Findings = dict[tuple[str, str], list[dict[str, Any]]]


@pytest.fixture
def usual_mail(app: Flask, config: Config) -> Iterator[None]:
    """Have the mail settings of all tests again afterwards."""
    yield
    mail.configure(app, config.mail)


def examined(mongo_uri: str, *, code: int, **settings: str) -> Findings:
    """Run the command in this process and return its findings by subject and state."""
    # It has a database client of its own, and reads the settings anew.
    result = infirmary().test_cli_runner().invoke(args=["doctor", "--json"], env=environment(mongo_uri, **settings))
    assert result.exit_code == code, result.output
    assert not result.stderr
    return by_subject(result.stdout)


def by_subject(printed: str) -> Findings:
    findings: Findings = {}
    for line in printed.splitlines():
        finding = json.loads(line)
        findings.setdefault((finding["subject"], finding["state"]), []).append(finding)
    return findings


def test_a_sound_bank_has_no_faults(mongo_uri: str) -> None:
    with smtp_server() as server:
        found = examined(mongo_uri, code=0, MAIL_SERVER=LOOPBACK, MAIL_PORT=str(server.port))

    for subject in ("settings", "proxies", "database", "clock", "rights", "mail", "disk", "processes"):
        assert (subject, "ok") in found
    # The restricted role cannot see indexes, which the doctor says instead of guessing.
    assert "administrator's" in found["schema", "unknown"][0]["advice"]
    # The tests' replica set has one member.
    assert "Have three" in found["database", "attention"][0]["advice"]


def test_where_letters_lead_is_told(mongo_uri: str) -> None:
    assert "only a token" in examined(mongo_uri, code=0)["links", "attention"][0]["found"]

    found = examined(mongo_uri, code=0, PUBLIC_URL="https://bank.example")
    assert found["links", "ok"][0]["found"] == "Letters lead to https://bank.example."

    found = examined(mongo_uri, code=0, PUBLIC_URL="http://127.0.0.1:5000", TRUSTED_PROXIES="10.0.0.7")
    assert "only browsers on this host" in found["links", "attention"][0]["found"]


def test_what_is_found_can_be_read_by_people(mongo_uri: str) -> None:
    ((_, _, _, *shown),) = commands(block("docs/operations.md", "flask --app wsgi doctor"))
    with flask_process(mongo_uri, *shown) as process:
        out, _ = process.communicate(timeout=60)

    assert "ok         rights: The user of MONGO_URI cannot change an entry" in out
    assert "\n           -> " in out


def test_weak_secrets_are_named_and_the_rest_is_looked_at(mongo_uri: str) -> None:
    # In a process of its own, because another application is made where the settings are wrong.
    with flask_process(mongo_uri, "doctor", "--json", JWT_SECRET="brief", PORT="many") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (1, "")
    found = by_subject(out)

    (fault,) = found["settings", "fault"]
    assert "JWT_SECRET" in fault["found"]
    assert "PORT" in fault["found"]
    assert ("rights", "ok") in found


def test_without_a_database_the_rest_is_looked_at(mongo_uri: str) -> None:
    away = f"mongodb://{LOOPBACK}:{free_port()}/fincore?replicaSet=rs0&serverSelectionTimeoutMS=500"
    found = examined(away, code=1)

    assert found["database", "fault"][0]["found"] == "The database cannot be reached."
    assert ("disk", "ok") in found
    assert ("mail", "attention") in found
    assert examined("", code=1)["database", "fault"][0]["found"] == "MONGO_URI is not set, or malformed."


def test_a_wrong_password_is_told_without_showing_it(mongo_uri: str) -> None:
    wrong = mongo_uri.replace("application-password", "not-the-password")
    assert wrong != mongo_uri
    found = examined(wrong, code=1)

    assert "refuses the user" in found["database", "fault"][0]["found"]
    assert "not-the-password" not in json.dumps(list(found.values()))


def test_an_administrator_as_the_banks_user_is_a_fault(replica_set: ReplicaSet) -> None:
    (fault,) = examined(replica_set.admin_uri, code=1)["rights", "fault"]

    assert "change ledger_entries" in fault["found"]
    assert "remove transactions" in fault["found"]


def test_the_trial_of_rights_changes_nothing(replica_set: ReplicaSet, database: Database[Document]) -> None:
    def contents() -> list[Document]:
        return [document for name in sorted(VALIDATORS) for document in database[name].find().sort("_id", 1)]

    before = contents()
    examined(replica_set.admin_uri, code=1)
    assert contents() == before


@contextmanager
def without_index(database: Database[Document]) -> Iterator[str]:
    name = "sequence_of_nothing"
    database.audit_log.create_index("nothing", name=name)
    information = database.ledger_entries.index_information()["transaction_1"]
    database.ledger_entries.drop_index("transaction_1")
    yield name
    database.ledger_entries.create_index(information["key"])
    database.audit_log.drop_index(name)


def test_indexes_are_compared_with_the_programs_own(replica_set: ReplicaSet, database: Database[Document]) -> None:
    with without_index(database) as superfluous:
        found = examined(replica_set.admin_uri, code=1)

    assert found["schema", "fault"][0]["found"] == "ledger_entries lacks the indexes transaction_1."
    assert superfluous in found["schema", "attention"][0]["found"]


def test_validators_are_compared_with_the_programs_own(replica_set: ReplicaSet, database: Database[Document]) -> None:
    database.command("collMod", "accounts", validator={})
    try:
        found = examined(replica_set.admin_uri, code=1)
    finally:
        database.command("collMod", "accounts", validator={"$jsonSchema": VALIDATORS["accounts"]})

    assert "accounts" in found["schema", "fault"][0]["found"]


def test_a_mail_server_that_is_away_is_a_fault(mongo_uri: str) -> None:
    found = examined(mongo_uri, code=1, MAIL_SERVER=LOOPBACK, MAIL_PORT=str(free_port()))

    assert "takes no mail" in found["mail", "fault"][0]["found"]


def test_settings_that_others_can_read_are_a_fault(mongo_uri: str, tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text(f"JWT_SECRET={JWT_SECRET}\n")
    file.chmod(0o644)
    assert f"chmod 600 {file}" in examined(mongo_uri, code=1, ENV_FILE=str(file))["settings", "fault"][0]["advice"]
    file.chmod(0o640)
    assert ("settings", "fault") not in examined(mongo_uri, code=0, ENV_FILE=str(file))


def test_an_open_server_without_a_proxy_is_pointed_out(mongo_uri: str) -> None:
    found = examined(mongo_uri, code=0, HOST="0.0.0.0", RATELIMIT_ENABLED="false")  # noqa: S104

    assert "without TLS" in found["proxies", "attention"][0]["found"]
    assert any("guessing" in finding["found"] for finding in found["settings", "attention"])
