"""Receipts: signed by the bank, and checked without it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jwt
import pytest
from bson import ObjectId
from flask import Flask

from config import ROOT, ConfigError, load
from docs.verify_receipt import verified
from tests.people import Bank, Person


def receipt(person: Person, transaction: str) -> str:
    answer = person.get(f"/api/transactions/{transaction}/receipt")
    assert answer.status == 200, answer.content
    signed: str = answer.body["receipt"]
    return signed


@pytest.fixture
def jwks(bank: Bank) -> str:
    return bank.anonymous.get("/.well-known/jwks.json").content.decode()


def test_each_side_gets_its_own_entry_signed(bank: Bank, jwks: str) -> None:
    asha, ashas = bank.customer(1_000)
    ravi, ravis = bank.customer()
    sent = asha.transfer(ashas, ravis, 400, "rent-1", description="Rent").body["transaction"]

    payers, payees = (verified(receipt(person, sent["id"]), jwks) for person in (asha, ravi))

    assert payers["transaction"] == sent
    assert payees["transaction"] == {**sent, "idempotencyKey": None}
    assert payers["sub"] == payees["sub"] == sent["id"]
    assert payers["entries"] == [asha.get(f"/api/accounts/{ashas}/entries").body["entries"][0]]
    assert payees["entries"] == [ravi.get(f"/api/accounts/{ravis}/entries").body["entries"][0]]
    both = verified(receipt(bank.system, sent["id"]), jwks)
    assert [entry["type"] for entry in both["entries"]] == ["DEBIT", "CREDIT"]


def test_a_declined_transfer_has_a_receipt_without_entries(bank: Bank, jwks: str) -> None:
    asha, ashas = bank.customer(1)
    _, ravis = bank.customer()
    declined = asha.transfer(ashas, ravis, 400).body["transactionId"]

    found = verified(receipt(asha, declined), jwks)

    assert (found["transaction"]["status"], found["entries"]) == ("FAILED", [])


def test_a_changed_receipt_and_another_key_are_refused(bank: Bank, jwks: str) -> None:
    asha, _ = bank.customer(1_000)
    signed = receipt(asha, asha.get("/api/transactions").body["transactions"][0]["id"])
    header, claims, signature = signed.split(".")
    forged = json.loads(jwks)
    forged["keys"][0]["x"] = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"

    for changed in (f"{header}.{claims[:-2]}AA.{signature}", f"{header}.{claims}.{signature[:-4]}AAAA"):
        with pytest.raises(jwt.InvalidTokenError):
            verified(changed, jwks)
    with pytest.raises(jwt.InvalidSignatureError):
        verified(signed, json.dumps(forged))


def test_the_public_key_is_public_and_only_that(bank: Bank, jwks: str) -> None:
    (key,) = json.loads(jwks)["keys"]

    assert set(key) == {"kty", "crv", "x", "alg", "use", "kid"}
    assert (key["kty"], key["crv"], key["alg"]) == ("OKP", "Ed25519", "EdDSA")


def test_the_script_in_the_docs_checks_a_receipt(bank: Bank, jwks: str, tmp_path: Path) -> None:
    asha, _ = bank.customer(1_000)
    signed = receipt(asha, asha.get("/api/transactions").body["transactions"][0]["id"])
    (tmp_path / "receipt").write_text(signed)
    (tmp_path / "jwks.json").write_text(jwks)
    script = ROOT / "docs" / "verify_receipt.py"

    ran = subprocess.run(
        [sys.executable, script, tmp_path / "receipt", tmp_path / "jwks.json"], capture_output=True, check=True
    )

    assert json.loads(ran.stdout)["transaction"]["amount"] == 1_000


def test_a_foreign_transaction_has_no_receipt(bank: Bank) -> None:
    asha, _ = bank.customer(1_000)
    transaction = asha.get("/api/transactions").body["transactions"][0]["id"]

    for id_ in (transaction, str(ObjectId()), "nonsense"):
        answer = bank.register().get(f"/api/transactions/{id_}/receipt")
        assert (answer.status, answer.code) == (404, "transaction_not_found")
    assert bank.anonymous.get(f"/api/transactions/{transaction}/receipt").status == 401


def test_a_bank_without_a_key_gives_no_receipts(bank: Bank, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    asha, _ = bank.customer(1_000)
    transaction = asha.get("/api/transactions").body["transactions"][0]["id"]
    monkeypatch.setitem(app.config, "RECEIPT_KEY", None)

    answer = asha.get(f"/api/transactions/{transaction}/receipt")

    assert (answer.status, answer.code) == (404, "not_found")
    assert bank.anonymous.get("/.well-known/jwks.json").body == {"keys": []}
    assert app.test_cli_runner().invoke(args=["ledger", "receipt", transaction]).exit_code == 1


def test_the_command_prints_a_receipt_of_both_sides_or_one(bank: Bank, app: Flask, jwks: str) -> None:
    asha, ashas = bank.customer(1_000)
    _, ravis = bank.customer()
    sent = asha.transfer(ashas, ravis, 400, "rent-1").body["transaction"]["id"]

    def printed(*arguments: str) -> Any:
        return app.test_cli_runner().invoke(args=["ledger", "receipt", *arguments])

    both = verified(printed(sent).stdout.strip(), jwks)
    one = verified(printed(sent, "--account", ravis).stdout.strip(), jwks)

    assert [entry["type"] for entry in both["entries"]] == ["DEBIT", "CREDIT"]
    assert [entry["type"] for entry in one["entries"]] == ["CREDIT"]
    assert "idempotencyKey" not in both["transaction"]
    assert printed(str(ObjectId())).exit_code == 1


def test_the_command_shows_of_a_decline_what_the_accounts_owner_may_see(bank: Bank, app: Flask, jwks: str) -> None:
    asha, ashas = bank.customer(777)
    _, ravis = bank.customer()
    declined = asha.transfer(ashas, ravis, 5_000).body["transactionId"]

    def printed(*arguments: str) -> Any:
        return app.test_cli_runner().invoke(args=["ledger", "receipt", declined, *arguments])

    seen = verified(receipt(asha, declined), jwks)["transaction"]["failure"]
    for arguments in ((), ("--account", ashas)):
        assert verified(printed(*arguments).stdout.strip(), jwks)["transaction"]["failure"] == seen
    payees = printed("--account", ravis)
    assert (payees.exit_code, payees.stdout) == (1, "")


def test_the_command_refuses_an_account_that_is_no_party(bank: Bank, app: Flask) -> None:
    asha, ashas = bank.customer(1_000)
    sent = asha.transfer(ashas, bank.customer()[1], 400).body["transaction"]["id"]
    exit_codes = {"garbage": 2, str(ObjectId()): 1, bank.customer()[1]: 1, asha.open_account(): 1}

    for account, exit_code in exit_codes.items():
        result = app.test_cli_runner().invoke(args=["ledger", "receipt", sent, "--account", account])
        assert (result.exit_code, result.stdout) == (exit_code, "")
        assert result.stderr


@pytest.mark.parametrize("key", ["secret", "0" * 64, "ab" * 32, "g" * 64])
def test_a_weak_key_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("RECEIPT_KEY", key)

    with pytest.raises(ConfigError, match="RECEIPT_KEY"):
        load()
