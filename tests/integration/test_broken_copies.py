"""Damaged copies and databases that are not empty are refused. Faults of the ledger are named in a copy."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from app.backup import copy, create, files
from app.backup.files import BadCopy
from app.backup.restore import restore
from app.ledger.proof.faults import FaultKind
from app.mongo import Document
from app.mongo.migrations.steps import Refused
from app.mongo.readiness import NotReady, check_schema
from local.replica_set import ReplicaSet
from tests.copies import Silent, content, used
from tests.integration.tampering import write_first, write_text
from tests.people import Bank
from tests.upgrades import EMPTY_DATABASE


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


def test_what_decoding_hides_is_found_in_a_copy(busy_bank: Bank, database: Database[Document], tmp_path: Path) -> None:
    entry = database.ledger_entries.find_one({"type": "CREDIT"})
    account = database.accounts.find_one({"kind": "CUSTOMER"})
    assert entry is not None
    assert account is not None
    write_first(database, "ledger_entries", entry["_id"], {"transaction": ObjectId()})
    write_text(database, "accounts", account["_id"], "name", b"\xff\xfe\xff")
    create.create(database, tmp_path / "copy", Silent())

    report = copy.prove(tmp_path / "copy", Silent())

    found = {(fault.account, fault.found) for fault in report.faults if fault.kind == FaultKind.FORMAT}
    assert found == {(entry["account"], "transaction twice"), (account["_id"], "name not in UTF-8")}


def test_money_from_nowhere_is_found_in_a_copy(busy_bank: Bank, database: Database[Document], tmp_path: Path) -> None:
    treasury = database.accounts.find_one({"kind": "TREASURY"})
    assert treasury is not None
    database.ledger_entries.delete_one({"account": treasury["_id"], "sequence": 2})
    create.create(database, tmp_path / "copy", Silent())

    kinds = {fault.kind for fault in copy.prove(tmp_path / "copy", Silent()).faults}

    assert kinds == {FaultKind.ENTRY, FaultKind.TRIAL_BALANCE}
