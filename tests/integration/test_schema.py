"""The database's shape: what it refuses by itself, how it is made, and the error if it is missing."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128, Int64, ObjectId
from click.testing import Result
from flask import Flask
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import ConnectionFailure, DuplicateKeyError, WriteError

from app import mongo
from app.mongo import Document
from app.mongo.migrations.record import shape_digest
from app.mongo.migrations.run import ensure_schema
from app.mongo.readiness import NotReady, check_database, check_schema
from app.mongo.schema import INDEXES, SCHEMA_VERSION, VALIDATORS
from local.mongod_binary import find_mongod
from local.processes import LOOPBACK, free_port, holds_within
from local.replica_set import ReplicaSet
from tests.documents import block, commands
from tests.people import Bank
from tests.upgrades import EMPTY_DATABASE

VALIDATION_FAILED = 121
TIMEOUT_MS = 20_000
START_TIMEOUT_S = 90.0

# The schema of SCHEMA_VERSION. The test below says what to write here.
PINNED = (2, "5fe5d03733ab2dc1")


def test_a_change_of_the_schema_raises_its_version() -> None:
    digest = shape_digest()
    version = PINNED[0] if digest == PINNED[1] else PINNED[0] + 1

    assert (SCHEMA_VERSION, digest) == PINNED, (
        "VALIDATORS, INDEXES or PRIVILEGES changed, and databases out there have the old ones. "
        f"Set SCHEMA_VERSION = {version} in app/mongo/schema.py, so that the program refuses them until "
        f"`flask --app wsgi db upgrade` has run, add the migrations to it, and PINNED = ({version}, {digest!r}) here."
    )


# Parameters of tests must be the same in every test worker.
ID = ObjectId("6560a1b2c3d4e5f601234567")
ENTRY = {
    "account": ID,
    "sequence": Int64(0),
    "type": "CREDIT",
    "amount": Int64(5),
    "balance": Int64(5),
    "held": Int64(0),
    "transaction": None,
    "counterparty": None,
    "description": None,
    "created_at": datetime(2026, 11, 22, tzinfo=UTC),
    "previous_hash": bytes(32),
    "hash": bytes(32),
}
TRANSACTION = {
    "user": ID,
    "idempotency_key": "key",
    "fingerprint": {},
    "kind": "TRANSFER",
    "from_account": ID,
    "to_account": ID,
    "accounts": [ID, ID],
    "amount": Int64(5),
    "currency": "INR",
    "status": "COMPLETED",
    "created_at": datetime(2026, 11, 22, tzinfo=UTC),
}
USER = {
    "email": "asha@fincore.example",
    "name": "Asha Rao",
    "password_hash": "$2b$",
    "role": "USER",
    "created_at": datetime(2026, 11, 22, tzinfo=UTC),
}
ACCOUNT = {
    "kind": "CUSTOMER",
    "user": ID,
    "name": None,
    "currency": "INR",
    "status": "ACTIVE",
    "created_at": datetime(2026, 11, 22, tzinfo=UTC),
}
REVERSED = {"by": ID}
ACCEPTED: dict[str, Document] = {
    "ledger_entries": ENTRY,
    "transactions": TRANSACTION,
    "users": USER,
    "accounts": ACCOUNT,
    "reversals": REVERSED,
}


@pytest.mark.parametrize("collection", ACCEPTED)
def test_the_documents_of_this_module_are_accepted_as_they_are(database: Database[Document], collection: str) -> None:
    database[collection].insert_one(dict(ACCEPTED[collection]))


@pytest.mark.parametrize(
    ("collection", "field", "value"),
    [
        *(("ledger_entries", field, value) for field in ("amount", "balance", "held") for value in (5.0, "5", None)),
        ("ledger_entries", "amount", 5),
        ("ledger_entries", "amount", Decimal128("5")),
        ("ledger_entries", "amount", Int64(-1)),
        ("ledger_entries", "held", Int64(-1)),
        ("ledger_entries", "sequence", Int64(-1)),
        ("ledger_entries", "sequence", 0.0),
        ("ledger_entries", "type", "GIFT"),
        ("ledger_entries", "account", "6560a1b2c3d4e5f601234567"),
        ("ledger_entries", "hash", "00"),
        ("transactions", "amount", 5.0),
        ("transactions", "amount", "5"),
        ("transactions", "kind", "GIFT"),
        ("transactions", "status", "DONE"),
        ("transactions", "accounts", [ID]),
        ("transactions", "user", "asha"),
        ("users", "role", "OWNER"),
        ("users", "email", {"$ne": 1}),
        ("users", "created_at", "2026-11-22"),
        ("reversals", "by", "6560a1b2c3d4e5f601234567"),
        ("accounts", "status", "OPEN"),
        ("accounts", "kind", "SAVINGS"),
    ],
    ids=str,
)
def test_the_database_itself_refuses(database: Database[Document], collection: str, field: str, value: Any) -> None:
    with pytest.raises(WriteError) as refused:
        database[collection].insert_one({**ACCEPTED[collection], field: value})

    assert refused.value.code == VALIDATION_FAILED


@pytest.mark.parametrize(
    ("collection", "field"), [(collection, field) for collection, document in ACCEPTED.items() for field in document]
)
def test_no_field_that_every_document_has_may_be_missing(
    database: Database[Document], collection: str, field: str
) -> None:
    document = {name: value for name, value in ACCEPTED[collection].items() if name != field}

    # A treasury has no user.
    if (collection, field) in {("accounts", "user"), ("accounts", "name")}:
        database[collection].insert_one(document)
        return
    with pytest.raises(WriteError) as refused:
        database[collection].insert_one(document)
    assert refused.value.code == VALIDATION_FAILED


@pytest.mark.parametrize(
    ("collection", "unlike"),
    [
        ("users", {"name": "Somebody Else"}),
        ("ledger_entries", {"amount": Int64(6)}),
        ("transactions", {"amount": Int64(6)}),
    ],
)
def test_the_database_itself_keeps_unique_what_must_be(
    database: Database[Document], collection: str, unlike: Document
) -> None:
    database[collection].insert_one(dict(ACCEPTED[collection]))

    with pytest.raises(DuplicateKeyError):
        database[collection].insert_one({**ACCEPTED[collection], **unlike})


def test_making_the_schema_again_changes_nothing_and_keeps_the_data(bank: Bank, database: Database[Document]) -> None:
    def shape() -> Document:
        return {
            "validators": {c["name"]: c["options"].get("validator") for c in database.list_collections()},
            "indexes": {name: database[name].index_information() for name in VALIDATORS},
            "role": database.command("rolesInfo", "fincore_app", showPrivileges=True)["roles"],
        }

    person, account = bank.customer(500)
    before = shape()

    ensure_schema(database)

    assert shape() == before
    assert person.balance(account) == 500


def test_every_collection_has_its_validator_and_indexes(database: Database[Document]) -> None:
    options = {collection["name"]: collection["options"] for collection in database.list_collections()}

    for name, validator in VALIDATORS.items():
        assert options[name]["validator"] == {"$jsonSchema": validator}, name
        indexes = database[name].index_information()
        assert {index.document["name"] for index in INDEXES.get(name, ())} == indexes.keys() - {"_id_"}, name


def test_a_database_without_the_schema_is_not_ready_until_it_is_made(empty_database: Database[Document]) -> None:
    with pytest.raises(NotReady, match="db init"):
        check_schema(empty_database)

    ensure_schema(empty_database)

    check_schema(empty_database)


@contextmanager
def lifetime_of_blocks(client: MongoClient[Document], seconds: int) -> Iterator[None]:
    name = "transactionLifetimeLimitSeconds"
    before = client.admin.command({"getParameter": 1, name: 1})[name]
    client.admin.command({"setParameter": 1, name: seconds})
    yield
    client.admin.command({"setParameter": 1, name: before})


def db_init(app: Flask, admin_uri: str | None = None) -> Result:
    """Run the command on the empty database with these rights, or on the bank's with the application's own."""
    mongo.close()
    if admin_uri is not None:
        mongo.use(MongoClient[Document](admin_uri)[EMPTY_DATABASE])
    try:
        init, _ = commands(block("README.md", "MONGO_URI="))
        return app.test_cli_runner().invoke(args=init[init.index("wsgi") + 1 :])
    finally:
        mongo.close()


def test_the_operator_makes_the_schema_and_may_do_so_again(
    app: Flask, empty_database: Database[Document], replica_set: ReplicaSet
) -> None:
    for _ in range(2):
        result = db_init(app, replica_set.admin_uri)

        assert result.exit_code == 0, result.output
        assert "'fincore_empty' is in place" in result.stdout
        assert "Advice" not in result.stdout
    check_schema(empty_database)


def test_the_operator_is_advised_of_a_server_that_keeps_what_nobody_wants(
    app: Flask, empty_database: Database[Document], replica_set: ReplicaSet
) -> None:
    with lifetime_of_blocks(empty_database.client, 60):
        result = db_init(app, replica_set.admin_uri)

    assert result.exit_code == 0
    assert "for 60 s" in result.stdout
    assert "transactionLifetimeLimitSeconds" in result.stdout


def test_the_applications_own_user_may_not_make_the_schema_and_is_told_who_may(
    app: Flask, database: Database[Document]
) -> None:
    made = database["schema"].find_one_and_update({"_id": "version"}, {"$set": {"shape": "another"}})
    assert made is not None

    result = db_init(app)

    database["schema"].update_one({"_id": "version"}, {"$set": {"shape": made["shape"]}})

    assert result.exit_code == 1
    assert "Use an administrator's." in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.usefixtures("database")
def test_the_applications_own_credentials_see_that_the_schema_is_there(mongo_uri: str) -> None:
    check_database(mongo_uri, timeout_ms=TIMEOUT_MS)


@pytest.mark.usefixtures("database")
def test_credentials_without_the_role_are_told_which_to_give(mongo_uri: str) -> None:
    with pytest.raises(NotReady, match="fincore_app"):
        check_database(mongo_uri.replace("/fincore?", "/fincore_other?authSource=fincore&"), timeout_ms=TIMEOUT_MS)


def test_a_server_that_cannot_be_reached_is_told_apart() -> None:
    with pytest.raises(ConnectionFailure):
        check_database("mongodb://127.0.0.1:9/fincore?replicaSet=rs0", timeout_ms=200)


@pytest.fixture
def standalone_uri(tmp_path: Path) -> Iterator[str]:
    """A mongod that is no member of a replica set."""
    port = free_port()
    data = str(tmp_path)
    command = [str(find_mongod()), "--quiet", "--bind_ip", LOOPBACK, "--port", str(port), "--dbpath", data]
    process = subprocess.Popen([*command, "--nounixsocket"], stdout=subprocess.DEVNULL)
    uri = f"mongodb://{LOOPBACK}:{port}/fincore"
    try:
        with MongoClient[Document](uri, serverSelectionTimeoutMS=100) as client:
            assert holds_within(START_TIMEOUT_S, lambda: process.poll() is not None or answers(client))
        assert process.poll() is None, "mongod did not start."
        yield uri
    finally:
        process.kill()
        process.wait()


def answers(client: MongoClient[Document]) -> bool:
    try:
        client.admin.command("ping")
        return True
    except ConnectionFailure:
        return False


def test_a_standalone_server_is_refused_with_what_to_do(standalone_uri: str) -> None:
    with pytest.raises(NotReady, match="replSet"):
        check_database(standalone_uri, timeout_ms=TIMEOUT_MS)

    with MongoClient[Document](standalone_uri) as client:
        with pytest.raises(NotReady, match="replSet"):
            ensure_schema(client.get_default_database())
        assert client.get_default_database().list_collection_names() == []
