"""The ledger's documents: journals, and the records the posting algorithm reads and writes.

Every write takes the session of the atomic block it belongs to.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from bson import Binary, Int64, ObjectId
from pymongo.client_session import ClientSession

from app.ledger.records import (
    Account,
    AccountKind,
    AccountStatus,
    Entry,
    EntryType,
    Failure,
    Transaction,
    TransactionKind,
    TransactionStatus,
)
from app.mongo import Document, database

# One group per account, answered from the index (account, sequence) by a DISTINCT_SCAN: the cost is one seek for
# each account, however long its journal is.
_HEAD_STAGES: list[Document] = [
    {"$sort": {"account": 1, "sequence": -1}},
    {"$group": {"_id": "$account", "head": {"$first": "$$ROOT"}}},
]


def head_pipeline(accounts: Collection[ObjectId]) -> list[Document]:
    """Return the aggregation that finds the newest entry of each account."""
    return [{"$match": {"account": {"$in": list(accounts)}}}, *_HEAD_STAGES]


def find_heads(accounts: Collection[ObjectId], session: ClientSession | None = None) -> dict[ObjectId, Entry]:
    """Return the newest entry of each account that has a journal."""
    found = database().ledger_entries.aggregate(head_pipeline(accounts), session=session)
    return {group["_id"]: to_entry(group["head"]) for group in found}


def find_accounts(accounts: Collection[ObjectId], session: ClientSession | None = None) -> list[Account]:
    """Return the accounts that exist among `accounts`, each as its head leaves it."""
    ids = {"_id": {"$in": list(accounts)}}
    documents = list(database().accounts.find(ids, session=session))
    heads = find_heads(accounts, session)
    return [_to_account(document, heads[document["_id"]]) for document in documents]


def find_recorded(keys: Iterable[tuple[ObjectId, str]], session: ClientSession) -> list[Transaction]:
    """Return the transactions recorded under these (user, idempotency key) pairs."""
    by_user: dict[ObjectId, list[str]] = defaultdict(list)
    for user, key in keys:
        by_user[user].append(key)
    branches = [{"user": user, "idempotency_key": {"$in": of_user}} for user, of_user in by_user.items()]
    return [to_transaction(document) for document in database().transactions.find({"$or": branches}, session=session)]


def insert_transactions(transactions: Iterable[Transaction], session: ClientSession) -> None:
    documents = [_from_transaction(transaction) for transaction in transactions]
    if documents:
        database().transactions.insert_many(documents, session=session)


def insert_entries(entries: Iterable[Entry], session: ClientSession) -> None:
    documents = [_from_entry(entry) for entry in entries]
    if documents:
        database().ledger_entries.insert_many(documents, session=session)


def to_entry(document: Document) -> Entry:
    return Entry(
        account=document["account"],
        sequence=document["sequence"],
        type=EntryType(document["type"]),
        amount=document["amount"],
        balance=document["balance"],
        held=document["held"],
        transaction=document["transaction"],
        counterparty=document["counterparty"],
        description=document["description"],
        created_at=document["created_at"],
        previous_hash=bytes(document["previous_hash"]),
        hash=bytes(document["hash"]),
    )


def _from_entry(entry: Entry) -> Document:
    return {
        "account": entry.account,
        "sequence": Int64(entry.sequence),
        "type": entry.type.value,
        "amount": Int64(entry.amount),
        "balance": Int64(entry.balance),
        "held": Int64(entry.held),
        "transaction": entry.transaction,
        "counterparty": entry.counterparty,
        "description": entry.description,
        "created_at": entry.created_at,
        "previous_hash": Binary(entry.previous_hash),
        "hash": Binary(entry.hash),
    }


def _to_account(document: Document, head: Entry) -> Account:
    return Account(
        id=document["_id"],
        kind=AccountKind(document["kind"]),
        user=document.get("user"),
        currency=document["currency"],
        status=AccountStatus(document["status"]),
        sequence=head.sequence,
        balance=head.balance,
        held=head.held,
        hash=head.hash,
        at=head.created_at,
    )


def to_transaction(document: Document) -> Transaction:
    failure = document.get("failure")
    return Transaction(
        id=document["_id"],
        user=document["user"],
        idempotency_key=document["idempotency_key"],
        fingerprint=document["fingerprint"],
        kind=TransactionKind(document["kind"]),
        from_account=document["from_account"],
        to_account=document["to_account"],
        amount=document["amount"],
        currency=document["currency"],
        status=TransactionStatus(document["status"]),
        created_at=document["created_at"],
        held_amount=document.get("held_amount"),
        failure=Failure(failure["code"], failure["detail"]) if failure else None,
        description=document.get("description"),
        metadata=document.get("metadata"),
        completed_at=document.get("completed_at"),
        reverses=document.get("reverses"),
        reversed_by=document.get("reversed_by"),
        expires_at=document.get("expires_at"),
    )


def _from_transaction(transaction: Transaction) -> Document:
    failure = transaction.failure
    optional: dict[str, Any] = {
        "held_amount": None if transaction.held_amount is None else Int64(transaction.held_amount),
        "failure": {"code": failure.code, "detail": failure.detail} if failure else None,
        "description": transaction.description,
        "metadata": transaction.metadata,
        "completed_at": transaction.completed_at,
        "reverses": transaction.reverses,
        "reversed_by": transaction.reversed_by,
        "expires_at": transaction.expires_at,
    }
    return {
        "_id": transaction.id,
        "user": transaction.user,
        "idempotency_key": transaction.idempotency_key,
        "fingerprint": transaction.fingerprint,
        "kind": transaction.kind.value,
        "from_account": transaction.from_account,
        "to_account": transaction.to_account,
        "accounts": [transaction.from_account, transaction.to_account],
        "amount": Int64(transaction.amount),
        "currency": transaction.currency,
        "status": transaction.status.value,
        "created_at": transaction.created_at,
        **{name: value for name, value in optional.items() if value is not None},
    }
