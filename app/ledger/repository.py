"""Reads and writes the ledger's documents: `ledger_entries`, `transactions`, and the status of `accounts`.

Every write takes the session of its atomic block.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from bson import Int64, ObjectId
from pymongo import UpdateOne
from pymongo.client_session import ClientSession

from app.ledger.documents import (
    MUTABLE,
    from_entry,
    from_key_use,
    from_transaction,
    to_account,
    to_entry,
    to_identity,
    to_record,
    to_transaction,
)
from app.ledger.records import Account, Entry, Identity, KeyUse, Transaction, TransactionStatus
from app.mongo import Document, database, together

# One group per account, answered from the index (account, sequence) by a DISTINCT_SCAN: it costs one seek for each
# account, however long its journal is.
_HEAD_STAGES: list[Document] = [
    {"$sort": {"account": 1, "sequence": -1}},
    {"$group": {"_id": "$account", "head": {"$first": "$$ROOT"}}},
]


def head_pipeline(accounts: Collection[ObjectId] | None) -> list[Document]:
    """Return the aggregation that finds the newest entry of each account; None stands for all accounts."""
    if accounts is None:
        return _HEAD_STAGES
    return [{"$match": {"account": {"$in": list(accounts)}}}, *_HEAD_STAGES]


HEADS = together.Kind("ledger_entries", head_pipeline)


def find_heads(accounts: Collection[ObjectId], session: ClientSession | None = None) -> dict[ObjectId, Entry]:
    """Return the newest entry of each account that has a journal.

    Outside a block, callers that ask at the same time share one query.
    """
    found = (
        together.find(HEADS, accounts).values()
        if session is None
        else database().ledger_entries.aggregate(head_pipeline(accounts), session=session)
    )
    return {group["_id"]: to_entry(group["head"]) for group in found}


def find_heads_and_time(
    accounts: Collection[ObjectId], session: ClientSession | None = None
) -> tuple[dict[ObjectId, Entry], datetime | None]:
    """Return the heads of the accounts, and the primary's time, which is None if no account has a journal."""
    # The time costs no query of its own. It is added after the group, so that the plan stays a DISTINCT_SCAN.
    stages = [*head_pipeline(accounts), {"$addFields": {"now": "$$NOW"}}]
    found = list(database().ledger_entries.aggregate(stages, session=session))
    return {group["_id"]: to_entry(group["head"]) for group in found}, found[0]["now"] if found else None


def find_entry_at(account: ObjectId, at: datetime) -> Entry | None:
    """Return the account's newest entry at or before `at`: one seek in the index (account, created_at, sequence)."""
    query = {"account": account, "created_at": {"$lte": at}}
    document = database().ledger_entries.find_one(query, sort=[("created_at", -1), ("sequence", -1)])
    return to_entry(document) if document else None


def _find_account_documents(accounts: Collection[ObjectId], session: ClientSession | None) -> list[Document]:
    return list(database().accounts.find({"_id": {"$in": list(accounts)}}, session=session))


def find_accounts(accounts: Collection[ObjectId], session: ClientSession | None = None) -> list[Account]:
    """Return the accounts that exist among `accounts`, each with the balance of its newest entry."""
    documents = _find_account_documents(accounts, session)
    heads = find_heads(accounts, session)
    sealed = find_identities(accounts, session)
    return [to_account(document, heads[document["_id"]], sealed.get(document["_id"])) for document in documents]


def find_identities(accounts: Collection[ObjectId], session: ClientSession | None = None) -> dict[ObjectId, Identity]:
    """Return the accounts' identities from the first entries of their journals, which the application cannot change.

    An account whose journal started with version 1 of the hash has none there.
    """
    first = {"account": {"$in": list(accounts)}, "sequence": 0}
    found = database().ledger_entries.find(first, {"_id": 0, "account": 1, "identity": 1}, session=session)
    return {entry["account"]: to_identity(entry["identity"]) for entry in found if entry.get("identity")}


def find_accounts_and_time(
    accounts: Collection[ObjectId], session: ClientSession | None = None
) -> tuple[list[Account], datetime | None]:
    """Return the accounts as `find_accounts` does, and the primary's time as `find_heads_and_time` does."""
    documents = _find_account_documents(accounts, session)
    heads, now = find_heads_and_time(accounts, session)
    sealed = find_identities(accounts, session)
    existing = [to_account(document, heads[document["_id"]], sealed.get(document["_id"])) for document in documents]
    return existing, now


def find_recorded(
    keys: Iterable[tuple[ObjectId, str]], ids: Collection[ObjectId], session: ClientSession
) -> list[Transaction | KeyUse]:
    """Return the records with these (user, idempotency key) pairs or these ids."""
    by_user: dict[ObjectId, list[str]] = defaultdict(list)
    for user, key in keys:
        by_user[user].append(key)
    branches: list[Document] = [
        {"user": user, "idempotency_key": {"$in": of_user}} for user, of_user in by_user.items()
    ]
    if ids:
        branches.append({"_id": {"$in": list(ids)}})
    if not branches:
        return []
    return [to_record(document) for document in database().transactions.find({"$or": branches}, session=session)]


def find_transactions(ids: Collection[ObjectId], session: ClientSession) -> list[Transaction]:
    query = {"_id": {"$in": list(ids)}}
    return [to_transaction(document) for document in database().transactions.find(query, session=session)]


def has_open_hold(account: ObjectId, at: datetime, *, besides: Collection[ObjectId], session: ClientSession) -> bool:
    """Tell whether the account is payer or payee of an open hold, neither overdue nor in `besides`: one seek."""
    query: Document = {
        "accounts": account,
        "status": TransactionStatus.PENDING.value,
        "expires_at": {"$gt": at},
        "_id": {"$nin": list(besides)},
    }
    return database().transactions.find_one(query, projection=["_id"], session=session) is not None


def find_expired_holds(
    at: datetime,
    *,
    limit: int,
    payers: Collection[ObjectId] | None = None,
    parties: Collection[ObjectId] | None = None,
    besides: Collection[ObjectId] = (),
    session: ClientSession | None = None,
) -> list[ObjectId]:
    """Return up to `limit` overdue holds, other than `besides`, the longest overdue first.

    `payers` and `parties`, if given, limit them to holds of these payers, or with one of these payers or payees.
    """
    query: Document = {"status": TransactionStatus.PENDING.value, "expires_at": {"$lte": at}}
    if payers is not None:
        query["from_account"] = {"$in": list(payers)}
    if parties is not None:
        query["accounts"] = {"$in": list(parties)}
    if besides:
        query["_id"] = {"$nin": list(besides)}
    found = database().transactions.find(query, projection=["_id"], session=session)
    return [document["_id"] for document in found.sort("expires_at", 1).limit(limit)]


def insert_records(records: Iterable[Transaction | KeyUse], session: ClientSession) -> None:
    documents = [from_transaction(r) if isinstance(r, Transaction) else from_key_use(r) for r in records]
    if documents:
        database().transactions.insert_many(documents, session=session)


def update_transactions(transactions: Iterable[Transaction], session: ClientSession) -> None:
    """Write the fields of the transactions that may change."""
    updates = []
    for transaction in transactions:
        document = from_transaction(transaction)
        changed = {name: document[name] for name in MUTABLE if name in document}
        updates.append(UpdateOne({"_id": transaction.id}, {"$set": changed}))
    if updates:
        database().transactions.bulk_write(updates, session=session)


def update_statuses(accounts: Iterable[Account], session: ClientSession) -> None:
    updates = [UpdateOne({"_id": account.id}, {"$set": {"status": account.status.value}}) for account in accounts]
    if updates:
        database().accounts.bulk_write(updates, session=session)


def count_incoming_holds(payees: Mapping[ObjectId, int], session: ClientSession) -> None:
    """Mark the payees of new holds, so that closing one of these accounts at the same time conflicts."""
    updates = [UpdateOne({"_id": payee}, {"$inc": {"incoming_holds": Int64(n)}}) for payee, n in payees.items()]
    if updates:
        database().accounts.bulk_write(updates, session=session)


def insert_entries(entries: Iterable[Entry], session: ClientSession) -> None:
    documents = [from_entry(entry) for entry in entries]
    if documents:
        database().ledger_entries.insert_many(documents, session=session)
