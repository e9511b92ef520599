"""Checks the laws of money in the database, read as an administrator and without any code that posts."""

from collections import Counter, defaultdict
from itertools import groupby

from bson import ObjectId
from pymongo.database import Database

from app.ledger.documents import to_entry
from app.ledger.records import GENESIS_HASH, Entry, EntryType
from app.mongo import Document


def assert_ledger_is_whole(database: Database[Document]) -> None:
    """Insist that every journal is an unbroken chain, every transaction balanced and complete, and all money adds up to
    zero in each currency."""
    accounts = {account["_id"]: account for account in database.accounts.find()}
    entries = [
        to_entry(document) for document in database.ledger_entries.find().sort([("account", 1), ("sequence", 1)])
    ]
    sums: Counter[str] = Counter()
    for account_id, group in groupby(entries, key=lambda entry: entry.account):
        journal = list(group)
        account = accounts.pop(account_id)
        _assert_chain(journal)
        assert account["kind"] == "TREASURY" or all(0 <= entry.held <= entry.balance for entry in journal), "overdraft"
        sums[account["currency"]] += journal[-1].balance
    assert not accounts, "an account without a journal"
    assert not any(sums.values()), "money came from nowhere or went there"
    _assert_transactions(list(database.transactions.find({"amount": {"$exists": True}})), entries)


def _assert_chain(journal: list[Entry]) -> None:
    balance, held, previous_hash, at, status = 0, 0, GENESIS_HASH, journal[0].created_at, None
    for sequence, entry in enumerate(journal):
        balance += {"CREDIT": entry.amount, "DEBIT": -entry.amount}.get(entry.type, 0)
        held += {"HOLD": entry.amount, "RELEASE": -entry.amount}.get(entry.type, 0)
        assert (entry.sequence, entry.balance, entry.held) == (sequence, balance, held)
        assert (entry.previous_hash, entry.hash) == (previous_hash, entry.computed_hash())
        assert entry.created_at >= at
        status = entry.description if entry.type is EntryType.STATUS else status
        assert status == "ACTIVE" or entry.type in (EntryType.STATUS, EntryType.RELEASE), "money moved while not ACTIVE"
        previous_hash, at = entry.hash, entry.created_at


def _assert_transactions(transactions: list[Document], entries: list[Entry]) -> None:
    legs: dict[ObjectId | None, Counter[tuple[str, ObjectId]]] = defaultdict(Counter)
    for entry in entries:
        legs[entry.transaction][entry.type.value, entry.account] += entry.amount
    legs.pop(None, None)
    for transaction in transactions:
        assert legs.pop(transaction["_id"], Counter()) == _legs_due(transaction)
    assert not legs, "an entry without its transaction"


def _legs_due(transaction: Document) -> Counter[tuple[str, ObjectId]]:
    """Return what a transaction's entries must come to, given its status."""
    payer, payee, status = transaction["from_account"], transaction["to_account"], transaction["status"]
    held = transaction.get("held_amount", 0) if status != "FAILED" else 0
    moved = transaction["amount"] if status in ("COMPLETED", "REVERSED") else 0
    due = Counter({("DEBIT", payer): moved, ("CREDIT", payee): moved, ("HOLD", payer): held})
    due["RELEASE", payer] = held if status != "PENDING" else 0
    return due
