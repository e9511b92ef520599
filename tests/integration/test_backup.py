"""Copies of the bank: as of one moment, proved without a database, restored into an empty one, and never half."""

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from app import mongo
from app.backup import copy, create, files
from app.backup.files import BadCopy
from app.backup.restore import restore
from app.ledger.proof.faults import FaultKind
from app.mongo import Document
from app.mongo.migrations import run
from app.mongo.migrations.steps import Refused
from app.mongo.readiness import NotReady, check_schema
from app.mongo.schema import VALIDATORS
from config import ROOT
from local.replica_set import ReplicaSet
from tests.people import Bank, new_key
from tests.upgrades import EMPTY_DATABASE

COPIED = sorted(VALIDATORS.keys() - {"leases"})
TIMEOUT_S = 60


class Silent:
    """A watch that keeps what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def says(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def follows(self, title: str, length: int) -> Iterator[Callable[[int], None]]:
        yield lambda _done: None


def content(database: Database[Document]) -> dict[str, list[Document]]:
    return {name: list(database[name].find().sort("_id", 1)) for name in COPIED}


@contextmanager
def used(replica_set: ReplicaSet, name: str) -> Iterator[Database[Document]]:
    """Let the application use this database with an administrator's rights."""
    mongo.close()
    client = MongoClient[Document](replica_set.admin_uri, tz_aware=True)
    mongo.use(client[name])
    yield client[name]
    mongo.close()


@pytest.fixture
def busy_bank(bank: Bank) -> Bank:
    """A bank in which something of everything has happened."""
    asha, savings = bank.customer(10_000)
    ravi, shop = bank.customer(500)
    for number in range(5):
        assert asha.transfer(savings, shop, 10 + number, metadata={"number": str(number)}).status == 201
    assert asha.transfer(savings, shop, 1_000_000).code == "insufficient_funds"
    body = {"fromAccount": savings, "toAccount": shop, "amount": 100}
    holds = [asha.post("/api/transactions/hold", {**body, "idempotencyKey": new_key()}).body for _ in range(2)]
    path = f"/api/transactions/{holds[0]['transaction']['id']}/capture"
    assert ravi.post(path, {"idempotencyKey": new_key()}).status == 200
    items = {"transfers": [body, body], "idempotencyKey": new_key()}
    assert asha.post("/api/transactions/batch", items).status == 201
    assert bank.anonymous.post("/api/auth/password/forgot", {"email": asha.user["email"]}).status == 202
    return bank


@pytest.fixture
def copied(busy_bank: Bank, database: Database[Document], tmp_path: Path) -> Path:
    """A complete copy of the busy bank."""
    create.create(database, tmp_path / "copy", Silent())
    return tmp_path / "copy"


def test_a_copy_is_proved_and_restored_as_it_was(
    copied: Path, database: Database[Document], empty_database: Database[Document], replica_set: ReplicaSet
) -> None:
    before = content(database)

    proved = copy.prove(copied, Silent())
    with used(replica_set, EMPTY_DATABASE) as target:
        report = restore(target, copied, Silent())

    assert proved.is_sound, proved.faults
    assert report.is_sound, report.faults
    assert (proved.entries, proved.accounts, proved.transactions) == (
        report.entries,
        report.accounts,
        report.transactions,
    )
    after = content(empty_database)
    assert {name: after[name] for name in COPIED} == before
    check_schema(empty_database)
    assert run.state(empty_database).is_up_to_date
    assert empty_database.users.index_information().keys() == database.users.index_information().keys()


def test_a_bank_of_the_first_release_is_copied_before_its_upgrade(
    old_database: Database[Document], replica_set: ReplicaSet, tmp_path: Path
) -> None:
    create.create(old_database, tmp_path / "copy", Silent())
    before = content(old_database)
    assert copy.prove(tmp_path / "copy", Silent()).is_sound
    for name in old_database.list_collection_names():
        old_database.drop_collection(name)

    with used(replica_set, EMPTY_DATABASE) as target:
        assert restore(target, tmp_path / "copy", Silent()).is_sound

    assert content(old_database) | {"schema": []} == before | {"schema": []}
    with pytest.raises(NotReady, match="db upgrade"):
        check_schema(old_database)
    run.upgrade(old_database)
    run.finish(old_database)
    check_schema(old_database)


def test_a_copy_is_for_nobody_else(copied: Path) -> None:
    assert copied.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in copied.iterdir()} == {
        file.name: 0o600 for file in copied.iterdir()
    }


def test_a_copy_made_while_money_moves_is_as_of_one_moment(
    busy_bank: Bank, database: Database[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(create, "_BATCH", 5)
    monkeypatch.setattr(create, "_ACCOUNTS_AT_ONCE", 1)
    monkeypatch.setattr(files, "PART_BYTES_MAX", 2_000)
    payers = [busy_bank.customer(1_000) for _ in range(4)]
    is_over = threading.Event()

    def pay(number: int) -> None:
        person, account = payers[number]
        _, other = payers[number - 1]
        while not is_over.is_set():
            assert person.transfer(account, other, 1).status in (201, 422)

    threads = [threading.Thread(target=pay, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        manifests = [create.create(database, tmp_path / str(number), Silent()) for number in range(3)]
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    for number, manifest in enumerate(manifests):
        assert len(manifest.parts["ledger_entries"]) > 1
        assert copy.prove(tmp_path / str(number), Silent()).faults == []


STOPPING_CREATE = """
import sys, time
from pymongo import MongoClient
from app.backup import create, files
from tests.integration.test_backup import Silent
create._BATCH, create._ACCOUNTS_AT_ONCE, files.PART_BYTES_MAX = 5, 1, 500
write = create.write_progress
def stop(directory, manifest):
    write(directory, manifest)
    if manifest.position is not None and len(manifest.parts["ledger_entries"]) == 2:
        print("there", flush=True)
        time.sleep(60)
create.write_progress = stop
from pathlib import Path
create.create(MongoClient(sys.argv[1], tz_aware=True)["fincore"], Path(sys.argv[2]), Silent())
"""
STOPPING_RESTORE = """
import sys, time
from pathlib import Path
from pymongo import MongoClient
from app import mongo
from app.backup import restore
from app.mongo.migrations import record
from tests.integration.test_backup import Silent
target = MongoClient(sys.argv[1], tz_aware=True)["fincore_empty"]
keep = record.keep_restored
insert = restore._insert_all
def stop(database, name, directory, part):
    insert(database, name, directory, part)
    if name == "ledger_entries":
        print("there", flush=True)
        time.sleep(60)
restore._insert_all = stop
mongo.use(target)
restore.restore(target, Path(sys.argv[2]), Silent())
"""


def kill_when_there(program: str, *arguments: object) -> None:
    """Run a program until it says that it is there, and kill it."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "there\n"
        killed.kill()


def test_a_copy_that_is_killed_says_so_and_goes_on_to_the_same_moment(
    busy_bank: Bank, database: Database[Document], replica_set: ReplicaSet, tmp_path: Path
) -> None:
    there_were = {name: database[name].count_documents({}) for name in ("ledger_entries", "transactions")}
    directory = tmp_path / "copy"
    kill_when_there(STOPPING_CREATE, replica_set.admin_uri, directory)

    with pytest.raises(BadCopy, match="not complete"):
        copy.prove(directory, Silent())
    with pytest.raises(BadCopy, match="not complete"):
        restore(database, directory, Silent())
    kept = {file.name: file.stat().st_mtime_ns for file in directory.glob("*.gz")}
    (directory / "ledger_entries-0003.bson.gz").write_bytes(b"half")
    person, account = busy_bank.customer(700)
    assert person.transfer(account, person.open_account(), 5).status == 201

    manifest = create.create(database, directory, Silent())

    assert {name: manifest.documents(name) for name in there_were} == there_were
    assert {name: (directory / name).stat().st_mtime_ns for name in kept} == kept, "nothing is read twice"
    assert copy.prove(directory, Silent()).is_sound


def test_a_restore_that_is_killed_keeps_processes_out_and_goes_on(
    copied: Path,
    database: Database[Document],
    empty_database: Database[Document],
    replica_set: ReplicaSet,
) -> None:
    kill_when_there(STOPPING_RESTORE, replica_set.admin_uri, copied)

    with pytest.raises(NotReady, match="not completely restored"):
        check_schema(empty_database)
    empty_database.leases.delete_many({})  # it ends by itself
    for refused in (run.create, run.upgrade, run.finish):
        with pytest.raises(Refused, match="backup restore"):
            refused(empty_database)

    with used(replica_set, EMPTY_DATABASE) as target:
        assert restore(target, copied, Silent()).is_sound

    assert content(empty_database) == content(database)
    check_schema(empty_database)


def test_a_copy_is_restored_into_an_empty_database_only(copied: Path, database: Database[Document]) -> None:
    before = content(database)

    with pytest.raises(Refused, match="not empty"):
        restore(database, copied, Silent())

    assert content(database) == before


def test_the_rest_of_another_copy_is_not_mixed_with_this_one(
    copied: Path, empty_database: Database[Document], replica_set: ReplicaSet
) -> None:
    empty_database["schema"].insert_one({"_id": "restore", "version": 2, "copy": "another", "done": []})

    with used(replica_set, EMPTY_DATABASE) as target, pytest.raises(Refused, match="another copy"):
        restore(target, copied, Silent())


def spoil_a_byte(directory: Path) -> None:
    file = directory / "ledger_entries-0001.bson.gz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def lose_a_file(directory: Path) -> None:
    (directory / "users-0001.bson.gz").unlink()


def shorten_the_heads(directory: Path) -> None:
    file = directory / "heads.gz"
    lines = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
    file.write_bytes(gzip.compress(b"".join(lines[1:])))
    change_manifest(directory, lambda manifest: manifest["heads"].update(sha256=files.sha256_of(file)))


def leave_out_the_newest_entry(directory: Path) -> None:
    file = directory / "ledger_entries-0001.bson.gz"
    documents = list(files.split(gzip.decompress(file.read_bytes())))
    file.write_bytes(gzip.compress(b"".join(documents[:-1])))

    def fit(manifest: Document) -> None:
        manifest["parts"]["ledger_entries"][0].update(sha256=files.sha256_of(file), documents=len(documents) - 1)

    change_manifest(directory, fit)


def lose_the_manifest(directory: Path) -> None:
    (directory / "manifest.json").unlink()


def cut_the_manifest(directory: Path) -> None:
    file = directory / "manifest.json"
    file.write_bytes(file.read_bytes()[:-20])


def count_otherwise(directory: Path) -> None:
    change_manifest(directory, lambda manifest: manifest["parts"]["users"][0].update(documents=1_000))


def change_manifest(directory: Path, change: Callable[[Document], Any]) -> None:
    file = directory / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_a_byte,
        lose_a_file,
        shorten_the_heads,
        leave_out_the_newest_entry,
        lose_the_manifest,
        cut_the_manifest,
        count_otherwise,
    ],
)
def test_a_copy_that_is_not_whole_is_refused(
    copied: Path,
    empty_database: Database[Document],
    replica_set: ReplicaSet,
    spoil: Callable[[Path], None],
) -> None:
    spoil(copied)

    with pytest.raises(BadCopy):
        copy.prove(copied, Silent())
    with used(replica_set, EMPTY_DATABASE) as target, pytest.raises(BadCopy):
        restore(target, copied, Silent())
    with pytest.raises(NotReady):
        check_schema(empty_database)


def test_faults_of_the_ledger_are_copied_and_named(
    busy_bank: Bank, database: Database[Document], tmp_path: Path
) -> None:
    database.ledger_entries.update_one({"type": "CREDIT"}, {"$inc": {"amount": 1}})
    create.create(database, tmp_path / "copy", Silent())

    report = copy.prove(tmp_path / "copy", Silent())

    assert FaultKind.HASH in {fault.kind for fault in report.faults}


def test_money_from_nowhere_is_found_in_a_copy(busy_bank: Bank, database: Database[Document], tmp_path: Path) -> None:
    treasury = database.accounts.find_one({"kind": "TREASURY"})
    assert treasury is not None
    database.ledger_entries.delete_one({"account": treasury["_id"], "sequence": 2})
    create.create(database, tmp_path / "copy", Silent())

    kinds = {fault.kind for fault in copy.prove(tmp_path / "copy", Silent()).faults}

    assert {FaultKind.SEQUENCE, FaultKind.BALANCE} & kinds


def test_what_changes_is_read_again_when_the_history_of_the_moment_ends(
    busy_bank: Bank, database: Database[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = create._write_heads
    ended: list[int] = []

    def end_once(*arguments: Any) -> Any:
        if not ended:
            ended.append(1)
            assert busy_bank.register()
            raise OperationFailure("the snapshot is too old", 239)
        return write(*arguments)

    monkeypatch.setattr(create, "_write_heads", end_once)
    watch = Silent()

    manifest = create.create(database, tmp_path / "copy", watch)

    assert watch.said == ["The database's history for this moment has ended. Reading a later moment."]
    assert manifest.documents("users") == database.users.count_documents({})
    assert copy.prove(tmp_path / "copy", Silent()).is_sound


def test_a_history_that_is_always_too_short_is_refused_with_what_to_do(
    bank: Bank, database: Database[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_arguments: Any) -> Any:
        raise OperationFailure("the snapshot is unavailable", 246)

    monkeypatch.setattr(create, "_write_heads", end)

    with pytest.raises(NotReady, match="minSnapshotHistoryWindowInSeconds"):
        create.create(database, tmp_path / "copy", Silent())
    with pytest.raises(BadCopy, match="not complete"):
        copy.prove(tmp_path / "copy", Silent())


def test_the_operator_copies_and_proves(
    app: Flask, busy_bank: Bank, tmp_path: Path, empty_database: Database[Document], replica_set: ReplicaSet
) -> None:
    runner, directory = app.test_cli_runner(), str(tmp_path / "copy")

    made = runner.invoke(args=["backup", "create", directory])
    again = runner.invoke(args=["backup", "create", directory])
    proved = runner.invoke(args=["backup", "verify", directory])
    with used(replica_set, EMPTY_DATABASE):
        restored = runner.invoke(args=["backup", "restore", directory])
    refused = runner.invoke(args=["backup", "restore", directory])

    assert made.exit_code == 0, made.output
    assert "Copied" in made.stdout
    assert (again.exit_code, "complete copy already" in again.stderr) == (1, True)
    assert proved.exit_code == 0, proved.output
    assert "The ledger is sound." in proved.stdout
    assert restored.exit_code == 0, restored.output
    assert "The ledger is sound." in restored.stdout
    assert refused.exit_code == 1
    for command in ("create", "verify", "restore"):
        assert "Exit codes" in runner.invoke(args=["backup", command, "--help"]).stdout
