"""Copies of the bank: as of one moment, proved without a database, restored into an empty one, and never half."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from flask import Flask
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from app.backup import copy, create, files
from app.backup.files import BadCopy
from app.backup.restore import restore
from app.ledger.proof import movements
from app.ledger.proof.faults import Fault
from app.mongo import Document
from app.mongo.migrations import run
from app.mongo.migrations.steps import Refused
from app.mongo.readiness import NotReady, check_schema
from config import ROOT
from local.replica_set import ReplicaSet
from tests.copies import Silent, as_restored, content, used
from tests.documents import block, commands
from tests.people import Bank
from tests.upgrades import EMPTY_DATABASE

HISTORY_ENDS_WITHIN_S = 30.0


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
    assert after == as_restored(before)
    check_schema(empty_database)
    assert run.state(empty_database).is_up_to_date
    assert empty_database.users.index_information().keys() == database.users.index_information().keys()


def test_the_proof_of_a_copy_passes_over_transactions_that_are_plainly_right(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[ObjectId] = []

    def transaction_faults(id_: ObjectId, *_others: Any) -> Iterator[Fault]:
        looked_at.append(id_)
        return iter(())

    monkeypatch.setattr(movements, "transaction_faults", transaction_faults)

    assert copy.prove(copied, Silent()).transactions > 0
    assert looked_at == []


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

    assert content(old_database) | {"schema": []} == as_restored(before) | {"schema": []}
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
from tests.copies import Silent
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
from tests.copies import Silent
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

    assert content(empty_database) == as_restored(content(database))
    check_schema(empty_database)


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


@contextmanager
def short_history(replica_set: ReplicaSet) -> Iterator[None]:
    """Let the database keep next to no history for reads as of one moment."""
    name = "minSnapshotHistoryWindowInSeconds"
    with MongoClient[Document](replica_set.admin_uri) as client:
        usual = client.admin.command({"getParameter": 1, name: 1})[name]
        client.admin.command({"setParameter": 1, name: 0})
        try:
            yield
        finally:
            client.admin.command({"setParameter": 1, name: usual})


def test_a_copy_outlasts_the_history_that_the_database_keeps(
    busy_bank: Bank,
    database: Database[Document],
    replica_set: ReplicaSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write, codes = create._write_heads, list[Any]()

    def read_until_it_ends(*arguments: Any) -> Any:
        if codes:
            return write(*arguments)
        # Only for this read. Servers of other tests write meanwhile, and could end the history of every try.
        with short_history(replica_set):
            until = time.monotonic() + HISTORY_ENDS_WITHIN_S
            while time.monotonic() < until:
                assert busy_bank.register()
                try:
                    write(*arguments)
                except OperationFailure as error:
                    codes.append(error.code)
                    raise
        raise AssertionError("The history did not end.")

    monkeypatch.setattr(create, "_write_heads", read_until_it_ends)
    watch = Silent()

    manifest = create.create(database, tmp_path / "copy", watch)

    assert set(codes) <= create.HISTORY_GONE
    assert len(watch.said) == 1
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
    runner = app.test_cli_runner()
    shown = block("docs/operations.md", "flask --app wsgi backup").replace("DIR", str(tmp_path / "copy"))
    creating, proving, restoring = (words[3:] for words in commands(shown))

    made = runner.invoke(args=creating)
    again = runner.invoke(args=creating)
    proved = runner.invoke(args=proving)
    with used(replica_set, EMPTY_DATABASE):
        restored = runner.invoke(args=restoring)
    refused = runner.invoke(args=restoring)

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


def test_reading_may_take_longer_than_any_other_operation(
    busy_bank: Bank, replica_set: ReplicaSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = create._queries

    def ask_slowly(*arguments: Any) -> Any:
        # The server counts what all batches of a cursor take together.
        for query, heads in queries(*arguments):
            yield {**query, "$where": "sleep(80) || true"}, heads

    monkeypatch.setattr(create, "_queries", ask_slowly)
    with MongoClient[Document](replica_set.admin_uri, tz_aware=True, timeoutMS=1_000) as limited:
        create.create(limited["fincore"], tmp_path / "copy", Silent())

    assert copy.prove(tmp_path / "copy", Silent()).is_sound
