"""Documents in which a name occurs twice, or whose values have types that none has: verify finds them.

MongoDB uses the first of two fields by one name, and the driver the last.
"""

from dataclasses import replace
from typing import Any

import pytest
from bson import Code, ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database

from app.ledger import documents
from app.ledger.documents import from_entry
from app.ledger.proof import verify
from app.ledger.records import EntryType
from app.mongo import Document
from tests.integration.tampering import Ledger, change, faults, small_ledger, write_first, write_text
from tests.integration.test_verify_movements import every_kind_of_movement
from tests.joined_bson import joined
from tests.people import Bank
from tests.sealing import sealed

NOT_UTF8 = b"\xff\xfe\xff"


@pytest.fixture
def tampered(bank: Bank, database: Database[Document]) -> Ledger:
    return small_ledger(bank, database)


def forged_pair(ledger: Ledger, transaction: Any) -> list[Document]:
    """Return entries that move 100 from asha to ravi, well sealed, and name what is no transaction."""
    pair = []
    for account, other, last, type_ in (
        (ledger.asha, ledger.ravi, 4, EntryType.DEBIT),
        (ledger.ravi, ledger.asha, 3, EntryType.CREDIT),
    ):
        head = documents.to_entry(ledger.entry(account, last))
        balance = head.balance + (100 if type_ is EntryType.CREDIT else -100)
        forged = replace(
            head, sequence=last + 1, type=type_, amount=100, balance=balance, transaction=transaction,
            counterparty=other, previous_hash=head.hash, record_hash=bytes(32),
        )  # fmt: skip
        pair.append({"_id": ObjectId(), **from_entry(sealed(forged))})
    return pair


@pytest.mark.parametrize("is_known", [True, False])
def test_the_application_cannot_move_money_by_entries_that_name_two_transactions(
    tampered: Ledger, as_application: Database[Document], is_known: bool
) -> None:
    first = tampered.sent[0] if is_known else ObjectId()
    for entry in forged_pair(tampered, ObjectId()):
        written: Any = RawBSONDocument(joined({"_id": entry.pop("_id"), "transaction": first}, entry))
        as_application.ledger_entries.insert_one(written)

    found = faults()

    places = {(tampered.asha, 5), (tampered.ravi, 4)}
    assert {(account, sequence) for kind, account, sequence, _ in found if kind == "format"} == places
    assert {(account, sequence) for kind, account, sequence, id_ in found if id_ == first} >= places
    of_account = verify.verify_account(tampered.asha)
    assert of_account is not None
    assert "format" in {fault.kind for fault in of_account.faults}


@pytest.mark.parametrize("transaction", ["", [], 0, False])
def test_nobody_can_move_money_by_entries_whose_transaction_is_empty(tampered: Ledger, transaction: Any) -> None:
    tampered.database.ledger_entries.insert_many(forged_pair(tampered, transaction), bypass_document_validation=True)

    assert set(faults()) == {("format", tampered.asha, 5, None), ("format", tampered.ravi, 4, None)}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("accounts", {"user": ObjectId()}),
        ("accounts", {"status": "CLOSED"}),
        ("transactions", {"status": "FAILED"}),
        ("transactions", {"accounts": [ObjectId(), ObjectId()]}),
        ("transactions", {"fingerprint": {}}),
    ],
)
def test_a_field_that_is_written_twice(tampered: Ledger, name: str, fields: Document) -> None:
    id_ = tampered.asha if name == "accounts" else tampered.sent[1]
    write_first(tampered.database, name, id_, fields)

    found = verify.verify().faults

    where = (id_, None) if name == "accounts" else (None, id_)
    assert [(fault.kind, fault.account, fault.transaction) for fault in found] == [("format", *where)]
    assert found[0].found == f"{next(iter(fields))} twice"
    of_account = verify.verify_account(tampered.asha)
    assert of_account is not None
    assert of_account.faults == found


def test_a_mark_or_the_use_of_a_key_with_a_field_twice(bank: Bank, database: Database[Document]) -> None:
    ids = every_kind_of_movement(bank)
    capture = database.transactions.find_one({"transaction": ids["captured"], "kind": "CAPTURE"})
    assert capture is not None
    write_first(database, "reversals", ids["sent"], {"by": ObjectId()})
    write_first(database, "transactions", capture["_id"], {"transaction": ids["captured"]})

    assert set(faults()) == {("format", None, None, ids["sent"]), ("format", None, None, capture["_id"])}


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("accounts", "name"),
        ("ledger_entries", "description"),
        ("transactions", "description"),
        ("transactions", "currency"),
        ("transactions", "kind"),
    ],
)
def test_a_text_that_is_not_in_utf_8(tampered: Ledger, name: str, field: str) -> None:
    entry = tampered.entry(tampered.asha, 3)
    id_ = {"accounts": tampered.asha, "ledger_entries": entry["_id"], "transactions": tampered.sent[1]}[name]
    write_text(tampered.database, name, id_, field, NOT_UTF8)

    found = verify.verify().faults

    assert (found[0].kind, found[0].found) == ("format", f"{field} not in UTF-8")
    of_account = verify.verify_account(tampered.asha)
    assert of_account is not None
    assert "format" in {fault.kind for fault in of_account.faults}


FORGED: list[Any] = [["x"], {"a": 1}, Code("CAPTURE")]


@pytest.mark.parametrize("value", FORGED)
def test_a_proof_names_any_value_that_cannot_be_compared(bank: Bank, database: Database[Document], value: Any) -> None:
    """Such values have no hash and no order."""
    ids = every_kind_of_movement(bank)
    reversal = database.reversals.find_one({"_id": ids["sent"]})
    capture = database.transactions.find_one({"transaction": ids["captured"], "kind": "CAPTURE"})
    assert reversal is not None
    assert capture is not None
    change(database, ids["pending"], {"kind": value})
    change(database, ids["voided"], {"from_account": value})
    change(database, ids["expired"], {"user": value, "idempotency_key": "key\x1f1"})
    change(database, ids["reversed"], {"reversed_by": value})
    change(database, reversal["by"], {"reverses": value})
    change(database, capture["_id"], {"transaction": [ids["captured"]]})
    any_mark = {"_id": ids["reversed"]}
    database.reversals.update_one(any_mark, {"$set": {"by": value}}, bypass_document_validation=True)
    forged_account = {"kind": value, "currency": value}
    database.accounts.update_one({"_id": ids["account"]}, {"$set": forged_account}, bypass_document_validation=True)

    found = verify.verify().faults

    named = {fault.transaction for fault in found}
    assert named >= {ids[name] for name in ("pending", "voided", "expired", "reversed", "sent", "captured")}
    assert ("format", ids["account"]) in [(fault.kind, fault.account) for fault in found]


@pytest.mark.parametrize("currency", [ObjectId(), None, 5, ["INR"]])
def test_balances_in_what_is_no_currency_do_not_add_up(tampered: Ledger, currency: Any) -> None:
    of_account = {"_id": tampered.asha}
    change = {"$set": {"currency": currency}}
    tampered.database.accounts.update_one(of_account, change, bypass_document_validation=True)

    found = faults()

    assert found[0] == ("format", tampered.asha, None, None)
    assert "trial_balance" in {kind for kind, *_ in found}
