"""A bank of the first release: made by that release's own code, kept in a file, and put into a database.

    git worktree add /tmp/first-release 47a967e
    python -m tests.first_release /tmp/first-release

makes `tests/fixtures/first_release/bank.jsonl.gz`: a line with the answers that clients got, then one line for each
document.
"""

import gzip
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bson import json_util
from pymongo import MongoClient
from pymongo.database import Database

from app.mongo import Document
from app.mongo.schema import ROLE
from config import ROOT
from local.processes import free_port, holds_within
from local.replica_set import ReplicaSet
from tests.clients import OverHttp
from tests.people import PASSWORD, SYSTEM_EMAIL, Bank, Person
from tests.server import JWT_SECRET, RECEIPT_KEY, START_TIMEOUT_S, STOP_TIMEOUT_S, is_ready

BANK = ROOT / "tests" / "fixtures" / "first_release" / "bank.jsonl.gz"
NEW_PASSWORD = "another long password"
APP_PASSWORD = "application-password"
HOLD_S = 30 * 24 * 3600
# Without request limits and leases, which expire within minutes anyway.
_KEPT = (
    "users", "accounts", "transactions", "ledger_entries", "audit_log", "revoked_tokens", "password_resets",
    "login_failures", "outbox", "schema",
)  # fmt: skip
_OPTIONS = json_util.JSONOptions(json_mode=json_util.JSONMode.CANONICAL, tz_aware=True, tzinfo=UTC, document_class=dict)
_PROVISION = """
import sys
from app.embedded import provision
print(provision(sys.argv[1], sys.argv[2]))
"""
_SYSTEM_USER = """
import sys
from app import mongo
from app.auth.service import ensure_system_user
mongo.connect(uri=sys.argv[1], timeout_ms=20_000)
assert ensure_system_user(email=sys.argv[2], password=sys.argv[3], bcrypt_rounds=4)
"""


def make_schema(checkout: Path, replica_set: ReplicaSet) -> str:
    """Make the schema of the release that is checked out there, and its system user; return the application's URI."""
    uri = _python(checkout, _PROVISION, replica_set.admin_uri, APP_PASSWORD).strip()
    _python(checkout, _SYSTEM_USER, uri, SYSTEM_EMAIL, PASSWORD)
    return uri


def _python(checkout: Path, program: str, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=checkout, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@contextmanager
def served(checkout: Path, mongo_uri: str, **settings: str) -> Iterator[int]:
    """Serve a bank with the release that is checked out there."""
    port = free_port()
    environment = {
        **os.environ,
        "ENV_FILE": os.devnull,
        "MONGO_URI": mongo_uri,
        "JWT_SECRET": JWT_SECRET,
        "RECEIPT_KEY": RECEIPT_KEY,
        "BCRYPT_ROUNDS": "4",
        "LOG_LEVEL": "CRITICAL",
        "PORT": str(port),
        "WEB_CONCURRENCY": "1",
        "RATELIMIT_ENABLED": "false",
        "MAIL_DELIVERY": "off",
        **settings,
    }
    process = subprocess.Popen([sys.executable, "-m", "gunicorn", "wsgi:app"], cwd=checkout, env=environment)
    try:
        assert holds_within(START_TIMEOUT_S, lambda: process.poll() is not None or is_ready(port))
        assert process.poll() is None, "gunicorn did not start; its reason is above."
        yield port
    finally:
        process.terminate()
        process.wait(STOP_TIMEOUT_S)


def live(bank: Bank) -> Document:
    """Let people use the bank in every way, and return the answers that they got."""
    asha = register(bank, "Asha Rao", "asha@fincore.example")
    ravi = register(bank, "Ravi Iyer", "ravi@fincore.example")
    joerg = register(bank, "Jörg Bäcker", "joerg@bücher.example")
    savings, current = asha.open_account(name="Savings"), asha.open_account()
    shop, empty = ravi.open_account(name="Shop"), ravi.open_account()
    euros, frozen = joerg.open_account("EUR"), joerg.open_account()
    for account in (savings, current, shop, frozen):
        bank.fund(account, 100_000)
    bank.fund(euros, 5_000)

    sent = [
        asha.transfer(
            savings, shop, 100 + number, f"rent-{number}", description="Rent", metadata={"invoice": str(number)}
        )
        for number in range(30)
    ]
    declined = asha.transfer(current, shop, 900_000, "too-much")
    assert (declined.status, declined.code) == (422, "insufficient_funds")
    items = [
        {"fromAccount": savings, "toAccount": shop, "amount": 7},
        {"fromAccount": savings, "toAccount": euros, "amount": 9},
    ]
    batch = asha.post("/api/transactions/batch", {"transfers": items, "atomic": False, "idempotencyKey": "batch"})
    assert batch.status == 201, batch.content
    reverse = {"reason": "A mistake", "idempotencyKey": "reverse"}
    assert bank.system.post(f"/api/transactions/{_id_of(sent[3])}/reverse", reverse).status == 201

    open_hold, captured, voided = (_hold(asha, savings, shop, 1_000 * (number + 1), number) for number in range(3))
    capture = {"amount": 1_500, "idempotencyKey": "capture"}
    assert ravi.post(f"/api/transactions/{captured}/capture", capture).status == 200
    assert ravi.post(f"/api/transactions/{voided}/void", {"idempotencyKey": "void"}).status == 200
    _change_status(bank, frozen, "FROZEN")
    assert ravi.post(f"/api/accounts/{empty}/close").status == 200

    other = bank.log_in("asha@fincore.example")
    change = {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}
    assert asha.call("PUT", "/api/auth/password", change).status == 200
    left = bank.log_in("ravi@fincore.example")
    assert left.post("/api/auth/logout").status == 200
    wrong = {"email": "ravi@fincore.example", "password": "not the password"}
    assert bank.anonymous.post("/api/auth/login", wrong).status == 401
    assert bank.anonymous.post("/api/auth/password/forgot", {"email": "ravi@fincore.example"}).status == 202

    page = asha.get("/api/transactions?limit=20").body
    return {
        "people": {
            name: {"id": person.id, "token": person.token, "refresh": person.refresh_token}
            for name, person in {"asha": asha, "ravi": ravi, "joerg": joerg, "ended": other, "left": left}.items()
        },
        "accounts": {
            "savings": savings, "current": current, "shop": shop, "empty": empty, "euros": euros, "frozen": frozen
        },
        "balances": {
            account: person.get(f"/api/accounts/{account}/balance").body
            for person, account in [
                (asha, savings), (asha, current), (ravi, shop), (ravi, empty), (joerg, euros), (joerg, frozen)
            ]
        },
        "first_transfer": sent[0].body["transaction"],
        "open_hold": open_hold,
        "history": [each["id"] for each in page["transactions"]],
        "cursor": page["nextCursor"],
        "receipt": asha.get(f"/api/transactions/{_id_of(sent[0])}/receipt").body,
    }  # fmt: skip


def register(bank: Bank, name: str, email: str) -> Person:
    """Register somebody."""
    answer = bank.anonymous.post("/api/auth/register", {"name": name, "email": email, "password": PASSWORD})
    assert answer.status == 201, answer.content
    return Person(bank.client, answer.body["token"], answer.body["user"], answer.body["refreshToken"])


def _id_of(answer: Any) -> str:
    assert answer.status == 201, answer.content
    transaction_id: str = answer.body["transaction"]["id"]
    return transaction_id


def _hold(payer: Person, account: str, payee: str, amount: int, number: int) -> str:
    body = {
        "fromAccount": account,
        "toAccount": payee,
        "amount": amount,
        "expiresIn": HOLD_S,
        "idempotencyKey": f"hold-{number}",
    }
    return _id_of(payer.post("/api/transactions/hold", body))


def _change_status(bank: Bank, account: str, status: str) -> None:
    change = {"status": status, "reason": "Under inquiry"}
    answer = bank.system.patch(f"/api/admin/accounts/{account}/status", change)
    assert answer.status == 200, answer.content


def keep(database: Database[Document], told: Document, file: Path) -> None:
    """Write the bank into a file."""
    head = {"made_at": datetime.now(UTC), "shape": _shape(database), **told}
    with gzip.GzipFile(file, "wb", mtime=0) as written:
        written.write(json_util.dumps(head, json_options=_OPTIONS).encode() + b"\n")
        for name in _KEPT:
            for document in database[name].find().sort("_id", 1):
                line = json_util.dumps({"in": name, "is": document}, json_options=_OPTIONS)
                written.write(line.encode() + b"\n")


def _shape(database: Database[Document]) -> Document:
    role = database.command("rolesInfo", ROLE, showPrivileges=True)["roles"][0]
    return {
        "validators": {each["name"]: each["options"]["validator"] for each in database.list_collections()},
        "indexes": {
            name: [{**index, "key": list(index["key"].items())} for index in database[name].list_indexes()]
            for name in database.list_collection_names()
        },
        "rights": {each["resource"]["collection"]: each["actions"] for each in role["privileges"]},
    }


def what_was_told() -> Document:
    """Return the answers that the bank's clients got."""
    with gzip.open(BANK, "rt") as lines:
        told: Document = json_util.loads(next(lines), json_options=_OPTIONS)
        return told


def load(database: Database[Document]) -> None:
    """Put the bank into an empty database, with the first release's schema.

    Expiry times are moved, as if the bank had been made just now. Nothing that the ledger proves is changed.
    """
    told = what_was_told()
    with gzip.open(BANK, "rt") as lines:
        next(lines)
        _make_shape(database, told["shape"])
        age = datetime.now(UTC) - told["made_at"]
        documents: dict[str, list[Document]] = {}
        for line in lines:
            read = json_util.loads(line, json_options=_OPTIONS)
            document = read["is"]
            for part in (document, document.get("payload", {})):
                if "expires_at" in part:
                    part["expires_at"] += age
            documents.setdefault(read["in"], []).append(document)
    for name, some in documents.items():
        database[name].insert_many(some)


def _make_shape(database: Database[Document], shape: Document) -> None:
    for name, validator in shape["validators"].items():
        database.create_collection(name, validator=validator)
        for index in shape["indexes"][name]:
            options = {option: value for option, value in index.items() if option not in ("key", "v", "ns")}
            if options["name"] != "_id_":
                database[name].create_index([(field, way) for field, way in index["key"]], **options)
    rights = [
        {"resource": {"db": database.name, "collection": name}, "actions": actions}
        for name, actions in shape["rights"].items()
    ]
    database.command("createRole", ROLE, privileges=rights, roles=[])


def main(checkout: Path) -> None:
    """Make the bank of the release that is checked out there, and keep it."""
    with tempfile.TemporaryDirectory(prefix="fincore-first-release-") as directory:
        replica_set = ReplicaSet(Path(directory))
        replica_set.start()
        try:
            uri = make_schema(checkout, replica_set)
            with served(checkout, uri) as port:
                client = OverHttp(port)
                told = live(Bank(client))
                client.close()
            with MongoClient[Document](replica_set.admin_uri, tz_aware=True) as admin:
                keep(admin["fincore"], told, BANK)
        finally:
            replica_set.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
