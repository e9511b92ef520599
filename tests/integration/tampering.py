"""Changing a ledger behind the bank's back, with an administrator's rights, and asking for its faults."""

from dataclasses import dataclass, replace
from typing import Any

import bson
from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database

from app.ledger import documents
from app.ledger.proof import verify
from app.mongo import Document
from tests.again import again
from tests.joined_bson import joined
from tests.people import Bank
from tests.sealing import sealed

# kind, account, sequence, transaction: None where a fault has none.
Named = tuple[str, ObjectId | None, int | None, ObjectId | None]


@dataclass
class Ledger:
    """A small ledger: of asha's account the entries opened (0), funded (1), and three transfers to ravi (2, 3, 4)."""

    database: Database[Document]
    asha: ObjectId
    ravi: ObjectId
    sent: list[ObjectId]

    def entry(self, account: ObjectId, sequence: int) -> Document:
        found = self.database.ledger_entries.find_one({"account": account, "sequence": sequence})
        assert found is not None
        return found

    def change(self, account: ObjectId, at: int, **fields: Any) -> None:
        query = {"account": account, "sequence": at}
        self.database.ledger_entries.update_one(query, {"$set": fields}, bypass_document_validation=True)

    def change_transaction(self, number: int, **fields: Any) -> None:
        change(self.database, self.sent[number], fields)


def change(database: Database[Document], transaction: ObjectId, fields: dict[str, Any]) -> None:
    database.transactions.update_one({"_id": transaction}, {"$set": fields}, bypass_document_validation=True)


def small_ledger(bank: Bank, database: Database[Document]) -> Ledger:
    asha, ravi, sent = again(database, bank, _make_small_ledger)
    return Ledger(database, asha, ravi, list(sent))


def _make_small_ledger(bank: Bank) -> tuple[ObjectId, ObjectId, list[ObjectId]]:
    asha, ashas = bank.customer(1_000)
    _, ravis = bank.customer()
    sent = [asha.transfer(ashas, ravis, n, description="Rent").body["transaction"]["id"] for n in (100, 200, 300)]
    return ObjectId(ashas), ObjectId(ravis), [ObjectId(id_) for id_ in sent]


def write_first(database: Database[Document], name: str, id_: ObjectId, fields: Document) -> None:
    """Give a document of a collection these fields besides its own by the same names, before them."""
    found = database[name].find_one_and_delete({"_id": id_})
    assert found is not None
    forged = joined({"_id": id_}, fields, {field: value for field, value in found.items() if field != "_id"})
    insert_raw(database, name, forged)


def write_text(database: Database[Document], name: str, id_: ObjectId, field: str, text: bytes) -> None:
    """Put bytes that need not be UTF-8 into a text of a document."""
    found = database[name].find_one_and_delete({"_id": id_})
    assert found is not None
    marked = bson.encode({**found, field: "?" * len(text)})
    assert marked.count(b"?" * len(text)) == 1
    insert_raw(database, name, marked.replace(b"?" * len(text), text))


def insert_raw(database: Database[Document], name: str, raw: bytes) -> None:
    written: Any = RawBSONDocument(raw)
    database[name].insert_one(written, bypass_document_validation=True)


def faults() -> list[Named]:
    found = verify.verify().faults
    assert len({str(fault) for fault in found}) == len(found)
    return [(fault.kind.value, fault.account, fault.sequence, fault.transaction) for fault in found]


def resealed(database: Database[Document], account: ObjectId, first: int) -> None:
    """Give all entries from `first` on hashes that fit again, as a careful forger would."""
    entries = list(database.ledger_entries.find({"account": account}).sort("sequence", 1))
    for before, after in zip(entries[first - 1 :], entries[first:], strict=False):
        entry = sealed(replace(documents.to_entry(after), previous_hash=bytes(before["hash"])))
        after.update(previous_hash=entry.previous_hash, hash=entry.hash)
        database.ledger_entries.replace_one({"_id": after["_id"]}, after, bypass_document_validation=True)
