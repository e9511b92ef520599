"""The ledger's documents: `ledger_entries`, `transactions`, and the status of `accounts`.

The documents have the fields of `Entry`, `Transaction` or `KeyUse` by the same names, with
amounts and sequences as Int64 and hashes as binary. A field that is None is left out of a
record and null in an entry. A transaction also has `accounts`: [payer, payee].

Every write takes the session of its atomic block.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from bson import Binary, DBRef, Int64, ObjectId
from pymongo import UpdateOne
from pymongo.client_session import ClientSession

from app.ledger.records import (
    Account,
    AccountKind,
    AccountStatus,
    Entry,
    EntryType,
    Failure,
    Identity,
    KeyUse,
    KeyUseKind,
    Transaction,
    TransactionKind,
    TransactionStatus,
)
from app.mongo import Document, database
from app.mongo.shared import SharedRead

# The fields of a transaction that may change. All others stay as they were recorded, and so does a salt.
_MUTABLE = ("status", "amount", "failure", "completed_at", "reversed_by", "salt")

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


def find_heads(accounts: Collection[ObjectId], session: ClientSession | None = None) -> dict[ObjectId, Entry]:
    """Return the newest entry of each account that has a journal.

    Outside a block, callers that ask at the same time share one query.
    """
    return _heads.read(accounts) if session is None else _find_heads(accounts, session)


def _find_heads(accounts: Collection[ObjectId], session: ClientSession | None = None) -> dict[ObjectId, Entry]:
    found = database().ledger_entries.aggregate(head_pipeline(accounts), session=session)
    return {group["_id"]: to_entry(group["head"]) for group in found}


_heads: SharedRead[ObjectId, Entry] = SharedRead(_find_heads)


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
    return [_to_account(document, heads[document["_id"]], sealed.get(document["_id"])) for document in documents]


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
    existing = [_to_account(document, heads[document["_id"]], sealed.get(document["_id"])) for document in documents]
    return existing, now


def find_recorded(
    keys: Iterable[tuple[ObjectId, str]], ids: Collection[ObjectId], session: ClientSession
) -> list[Transaction | KeyUse]:
    """Return the records with these (user, idempotency key) pairs or these ids."""
    by_user: dict[ObjectId, list[str]] = defaultdict(list)
    for user, key in keys:
        by_user[user].append(key)
    branches: list[Document] = [{"user": user, "idempotency_key": {"$in": its}} for user, its in by_user.items()]
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
    documents = [_from_transaction(r) if isinstance(r, Transaction) else _from_key_use(r) for r in records]
    if documents:
        database().transactions.insert_many(documents, session=session)


def update_transactions(transactions: Iterable[Transaction], session: ClientSession) -> None:
    """Write the fields of the transactions that may change."""
    updates = []
    for transaction in transactions:
        document = _from_transaction(transaction)
        changed = {name: document[name] for name in _MUTABLE if name in document}
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
        version=document.get("version", 1),
        record_hash=bytes(document["record_hash"]) if "record_hash" in document else None,
        identity=to_identity(document["identity"]) if "identity" in document else None,
    )


def to_identity(document: Document) -> Identity:
    return Identity(document["user"], AccountKind(document["kind"]), document["currency"])


def identity_of(account: Document) -> Identity:
    """Return the identity that an account's own document gives."""
    return Identity(account.get("user"), AccountKind(account["kind"]), account["currency"])


def _from_entry(entry: Entry) -> Document:
    since_version_2: Document = {}
    if entry.record_hash is not None:
        since_version_2 = {"version": entry.version, "record_hash": Binary(entry.record_hash)}
    if entry.identity is not None:
        user, kind, currency = entry.identity.user, entry.identity.kind.value, entry.identity.currency
        since_version_2["identity"] = {"user": user, "kind": kind, "currency": currency}
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
        **since_version_2,
    }


def _to_account(document: Document, head: Entry, sealed: Identity | None) -> Account:
    # The application's role can change an account's document but no entry, so the journal's identity is trusted first.
    identity = sealed or identity_of(document)
    return Account(
        id=document["_id"],
        kind=identity.kind,
        user=identity.user,
        currency=identity.currency,
        status=AccountStatus(document["status"]),
        sequence=head.sequence,
        balance=head.balance,
        held=head.held,
        hash=head.hash,
        at=head.created_at,
    )


def to_record(document: Document) -> Transaction | KeyUse:
    if document["kind"] not in set(KeyUseKind):
        return to_transaction(document)
    return KeyUse(
        id=document["_id"],
        user=document["user"],
        idempotency_key=document["idempotency_key"],
        fingerprint=document["fingerprint"],
        kind=KeyUseKind(document["kind"]),
        created_at=document["created_at"],
        transaction=document.get("transaction"),
        failure=_to_failure(document.get("failure")),
        results=tuple(
            result if isinstance(result, ObjectId) else _to_some_failure(result)
            for result in document.get("results", ())
        ),
        account=document.get("account"),
    )


def to_transaction(document: Document) -> Transaction:
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
        salt=bytes(document["salt"]) if "salt" in document else None,
        held_amount=document.get("held_amount"),
        failure=_to_failure(document.get("failure")),
        description=document.get("description"),
        metadata=_to_metadata(document.get("metadata")),
        completed_at=document.get("completed_at"),
        reverses=document.get("reverses"),
        reversed_by=document.get("reversed_by"),
        expires_at=document.get("expires_at"),
    )


def _from_metadata(metadata: Mapping[str, str] | None) -> list[list[str]] | None:
    # Pairs of strings, because a client's name might mean something to the server or the driver as a field's name.
    return None if metadata is None else [[name, value] for name, value in metadata.items()]


def _to_metadata(stored: list[tuple[str, str]] | Document | DBRef | None) -> Mapping[str, str] | None:
    if isinstance(stored, list):
        return dict(stored)
    # Version 1 of the schema stored an object, which the driver may take for a reference.
    if isinstance(stored, DBRef):
        return {name: value for name, value in stored.as_doc().items() if value is not None}
    return stored


def _to_failure(document: Document | None) -> Failure | None:
    return _to_some_failure(document) if document else None


def _to_some_failure(document: Document) -> Failure:
    return Failure(document["code"], document["detail"], document.get("index"))


def _from_failure(failure: Failure | None) -> Document | None:
    if failure is None:
        return None
    index = {} if failure.index is None else {"index": failure.index}
    return {"code": failure.code, "detail": failure.detail, **index}


def _from_key_use(key_use: KeyUse) -> Document:
    results = [_from_failure(result) if isinstance(result, Failure) else result for result in key_use.results]
    optional = {
        "transaction": key_use.transaction,
        "failure": _from_failure(key_use.failure),
        "results": results or None,
        "account": key_use.account,
    }
    return {
        "_id": key_use.id,
        "user": key_use.user,
        "idempotency_key": key_use.idempotency_key,
        "fingerprint": key_use.fingerprint,
        "kind": key_use.kind.value,
        "created_at": key_use.created_at,
        **{name: value for name, value in optional.items() if value is not None},
    }


def _from_transaction(transaction: Transaction) -> Document:
    optional: dict[str, Any] = {
        "salt": None if transaction.salt is None else Binary(transaction.salt),
        "held_amount": None if transaction.held_amount is None else Int64(transaction.held_amount),
        "failure": _from_failure(transaction.failure),
        "description": transaction.description,
        "metadata": _from_metadata(transaction.metadata),
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
