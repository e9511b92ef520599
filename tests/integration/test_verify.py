"""`flask ledger verify`: the command, a single account, and a bank that goes on meanwhile."""

import json
import threading
from typing import Any

import pytest
from bson import ObjectId
from flask import Flask
from pymongo.database import Database

from app.ledger import documents
from app.ledger.proof import checks, legs, verify
from app.ledger.records import Entry
from app.mongo import Document
from tests.integration.tampering import Ledger, small_ledger
from tests.people import Bank, Person


@pytest.fixture
def tampered(bank: Bank, database: Database[Document]) -> Ledger:
    return small_ledger(bank, database)


def test_one_account_is_checked_with_its_transactions(tampered: Ledger) -> None:
    tampered.change(tampered.asha, 3, balance=999)
    tampered.database.ledger_entries.delete_one({"account": tampered.ravi, "sequence": 3})
    report = verify.verify_account(tampered.asha)
    assert report is not None

    assert [(f.kind, f.account, f.sequence) for f in report.faults] == [
        ("balance", tampered.asha, 3),
        ("hash", tampered.asha, 3),
        ("entry", tampered.ravi, None),
    ]
    assert verify.verify_account(ObjectId()) is None


def test_it_finds_no_false_fault_while_money_moves(live_bank: Bank, database: Database[Document]) -> None:
    people: list[tuple[Person, str]] = [live_bank.customer(10_000) for _ in range(4)]
    ended = threading.Event()

    def move(number: int) -> None:
        person, account = people[number]
        while not ended.is_set():
            assert person.transfer(account, people[(number + 1) % 4][1], 1).status in (201, 422)

    threads = [threading.Thread(target=move, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    reports = [verify.verify() for _ in range(15)]
    ended.set()
    for thread in threads:
        thread.join()

    assert [report.faults for report in reports] == [[]] * 15
    assert reports[-1].entries > reports[0].entries


def test_what_is_plainly_right_is_not_decoded(bank: Bank, tampered: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    # Texts beyond ASCII and metadata are as quick. The digests write them in their own way.
    asha, account = bank.customer(10)
    more: dict[str, Any] = {"description": "किराया", "metadata": {"घर": "एक", "b": "2", "a": "1"}}
    assert asha.transfer(account, str(tampered.ravi), 1, **more).status == 201
    decoded: list[Document] = []

    def to_entry(document: Document) -> Entry:
        decoded.append(document)
        return documents.to_entry(document)

    monkeypatch.setattr(checks, "to_entry", to_entry)
    monkeypatch.setattr(legs, "to_entry", to_entry)

    assert verify.verify().is_sound

    assert {entry["type"] for entry in decoded} == {"STATUS"}


def run(app: Flask, *arguments: str) -> Any:
    return app.test_cli_runner().invoke(args=["ledger", "verify", *arguments])


def test_the_command_names_faults_and_exits_with_one(app: Flask, tampered: Ledger) -> None:
    sound = run(app)
    tampered.change(tampered.asha, 3, balance=999)
    broken = run(app)
    broken_account = run(app, "--account", str(tampered.asha))

    assert (sound.exit_code, broken.exit_code, broken_account.exit_code) == (0, 1, 1)
    assert "The ledger is sound. Read 11 entries of 3 accounts and 4 transactions" in sound.stdout
    line = f"balance: account {tampered.asha}, sequence 3: expected 700, found 999"
    assert line in broken.stdout
    assert line in broken_account.stdout
    assert run(app, "--account", str(tampered.ravi)).exit_code == 0
    assert run(app, "--account", str(ObjectId())).exit_code == 2
    assert run(app, "--account", "nonsense").exit_code == 2


def test_the_command_reports_as_json(app: Flask, tampered: Ledger) -> None:
    tampered.change(tampered.asha, 3, balance=999)

    report = json.loads(run(app, "--json").stdout)

    assert (report["sound"], report["entries"], report["accounts"], report["transactions"]) == (False, 11, 3, 4)
    assert report["faults"][0] == {
        "kind": "balance",
        "account": str(tampered.asha),
        "sequence": 3,
        "transaction": None,
        "currency": None,
        "expected": 700,
        "found": 999,
    }
