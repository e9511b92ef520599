"""The faults that `flask ledger verify` finds in a ledger that somebody has changed."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from app.account_numbers import new_number
from app.ledger import documents
from app.ledger.proof import verify
from app.mongo import Document
from tests.integration.tampering import Ledger, faults, resealed, small_ledger
from tests.people import Bank, new_key
from tests.sealing import sealed


@pytest.fixture
def tampered(bank: Bank, database: Database[Document]) -> Ledger:
    return small_ledger(bank, database)


def test_an_untouched_ledger_is_sound(tampered: Ledger) -> None:
    report = verify.verify()

    assert report.faults == []
    assert (report.accounts, report.entries, report.transactions) == (3, 3 + 2 * 4, 4)
    for account in (tampered.asha, tampered.ravi):
        of_account = verify.verify_account(account)
        assert of_account is not None
        assert of_account.is_sound


def test_a_changed_amount(tampered: Ledger) -> None:
    tampered.change(tampered.asha, 3, amount=201)

    found = verify.verify().faults

    assert [(f.kind, f.account, f.sequence) for f in found] == [
        ("balance", tampered.asha, 3),
        ("hash", tampered.asha, 3),
        ("entry", tampered.asha, 3),
    ]
    assert (found[0].expected, found[0].found) == (699, 700)
    assert found[1].found == tampered.entry(tampered.asha, 3)["hash"].hex()
    assert str(found[2].expected).startswith("DEBIT 200, INR")
    assert str(found[2].found).startswith("DEBIT 201, INR")


def test_a_changed_balance(tampered: Ledger) -> None:
    tampered.change(tampered.asha, 3, balance=999)

    assert faults() == [("balance", tampered.asha, 3, None), ("hash", tampered.asha, 3, None)]


def test_a_changed_balance_at_the_end_shows_in_the_trial_balance_too(tampered: Ledger) -> None:
    tampered.change(tampered.asha, 4, balance=401)

    found = verify.verify().faults

    assert [fault.kind for fault in found] == ["balance", "hash", "trial_balance"]
    assert (found[2].currency, found[2].expected, found[2].found) == ("INR", 0, 1)


@pytest.mark.parametrize(
    ("field", "value", "kinds"),
    [
        ("hash", b"\x01" * 32, ["hash"]),
        ("previous_hash", b"\x01" * 32, ["previous_hash", "hash"]),
        ("held", 5, ["held", "hash"]),
        ("type", "CREDIT", ["balance", "hash", "entry"]),
        ("counterparty", ObjectId(), ["hash", "entry"]),
        ("description", "Not rent", ["hash", "entry"]),
        ("created_at", datetime(2020, 1, 1, tzinfo=UTC), ["hash", "time", "entry"]),
        ("created_at", datetime(2120, 1, 1, tzinfo=UTC), ["hash", "time", "entry"]),
        ("amount", "200", ["format", "entry"]),
        ("amount", 200.5, ["format", "entry"]),
        ("balance", 2**70 * 1.0, ["format"]),
        ("hash", "text", ["format"]),
        ("hash", 2**53, ["format"]),
        ("created_at", None, ["format", "format"]),
        ("transaction", "text", ["format"]),
    ],
)
def test_any_changed_field_is_named_at_its_entry(tampered: Ledger, field: str, value: Any, kinds: list[str]) -> None:
    tampered.change(tampered.asha, 3, **{field: value})

    found = faults()

    assert [kind for kind, *_ in found][: len(kinds)] == kinds
    for kind, account, sequence, _ in found:
        if kind not in ("format", "trial_balance"):
            # Whoever is dated a century ahead leaves the next one behind.
            assert (account, sequence) in ((tampered.asha, 3), (tampered.asha, 4), (tampered.asha, None)), found


def test_a_forger_who_seals_again_is_found_where_the_old_chain_goes_on(tampered: Ledger) -> None:
    entry = sealed(replace(documents.to_entry(tampered.entry(tampered.asha, 3)), amount=201, balance=699))
    tampered.change(tampered.asha, 3, amount=201, balance=699, hash=entry.hash)

    assert faults() == [
        ("previous_hash", tampered.asha, 4, None),
        ("balance", tampered.asha, 4, None),
        ("entry", tampered.asha, 3, tampered.sent[1]),
    ]


def test_a_forger_of_a_whole_journal_is_found_by_the_other_side(tampered: Ledger) -> None:
    for sequence, changed in ((3, {"amount": 100, "balance": 800}), (4, {"balance": 500})):
        tampered.change(tampered.asha, sequence, **changed)
    resealed(tampered.database, tampered.asha, 3)

    found = verify.verify().faults

    assert [(f.kind, f.account, f.sequence, f.transaction) for f in found] == [
        ("trial_balance", None, None, None),
        ("entry", tampered.asha, 3, tampered.sent[1]),
    ]
    assert found[0].found == 100


def test_a_missing_entry(tampered: Ledger) -> None:
    tampered.database.ledger_entries.delete_one({"account": tampered.asha, "sequence": 3})

    found = verify.verify().faults

    assert [(f.kind, f.account, f.sequence, f.transaction) for f in found] == [
        ("sequence", tampered.asha, 4, None),
        ("entry", tampered.asha, None, tampered.sent[1]),
    ]
    assert (found[0].expected, found[0].found) == (3, 4)
    assert (str(found[1].expected)[:9], found[1].found) == ("DEBIT 200", None)


def test_a_missing_last_entry(tampered: Ledger) -> None:
    tampered.database.ledger_entries.delete_one({"account": tampered.asha, "sequence": 4})

    assert faults() == [("trial_balance", None, None, None), ("entry", tampered.asha, None, tampered.sent[2])]


def test_a_missing_journal_and_a_missing_account(tampered: Ledger) -> None:
    idle = tampered.database.accounts.find_one({"_id": tampered.ravi})
    assert idle is not None
    unopened = {**idle, "_id": ObjectId(), "number": new_number()}
    tampered.database.accounts.insert_one(unopened)
    assert faults() == [("journal", unopened["_id"], 0, None)]

    tampered.database.accounts.delete_one({"_id": unopened["_id"]})
    tampered.database.accounts.delete_one({"_id": tampered.ravi})
    assert ("journal", tampered.ravi, None, None) in faults()


def test_swapped_entries(tampered: Ledger) -> None:
    tampered.change(tampered.asha, 2, sequence=99)
    tampered.change(tampered.asha, 3, sequence=2)
    tampered.change(tampered.asha, 99, sequence=3)

    found = faults()

    assert {(account, sequence) for _, account, sequence, _ in found} == {(tampered.asha, n) for n in (2, 3, 4)}
    assert ("hash", tampered.asha, 2, None) in found
    assert ("hash", tampered.asha, 3, None) in found


@pytest.mark.parametrize("known", [True, False])
def test_a_stray_entry(tampered: Ledger, known: bool) -> None:
    head = documents.to_entry(tampered.entry(tampered.ravi, 3))
    transaction = tampered.sent[2] if known else ObjectId()
    stray = sealed(
        replace(head, sequence=4, balance=head.balance + 300, previous_hash=head.hash, transaction=transaction)
    )
    tampered.database.ledger_entries.insert_one(documents.from_entry(stray))

    assert faults() == [("trial_balance", None, None, None), ("entry", tampered.ravi, 4, transaction)]


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"amount": 201}, [("asha", 3), ("ravi", 2)]),
        ({"status": "FAILED"}, [("asha", 3), ("ravi", 2)]),
        ({"currency": "USD"}, [("asha", 3), ("ravi", 2)]),
        ({"description": "Not rent"}, [("asha", 3), ("ravi", 2)]),
        ({"completed_at": datetime(2020, 1, 1, tzinfo=UTC)}, [("asha", 3), ("ravi", 2)]),
        ({"to_account": ObjectId("1" * 24)}, [("asha", 3), ("ravi", 2)]),
        ({"kind": "CAPTURE"}, [("asha", 3), ("ravi", 2)]),
        ({"kind": "HOLD", "held_amount": 200}, [("asha", None)]),
        ({"accounts": []}, []),
        ({"amount": "200"}, []),
        ({"status": None}, []),
        ({"salt": 2**53}, []),
    ],
)
def test_an_edited_transaction(tampered: Ledger, fields: dict[str, Any], where: list[tuple[str, int]]) -> None:
    tampered.change_transaction(1, **fields)

    found = verify.verify().faults

    assert found
    assert {fault.transaction for fault in found} == {tampered.sent[1]}
    places = {(fault.account, fault.sequence) for fault in found if fault.kind == "entry"}
    assert {(getattr(tampered, name), sequence) for name, sequence in where} <= places


def test_an_entry_of_no_account(tampered: Ledger) -> None:
    of_entry = {"account": tampered.asha, "sequence": 3}
    tampered.database.ledger_entries.update_one(
        of_entry, {"$unset": {"account": True}}, bypass_document_validation=True
    )

    assert {"format", "sequence"} <= {kind for kind, _, _, _ in faults()}


@pytest.mark.parametrize("change", [{"$set": {"description": ["ACTIVE"]}}, {"$unset": {"description": True}}])
def test_a_status_that_is_none(tampered: Ledger, change: Document) -> None:
    of_status = {"account": tampered.asha, "sequence": 0}
    tampered.database.ledger_entries.update_one(of_status, change, bypass_document_validation=True)

    assert ("format", tampered.asha, 0, None) in faults()


def test_a_transaction_whose_id_is_none(tampered: Ledger) -> None:
    original = tampered.database.transactions.find_one({"_id": tampered.sent[0]})
    assert original is not None
    invented: Document = {**original, "_id": "forged", "idempotency_key": new_key()}
    tampered.database.transactions.insert_one(invented, bypass_document_validation=True)

    assert faults() == [("format", None, None, None)]


def test_a_missing_transaction(tampered: Ledger) -> None:
    tampered.database.transactions.delete_one({"_id": tampered.sent[1]})

    assert sorted(faults(), key=str) == sorted(
        [("entry", tampered.asha, 3, tampered.sent[1]), ("entry", tampered.ravi, 2, tampered.sent[1])], key=str
    )


def test_a_transaction_that_never_was(tampered: Ledger) -> None:
    original = tampered.database.transactions.find_one({"_id": tampered.sent[0]})
    assert original is not None
    invented = {**original, "_id": ObjectId(), "idempotency_key": new_key()}
    tampered.database.transactions.insert_one(invented)

    assert faults() == [
        ("entry", tampered.asha, None, invented["_id"]),
        ("entry", tampered.ravi, None, invented["_id"]),
    ]


def test_an_account_whose_status_is_not_what_its_journal_says(tampered: Ledger) -> None:
    tampered.database.accounts.update_one({"_id": tampered.asha}, {"$set": {"status": "CLOSED"}})

    found = verify.verify().faults

    assert [(f.kind, f.account, f.sequence, f.expected, f.found) for f in found] == [
        ("status", tampered.asha, 0, "ACTIVE", "CLOSED")
    ]


def test_a_customer_below_zero(tampered: Ledger) -> None:
    """A forger who spends what is not there, on both sides and in the chains, still breaks the law."""
    tampered.change(tampered.asha, 1, amount=500, balance=500)
    for sequence, balance in ((2, 400), (3, 200), (4, -100)):
        tampered.change(tampered.asha, sequence, balance=balance)
    resealed(tampered.database, tampered.asha, 1)

    assert ("overdraft", tampered.asha, 4, None) in faults()
