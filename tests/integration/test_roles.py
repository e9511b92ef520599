"""The rights of the application's own user: it can add to the ledger and read it, but never change it."""

from collections.abc import Callable

import pytest
from bson import ObjectId
from pymongo import DeleteOne, UpdateOne
from pymongo.database import Database
from pymongo.errors import BulkWriteError, OperationFailure

from app.mongo import Document
from tests.people import Bank

UNAUTHORIZED = 13


@pytest.fixture
def entry(bank: Bank, database: Database[Document]) -> Document:
    """An entry that somebody would like to be another."""
    _, account = bank.customer(1_000)
    found = database.ledger_entries.find_one({"account": ObjectId(account), "type": "CREDIT"})
    assert found is not None
    return found


ENTRY = {"type": "CREDIT"}
RICHER = {"$set": {"balance": 1_000_000}}
Attempt = Callable[[Database[Document]], object]
FORBIDDEN: dict[str, Attempt] = {
    "update one": lambda db: db.ledger_entries.update_one(ENTRY, RICHER),
    "update many": lambda db: db.ledger_entries.update_many({}, RICHER),
    "upsert": lambda db: db.ledger_entries.update_one({"_id": ObjectId()}, RICHER, upsert=True),
    "replace": lambda db: db.ledger_entries.replace_one(ENTRY, {"held": 0}),
    "find and modify": lambda db: db.ledger_entries.find_one_and_update(ENTRY, RICHER),
    "delete one": lambda db: db.ledger_entries.delete_one(ENTRY),
    "delete many": lambda db: db.ledger_entries.delete_many({}),
    "find and delete": lambda db: db.ledger_entries.find_one_and_delete(ENTRY),
    "bulk update": lambda db: db.ledger_entries.bulk_write([UpdateOne(ENTRY, RICHER)]),
    "bulk delete": lambda db: db.ledger_entries.bulk_write([DeleteOne(ENTRY)]),
    "drop the collection": lambda db: db.drop_collection("ledger_entries"),
    "rename the collection": lambda db: db.ledger_entries.rename("entries"),
    "write over it": lambda db: list(db.accounts.aggregate([{"$out": "ledger_entries"}])),
    "merge into it": lambda db: list(db.accounts.aggregate([{"$merge": "ledger_entries"}])),
    "drop an index": lambda db: db.ledger_entries.drop_indexes(),
    "add an index": lambda db: db.ledger_entries.create_index("balance", expireAfterSeconds=0),
    "change the validator": lambda db: db.command("collMod", "ledger_entries", validator={}),
    "drop the database": lambda db: db.client.drop_database(db.name),
    "make a user": lambda db: db.command("createUser", "thief", pwd="thief", roles=["readWrite"]),
    "give itself a role": lambda db: db.command("grantRolesToUser", "fincore", roles=["readWrite"]),
    "delete a transaction": lambda db: db.transactions.delete_many({}),
    "change who reversed what": lambda db: db.reversals.update_many({}, {"$set": {"by": ObjectId()}}),
    "delete who reversed what": lambda db: db.reversals.delete_many({}),
    "delete an account": lambda db: db.accounts.delete_many({}),
    "delete a user": lambda db: db.users.delete_many({}),
    "change the schema's version": lambda db: db["schema"].update_one({}, {"$set": {"version": 99}}),
    "make a collection": lambda db: db.create_collection("elsewhere"),
}  # fmt: skip


@pytest.mark.usefixtures("entry")
@pytest.mark.parametrize("attempt", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_the_application_may_not(
    as_application: Database[Document], database: Database[Document], attempt: Attempt
) -> None:
    before = list(database.ledger_entries.find().sort("_id", 1))

    with pytest.raises(OperationFailure) as refused:
        attempt(as_application)

    code = (
        (refused.value.details or {})["writeErrors"][0]["code"]
        if isinstance(refused.value, BulkWriteError)
        else refused.value.code
    )
    assert code == UNAUTHORIZED
    assert list(database.ledger_entries.find().sort("_id", 1)) == before


def test_the_application_adds_to_the_ledger_and_reads_it(as_application: Database[Document], entry: Document) -> None:
    successor = {**entry, "_id": ObjectId(), "sequence": type(entry["sequence"])(2)}

    as_application.ledger_entries.insert_one(successor)

    assert as_application.ledger_entries.find_one({"_id": successor["_id"]}) == successor
    assert as_application.ledger_entries.count_documents({"account": entry["account"]}) == 3
