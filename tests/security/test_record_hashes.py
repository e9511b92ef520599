"""`recordHash` seals a record, and does not reveal what the record hides from those who see an entry."""

import hashlib
import json
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from app.clock import milliseconds
from app.mongo import Document
from tests.integration.tampering import faults
from tests.people import Bank, Person, new_key


def guessed(record: Document) -> str:
    """Return the hash of a record by somebody who guesses all that the bank asked and was told, and knows the rest."""
    said = [
        "transaction", *(str(record[name]) for name in ("_id", "user")), record["idempotency_key"],
        record["fingerprint"], record["kind"], str(record["from_account"]), str(record["to_account"]),
        record.get("held_amount", record["amount"]), record["currency"], record.get("description"),
        dict(record["metadata"]) if "metadata" in record else None, milliseconds(record["created_at"]),
        str(record["reverses"]) if "reverses" in record else None,
        milliseconds(record["expires_at"]) if "expires_at" in record else None,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def shown_to(person: Person, account: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = person.get(f"/api/accounts/{account}/entries").body["entries"]
    return [entry for entry in entries if entry["transactionId"]]


def hold(payer: Person, payers: str, payees: str) -> str:
    body = {"fromAccount": payers, "toAccount": payees, "amount": 10, "idempotencyKey": new_key()}
    placed: str = payer.post("/api/transactions/hold", body).body["transaction"]["id"]
    return placed


@pytest.fixture
def parties(bank: Bank) -> tuple[Person, str, Person, str]:
    return (*bank.customer(1_000), *bank.customer())


def test_a_party_cannot_confirm_a_guess_of_the_initiators_id_and_key(
    bank: Bank, parties: tuple[Person, str, Person, str], database: Database[Document]
) -> None:
    payer, payers, payee, payees = parties
    paid = payer.transfer(payers, payees, 5, "rent-2026-11").body["transaction"]["id"]
    bank.system.post(f"/api/transactions/{paid}/reverse", {"idempotencyKey": "r", "reason": "Twice"})
    placed = hold(payer, payers, payees)
    payee.post(f"/api/transactions/{placed}/capture", {"idempotencyKey": "c"})
    items = [{"fromAccount": payers, "toAccount": payees, "amount": 1}] * 2
    payer.post("/api/transactions/batch", {"idempotencyKey": "b", "transfers": items})
    entries = shown_to(payee, payees) + shown_to(payer, payers)

    for entry in entries:
        record = database.transactions.find_one({"_id": ObjectId(entry["transactionId"])})
        assert record is not None
        assert entry["recordHash"] != guessed(record)
    assert len({entry["recordHash"] for entry in entries}) == len({entry["transactionId"] for entry in entries})
    assert faults() == []


def test_a_hold_that_was_recorded_before_records_had_a_salt_gets_one_from_its_capture(
    parties: tuple[Person, str, Person, str], database: Database[Document]
) -> None:
    payer, payers, payee, payees = parties
    placed = hold(payer, payers, payees)
    database.transactions.update_one({"_id": ObjectId(placed)}, {"$unset": {"salt": ""}})

    assert payee.post(f"/api/transactions/{placed}/capture", {"idempotencyKey": "c"}).status == 200

    (credit,) = shown_to(payee, payees)
    record = database.transactions.find_one({"_id": ObjectId(placed)})
    assert record is not None
    assert credit["recordHash"] != guessed(record)


def test_nobody_is_shown_a_salt(parties: tuple[Person, str, Person, str], database: Database[Document]) -> None:
    payer, payers, payee, payees = parties
    paid = payer.transfer(payers, payees, 5).body["transaction"]["id"]
    record = database.transactions.find_one({"_id": ObjectId(paid)})
    assert record is not None
    salt = bytes(record["salt"])
    assert len(salt) >= 16

    for person in (payer, payee):
        for path in (f"/api/transactions/{paid}", "/api/transactions"):
            assert salt.hex() not in person.get(path).content.decode()
