"""Owners of accounts, records and uses of keys that somebody changed in the database: verify finds them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from app.ledger import documents
from app.ledger.proof import verify
from app.ledger.records import AccountStatus, Entry, EntryType
from app.mongo import Document
from tests.integration.tampering import Ledger, faults, resealed, small_ledger
from tests.integration.test_verify_movements import every_kind_of_movement
from tests.people import Bank, Person, new_key
from tests.sealing import sealed


@pytest.fixture
def tampered(bank: Bank, database: Database[Document]) -> Ledger:
    return small_ledger(bank, database)


def kinds() -> set[str]:
    return {kind for kind, *_ in faults()}


def as_version_1(database: Database[Document]) -> None:
    """Make the ledger what the version before wrote: nothing but the money sealed."""
    database.ledger_entries.update_many({}, {"$unset": {"version": "", "record_hash": "", "identity": ""}})
    for account in database.ledger_entries.distinct("account"):
        first = database.ledger_entries.find_one({"account": account, "sequence": 0})
        assert first is not None
        resealed_first = sealed(documents.to_entry(first))
        database.ledger_entries.update_one({"_id": first["_id"]}, {"$set": {"hash": resealed_first.hash}})
        resealed(database, account, 1)


def stolen(bank: Bank, ledger: Ledger, database: Database[Document]) -> Person:
    """Give asha's account to somebody else, in its document."""
    thief = bank.register("Mallory")
    database.accounts.update_one({"_id": ledger.asha}, {"$set": {"user": ObjectId(thief.id)}})
    return thief


def test_the_application_itself_cannot_give_an_account_to_somebody_who_then_spends(
    bank: Bank, tampered: Ledger, as_application: Database[Document]
) -> None:
    thief = stolen(bank, tampered, as_application)

    refused = thief.transfer(str(tampered.asha), thief.open_account(), 1)

    assert (refused.status, refused.code) == (404, "account_not_found")
    assert faults() == [("identity", tampered.asha, 0, None)]
    of_account = verify.verify_account(tampered.asha)
    assert of_account is not None
    assert not of_account.is_sound


def test_the_application_itself_cannot_make_a_customer_a_treasury_that_overdraws(
    bank: Bank, database: Database[Document], as_application: Database[Document]
) -> None:
    asha, account = bank.customer(100)
    _, other = bank.customer()
    as_application.accounts.update_one({"_id": ObjectId(account)}, {"$set": {"kind": "TREASURY"}})

    assert asha.transfer(account, other, 200).code == "insufficient_funds"
    assert kinds() == {"identity"}


def test_an_account_of_the_version_before_is_found_by_who_has_spent_from_it(
    bank: Bank, tampered: Ledger, database: Database[Document]
) -> None:
    as_version_1(database)
    assert faults() == []

    stolen(bank, tampered, database)

    assert set(faults()) == {("payer", tampered.asha, None, sent) for sent in tampered.sent}


def test_a_ledger_of_the_version_before_goes_on_and_stays_sound(bank: Bank, database: Database[Document]) -> None:
    asha, account = bank.customer(500)
    _, other = bank.customer()
    as_version_1(database)

    assert asha.transfer(account, other, 100).status == 201
    entries = list(database.ledger_entries.find({"account": ObjectId(account)}).sort("sequence", 1))

    assert [entry.get("version", 1) for entry in entries] == [1, 1, 2]
    assert faults() == []


def test_a_forger_of_the_first_entry_is_found(bank: Bank, tampered: Ledger, database: Database[Document]) -> None:
    thief = ObjectId(stolen(bank, tampered, database).id)
    tampered.change(tampered.asha, 0, **{"identity.user": thief})

    assert ("identity", tampered.asha, 0, None) in faults()


@pytest.mark.parametrize(
    "fields",
    [
        {"user": ObjectId("1" * 24)},
        {"metadata": [["a", "b"]]},
        {"idempotency_key": "another"},
        {"fingerprint": {"amount": "x"}},
        {"description": "Not rent"},
        {"salt": bytes(16)},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_a_record_says_for_ever_is_sealed(tampered: Ledger, fields: dict[str, Any]) -> None:
    tampered.change_transaction(1, **fields)

    assert "record" in kinds()


def test_a_description_changed_in_the_record_and_in_both_entries(tampered: Ledger) -> None:
    tampered.change_transaction(1, description="Not rent")
    tampered.change(tampered.asha, 3, description="Not rent")
    tampered.change(tampered.ravi, 2, description="Not rent")

    assert kinds() == {"hash", "record"}


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("pending", {"$unset": {"expires_at": ""}}, {"record"}),
        ("voided", {"$set": {"failure": {"code": "hold_expired", "detail": "x"}}}, {"record", "key_use"}),
        ("expired", {"$unset": {"failure": ""}}, {"key_use"}),
    ],
)
def test_a_holds_end_is_sealed(
    bank: Bank, database: Database[Document], name: str, changes: Document, expected: set[str]
) -> None:
    ids = every_kind_of_movement(bank)
    database.transactions.update_one({"_id": ids[name]}, changes)

    assert kinds() == expected


@pytest.mark.parametrize("name", ["captured", "voided"])
def test_a_key_use_that_is_gone(bank: Bank, database: Database[Document], name: str) -> None:
    ids = every_kind_of_movement(bank)
    database.transactions.delete_one({"transaction": ids[name]})

    assert faults() == [("key_use", None, None, ids[name])]


def test_a_batch_without_its_items_or_its_key(bank: Bank, database: Database[Document]) -> None:
    asha, account = bank.customer(500)
    _, other = bank.customer()
    transfers = [{"fromAccount": account, "toAccount": other, "amount": 900}] * 2
    body = {"idempotencyKey": new_key(), "atomic": False, "transfers": transfers}
    results = asha.post("/api/transactions/batch", body).body["results"]
    assert len(results) == 2
    failed = list(database.transactions.find({"status": "FAILED"}))
    assert faults() == []

    database.transactions.delete_one({"_id": failed[0]["_id"]})
    assert faults() == [("key_use", None, None, failed[0]["_id"])]
    database.transactions.delete_one({"kind": "BATCH"})
    assert faults() == [("key_use", None, None, failed[1]["_id"])]


@pytest.mark.parametrize(
    ("tampering", "named"),
    [
        ({"$set": {"results.0": {"code": "insufficient_funds", "detail": "x"}}}, [0]),
        ({"$pop": {"results": 1}}, [1]),
        ({"$pop": {"results": -1}}, [0, 1]),
        ({"$unset": {"results": ""}}, [0, 1]),
    ],
    ids=["relabelled", "without its last item", "without its first item", "without results"],
)
def test_an_item_that_is_not_in_its_place_in_its_batch(
    bank: Bank, database: Database[Document], tampering: Document, named: list[int]
) -> None:
    asha, account = bank.customer(500)
    _, other = bank.customer()
    transfers = [{"fromAccount": account, "toAccount": other, "amount": amount} for amount in (1, 2)]
    asha.post("/api/transactions/batch", {"idempotencyKey": new_key(), "transfers": transfers})
    results = (database.transactions.find_one({"kind": "BATCH"}) or {})["results"]
    assert faults() == []

    database.transactions.update_one({"kind": "BATCH"}, tampering)

    assert sorted(faults()) == sorted(("key_use", None, None, results[place]) for place in named)


def test_an_item_named_twice_in_its_batch(bank: Bank, database: Database[Document]) -> None:
    asha, account = bank.customer(500)
    _, other = bank.customer()
    transfers = [{"fromAccount": account, "toAccount": other, "amount": amount} for amount in (1, 2)]
    asha.post("/api/transactions/batch", {"idempotencyKey": new_key(), "transfers": transfers})
    first, second = (database.transactions.find_one({"kind": "BATCH"}) or {})["results"]

    database.transactions.update_one({"kind": "BATCH"}, {"$set": {"results": [first, first]}})

    assert {fault[3] for fault in faults()} == {first, second}


def test_a_key_that_opened_an_account_and_names_a_strangers(
    bank: Bank, tampered: Ledger, database: Database[Document]
) -> None:
    person = bank.register()
    person.post("/api/accounts/create", {"idempotencyKey": "a"})
    assert faults() == []

    database.transactions.update_one({"kind": "ACCOUNT"}, {"$set": {"account": tampered.ravi}})
    assert faults() == [("key_use", tampered.ravi, None, None)]
    # Nor does the account's document help, because its journal says whose it is.
    database.accounts.update_one({"_id": tampered.ravi}, {"$set": {"user": ObjectId(person.id)}})
    assert ("key_use", tampered.ravi, None, None) in faults()
    database.transactions.update_one({"kind": "ACCOUNT"}, {"$unset": {"account": ""}})
    assert ("key_use", None, None, None) in faults()


def test_a_journal_that_goes_back_to_the_hash_that_seals_less(tampered: Ledger) -> None:
    entries = tampered.database.ledger_entries
    for account, sequence in ((tampered.asha, 4), (tampered.ravi, 3)):
        entry = sealed(replace(documents.to_entry(tampered.entry(account, sequence)), version=1, record_hash=None))
        changes: Document = {"$set": {"hash": entry.hash, "description": "Gift"}}
        changes["$unset"] = {"version": "", "record_hash": ""}
        entries.update_one({"account": account, "sequence": sequence}, changes)
    tampered.change_transaction(2, description="Gift")

    assert set(faults()) == {("hash", tampered.asha, 4, None), ("hash", tampered.ravi, 3, None)}


@pytest.mark.parametrize(
    ("begun", "finished", "is_sound"),
    [(-1, 1, True), (-1, None, True), (-2, -1, False), (1, 2, False)],
    ids=["in the time of the upgrade", "not finished", "later", "before"],
)
def test_entries_of_version_1_may_follow_only_while_the_old_release_ran_beside_the_new(
    tampered: Ledger, begun: int, finished: int | None, is_sound: bool
) -> None:
    for account, sequence in ((tampered.asha, 4), (tampered.ravi, 3)):
        document = tampered.entry(account, sequence)
        entry = sealed(replace(documents.to_entry(document), version=1, record_hash=None))
        changes: Document = {"$set": {"hash": entry.hash}, "$unset": {"version": "", "record_hash": ""}}
        tampered.database.ledger_entries.update_one({"_id": document["_id"]}, changes)
    at, hour = entry.created_at, timedelta(hours=1)
    upgrade: Document = {"_id": "upgrade 2", "version": 2, "begun_at": at + begun * hour}
    upgrade |= {} if finished is None else {"finished_at": at + finished * hour}
    tampered.database["schema"].insert_one(upgrade, bypass_document_validation=True)
    try:
        found = set(faults())
    finally:
        tampered.database["schema"].delete_one({"_id": "upgrade 2"})

    assert found == (set() if is_sound else {("hash", tampered.asha, 4, None), ("hash", tampered.ravi, 3, None)})


def append(ledger: Ledger, account: ObjectId, status: AccountStatus) -> Entry:
    """Forge a change of status, in the journal and in the account."""
    head = ledger.database.ledger_entries.find_one({"account": account}, sort=[("sequence", -1)])
    assert head is not None
    first = documents.to_entry(ledger.entry(account, 0))
    before = documents.to_entry(head)
    forged = sealed(replace(
        first, sequence=before.sequence + 1, balance=before.balance, held=before.held, description=status.value,
        created_at=before.created_at + timedelta(milliseconds=1), previous_hash=before.hash, type=EntryType.STATUS,
    ))  # fmt: skip
    ledger.database.ledger_entries.insert_one(documents.from_entry(forged))
    ledger.database.accounts.update_one({"_id": account}, {"$set": {"status": status.value}})
    return forged


def test_a_forged_close_with_money(tampered: Ledger) -> None:
    forged = append(tampered, tampered.asha, AccountStatus.CLOSED)

    assert faults() == [("transition", tampered.asha, forged.sequence, None)]


def test_a_closed_account_that_was_opened_again(bank: Bank, tampered: Ledger) -> None:
    owner, account = bank.customer()
    assert owner.post(f"/api/accounts/{account}/close").status == 200
    assert faults() == []

    forged = append(tampered, ObjectId(account), AccountStatus.ACTIVE)

    assert faults() == [("transition", ObjectId(account), forged.sequence, None)]
