"""Reads and writes the ledger's documents: `ledger_entries`, `transactions`, `reversals`, the status of `accounts`.

Every write takes the session of its atomic block. New documents are returned as inserts, so that all those of a block
are sent together.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from bson import Int64, ObjectId
from pymongo import UpdateOne
from pymongo.client_session import ClientSession

from app.ledger.documents import (
    MUTABLE,
    from_entry,
    from_key_use,
    from_transaction,
    in_utc,
    to_account,
    to_entry,
    to_identity,
    to_record,
    to_transaction,
)
from app.ledger.records import Account, Entry, Identity, KeyUse, Transaction, TransactionStatus
from app.mongo import Document, Insert, database, together
from app.mongo.reads import aggregate, aggregate_in

# One group for each account. A DISTINCT_SCAN of the index (account, sequence) answers it with one seek for each
# account, however long its journal is.
_HEAD_STAGES: list[Document] = [
    {"$sort": {"account": 1, "sequence": -1}},
    {"$group": {"_id": "$account", "head": {"$first": "$$ROOT"}}},
]
# What a posting needs to know of an account, of its newest entry, and of its first.
_OF_ACCOUNT = {"user": 1, "kind": 1, "currency": 1, "status": 1, "number": 1}
_OF_HEAD = {f"head.{name}": 1 for name in ("sequence", "balance", "held", "hash", "created_at")}
_OF_FIRST = {"_id": 0, "account": 1, "identity": 1}

# Counting walks an index, and nobody needs the exact number beyond this.
COUNTED_MAX = 100_000
# The identities that this process has read. No entry ever changes, so they cannot become stale. When there are more
# than this, all are forgotten and read again.
IDENTITIES_KEPT_MAX = 20_000
_identities: dict[ObjectId, Identity] = {}


def head_pipeline(accounts: Collection[ObjectId] | None) -> list[Document]:
    """Return the aggregation that finds the newest entry of each account; None stands for all accounts."""
    if accounts is None:
        return _HEAD_STAGES
    return [{"$match": {"account": {"$in": list(accounts)}}}, *_HEAD_STAGES]


HEADS = together.Kind("ledger_entries", head_pipeline)


class Funds(NamedTuple):
    """What an account's newest entry says of its money, and the entry's sequence."""

    sequence: int
    balance: int
    held: int


def find_funds(accounts: Collection[ObjectId]) -> dict[ObjectId, Funds]:
    """Return the funds of each account that has a journal. Callers that ask at the same time share one query.

    No entry is made of what was found, because nothing is decided by it, and an entry takes longer than all else here.
    """
    funds = {}
    for account, group in together.find(HEADS, accounts).items():
        head = group["head"]
        funds[account] = Funds(head["sequence"], head["balance"], head["held"])
    return funds


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


def find_identities(accounts: Collection[ObjectId], session: ClientSession | None = None) -> dict[ObjectId, Identity]:
    """Return the accounts' identities from the first entries of their journals, which the application cannot change.

    An account whose journal started with version 1 of the hash has none there.
    """
    return _to_identities(database().ledger_entries.find(_firsts(accounts), _OF_FIRST, session=session))


def _firsts(accounts: Collection[ObjectId]) -> Document:
    return {"account": {"$in": list(accounts)}, "sequence": 0}


def _keep(identities: Mapping[ObjectId, Identity]) -> None:
    if len(_identities) > IDENTITIES_KEPT_MAX:
        _identities.clear()
    _identities.update(identities)


def _to_identities(firsts: Iterable[Document]) -> dict[ObjectId, Identity]:
    return {entry["account"]: to_identity(entry["identity"]) for entry in firsts if entry.get("identity")}


@dataclass(frozen=True, slots=True)
class Found:
    """The result of one read, and the primary's time when it was read."""

    records: list[Transaction | KeyUse]
    accounts: list[Account]
    at: datetime


def find(
    accounts: Collection[ObjectId],
    session: ClientSession | None = None,
    *,
    keys: Iterable[tuple[ObjectId, str]] = (),
    ids: Collection[ObjectId] = (),
) -> Found:
    """Return the accounts that exist, each with its newest entry's balance, and the records with these keys or ids.

    All of it is one aggregation, because a round trip costs more than what it reads.
    """
    sealed = {account: identity for account in accounts if (identity := _identities.get(account)) is not None}
    stages = find_pipeline(accounts, keys=keys, ids=ids, known=sealed.keys())
    (found,) = aggregate("schema", stages) if session is None else aggregate_in(session, "schema", stages)
    sealed |= _to_identities(found.get("firsts", ()))
    _keep(sealed)
    heads = {head["_id"]: head["head"] for head in found.get("heads", ())}
    records = [to_record(document) for document in found.get("records", ())]
    existing = [
        to_account(document, heads[document["_id"]], sealed.get(document["_id"]))
        for document in found.get("accounts", ())
    ]
    return Found(records, existing, in_utc(found["now"]))


def find_pipeline(
    accounts: Collection[ObjectId],
    *,
    keys: Iterable[tuple[ObjectId, str]],
    ids: Collection[ObjectId],
    known: Collection[ObjectId],
) -> list[Document]:
    """Return the aggregation over `schema` that `find` makes. It leaves out the identities of accounts in `known`."""
    lookups = []
    if alternatives := _recorded(keys, ids):
        lookups.append(_lookup("records", "transactions", [{"$match": {"$or": alternatives}}]))
    if accounts:
        wanted = list(accounts)
        lookups += [
            _lookup("accounts", "accounts", [{"$match": {"_id": {"$in": wanted}}}, {"$project": _OF_ACCOUNT}]),
            _lookup("heads", "ledger_entries", [*head_pipeline(wanted), {"$project": _OF_HEAD}]),
        ]
    if unknown := [account for account in accounts if account not in known]:
        lookups.append(_lookup("firsts", "ledger_entries", [{"$match": _firsts(unknown)}, {"$project": _OF_FIRST}]))
    # The collection holds the schema's version: one document, to which each look-up adds a list.
    return [{"$match": {"_id": "version"}}, *lookups, {"$addFields": {"now": "$$NOW"}}]


def _lookup(name: str, collection: str, pipeline: list[Document]) -> Document:
    return {"$lookup": {"from": collection, "pipeline": pipeline, "as": name}}


def _recorded(keys: Iterable[tuple[ObjectId, str]], ids: Collection[ObjectId]) -> list[Document]:
    """Return the conditions that find the records with these (user, idempotency key) pairs or these ids."""
    by_user: dict[ObjectId, list[str]] = defaultdict(list)
    for user, key in keys:
        by_user[user].append(key)
    branches: list[Document] = [
        {"user": user, "idempotency_key": {"$in": of_user}} for user, of_user in by_user.items()
    ]
    if ids:
        branches.append({"_id": {"$in": list(ids)}})
    return branches


def find_recorded(user: ObjectId, key: str, session: ClientSession) -> Transaction | KeyUse | None:
    """Return what the user's idempotency key was spent on, if it was."""
    document = database().transactions.find_one({"user": user, "idempotency_key": key}, session=session)
    return to_record(document) if document else None


def find_transactions(ids: Collection[ObjectId], session: ClientSession) -> list[Transaction]:
    query = {"_id": {"$in": list(ids)}}
    return [to_transaction(document) for document in database().transactions.find(query, session=session)]


def has_open_hold(account: ObjectId, at: datetime, *, besides: Collection[ObjectId], session: ClientSession) -> bool:
    """Tell whether the account has an open hold, as payer or payee, that is neither overdue nor in `besides`."""
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
    """Return up to `limit` overdue holds that are not in `besides`, the longest overdue first.

    `payers` limits them to holds of these payers, `parties` to holds with one of these payers or payees.
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


def count_holds(at: datetime) -> dict[str, int]:
    """Return how many pending holds are open and how many are overdue; COUNTED_MAX stands for that many or more."""
    pending = {"status": TransactionStatus.PENDING.value}
    count = database().transactions.count_documents
    return {
        "open": count({**pending, "expires_at": {"$gt": at}}, limit=COUNTED_MAX),
        "overdue": count({**pending, "expires_at": {"$lte": at}}, limit=COUNTED_MAX),
    }


def new_records(records: Iterable[Transaction | KeyUse]) -> Insert:
    return Insert("transactions", map(_from_record, records))


def _from_record(record: Transaction | KeyUse) -> Document:
    return from_transaction(record) if isinstance(record, Transaction) else from_key_use(record)


def new_reversals(transactions: Iterable[Transaction]) -> Insert:
    """Return which of these are completed reversals, and of what.

    Its insert fails if one of the originals is reversed already.
    """
    completed = (each for each in transactions if each.status is TransactionStatus.COMPLETED)
    return Insert("reversals", ({"_id": each.reverses, "by": each.id} for each in completed if each.reverses))


def new_entries(entries: Iterable[Entry]) -> Insert:
    return Insert("ledger_entries", map(from_entry, entries))


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
