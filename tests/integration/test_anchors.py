"""`flask ledger anchor` and `flask ledger verify --anchor`: faults that a consistent ledger hides."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from flask import Flask
from pymongo.database import Database

from app import clock
from app.ledger.proof import verify
from app.mongo import Document
from tests.integration.tampering import Ledger, small_ledger
from tests.people import Bank


@pytest.fixture
def tampered(bank: Bank, database: Database[Document]) -> Ledger:
    return small_ledger(bank, database)


@pytest.fixture
def anchored(app: Flask, bank: Bank, tampered: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An anchor of all that there is, without waiting until it has settled: nobody else posts."""
    monkeypatch.setattr(clock, "SETTLING", timedelta(0))
    asha, account = bank.customer(10)
    assert asha.transfer(account, str(tampered.ravi), 900).code == "insufficient_funds"
    file = tmp_path / "anchor"
    written = run(app, "anchor", str(file))
    assert written.exit_code == 0, written.output
    return file


def run(app: Flask, *arguments: str) -> Any:
    return app.test_cli_runner().invoke(args=["ledger", *arguments])


def test_a_ledger_that_went_on_is_as_its_anchor_has_it(
    app: Flask, bank: Bank, tampered: Ledger, anchored: Path
) -> None:
    bank.fund(str(tampered.ravi), 5)

    found = run(app, "verify", "--anchor", str(anchored))

    assert found.exit_code == 0, found.output
    assert run(app, "anchor", str(anchored)).exit_code == 1


def test_the_newest_transaction_cut_off_from_both_journals(app: Flask, tampered: Ledger, anchored: Path) -> None:
    tampered.database.transactions.delete_one({"_id": tampered.sent[2]})
    tampered.database.ledger_entries.delete_many({"transaction": tampered.sent[2]})
    assert verify.verify().faults == []

    found = run(app, "verify", "--anchor", str(anchored))

    assert found.exit_code == 1
    assert f"anchor: account {tampered.asha}, sequence 4: expected" in found.output
    assert f"anchor: account {tampered.ravi}, sequence 3: expected" in found.output


def test_a_refusal_that_is_gone(app: Flask, tampered: Ledger, anchored: Path) -> None:
    assert run(app, "verify", "--anchor", str(anchored)).exit_code == 0
    tampered.database.transactions.delete_one({"status": "FAILED"})
    assert verify.verify().faults == []

    found = run(app, "verify", "--anchor", str(anchored))

    assert found.exit_code == 1
    assert "anchor: expected transactions: " in found.output


@pytest.mark.parametrize(
    ("kind", "changes"),
    [("ACCOUNT", {"account": ObjectId()}), ("BATCH", {"results": []})],
)
def test_what_a_key_was_spent_on_is_anchored(
    app: Flask, bank: Bank, tampered: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, changes: Any
) -> None:
    monkeypatch.setattr(clock, "SETTLING", timedelta(0))
    asha, account = bank.customer(10)
    asha.post("/api/accounts/create", {"idempotencyKey": "a"})
    transfers = [{"fromAccount": account, "toAccount": str(tampered.ravi), "amount": 1}]
    asha.post("/api/transactions/batch", {"idempotencyKey": "b", "transfers": transfers})
    file = tmp_path / "anchor"
    assert run(app, "anchor", str(file)).exit_code == 0
    assert run(app, "verify", "--anchor", str(file)).exit_code == 0

    tampered.database.transactions.update_one({"kind": kind}, {"$set": changes})

    assert "anchor: expected transactions: " in run(app, "verify", "--anchor", str(file)).output


def test_what_the_bank_did_not_sign_is_no_anchor(app: Flask, anchored: Path) -> None:
    lines = anchored.read_text().splitlines()
    account, sequence, hash_ = lines[1].split()
    lines[1] = f"{account} {int(sequence) + 1} {hash_}"
    anchored.write_text("\n".join(lines))

    assert run(app, "verify", "--anchor", str(anchored)).exit_code == 2
    anchored.write_text(f"nonsense\n{ObjectId()} 0 00")
    assert run(app, "verify", "--anchor", str(anchored)).exit_code == 2
    anchored.write_text("")
    assert run(app, "verify", "--anchor", str(anchored)).exit_code == 2
