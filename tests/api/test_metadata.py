"""Metadata is the client's own text: no name in it has a meaning for the database or its driver."""

from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from app.mongo import Document
from tests.people import Bank, new_key

# Names that BSON's reader, the server's update and query languages, and relaxed readers of JSON give a meaning to.
MEANT = [
    {"$ref": "x", "$id": "y"},
    {"$ref": "x", "$id": "y", "$db": "z", "more": "1"},
    {"$id": "y", "$ref": "x"},
    {"$ref": "x"},
    {"$oid": "0123456789abcdef01234567"},
    {"$numberLong": "1"},
    {"$date": "2026-11-22T16:00:00Z"},
    {"$code": "1", "$scope": "2"},
    {"$set": "x", "$where": "1", "$expr": "$$ROOT"},
    {"a.b": "1", ".": "2", "$": "3", "$.x": "4", "_id": "5", "__proto__": "6"},
]


@pytest.mark.parametrize("metadata", [*MEANT, {}], ids=str)
def test_metadata_comes_back_as_it_was_sent(metadata: dict[str, str], bank: Bank) -> None:
    payer, from_account = bank.customer(100)
    payee, to_account = bank.customer()
    body: dict[str, Any] = {"fromAccount": from_account, "toAccount": to_account, "amount": 1, "metadata": metadata}

    sent = payer.post("/api/transactions/create", {**body, "idempotencyKey": "one"})
    held = payer.post("/api/transactions/hold", {**body, "idempotencyKey": "two"})
    several = {"idempotencyKey": "three", "transfers": [body]}
    batch = payer.post("/api/transactions/batch", several)

    assert (sent.status, held.status, batch.status) == (201, 201, 201)
    assert payer.post("/api/transactions/create", {**body, "idempotencyKey": "one"}).body == sent.body
    assert payer.post("/api/transactions/batch", several).body == batch.body
    hold = held.body["transaction"]["id"]
    captured = payee.post(f"/api/transactions/{hold}/capture", {"idempotencyKey": new_key()})
    assert (captured.status, captured.body["transaction"]["metadata"]) == (200, metadata)
    listed = payee.get("/api/transactions").body["transactions"]
    assert [transaction["metadata"] for transaction in listed if transaction["kind"] != "FUNDING"] == [metadata] * 3
    one = payer.get(f"/api/transactions/{sent.body['transaction']['id']}").body["transaction"]
    assert list(one["metadata"].items()) == list(metadata.items())


@pytest.mark.parametrize("metadata", [*MEANT, {}], ids=str)
def test_metadata_that_is_stored_as_an_object_is_still_read(
    metadata: dict[str, str], bank: Bank, database: Database[Document]
) -> None:
    payer, from_account = bank.customer(100)
    payee, to_account = bank.customer()
    body = {"fromAccount": from_account, "toAccount": to_account, "amount": 1, "idempotencyKey": "one"}
    held = payer.post("/api/transactions/hold", {**body, "metadata": metadata}).body["transaction"]
    database.transactions.update_one({"_id": ObjectId(held["id"])}, [{"$set": {"metadata": {"$literal": metadata}}}])

    assert payee.get("/api/transactions").body["transactions"][0]["metadata"] == metadata
    captured = payee.post(f"/api/transactions/{held['id']}/capture", {"idempotencyKey": "two"})
    assert (captured.status, captured.body["transaction"]["metadata"]) == (200, metadata)
