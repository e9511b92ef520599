"""How the ledger's records are kept as documents.

The documents have the fields of `Entry`, `Transaction` or `KeyUse` by the same names, with
amounts and sequences as Int64. A field that is None is left out of a
record and null in an entry. A transaction also has `accounts`: [payer, payee].
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from bson import DBRef, Int64, ObjectId

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
from app.mongo import Document

# The fields of a transaction that may change. All others stay as they were recorded, and so does a salt.
MUTABLE = ("status", "amount", "failure", "completed_at", "reversed_by", "salt")


def stored_bytes(value: Any) -> bytes:
    """Return a stored value that must be bytes; raises TypeError. `bytes` would make NULs of a forged number."""
    if not isinstance(value, bytes):
        raise TypeError(f"{type(value).__name__} is not bytes")
    return bytes(value)


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
        previous_hash=stored_bytes(document["previous_hash"]),
        hash=stored_bytes(document["hash"]),
        version=document.get("version", 1),
        record_hash=stored_bytes(document["record_hash"]) if "record_hash" in document else None,
        identity=to_identity(document["identity"]) if "identity" in document else None,
    )


def to_identity(document: Document) -> Identity:
    return Identity(document["user"], AccountKind(document["kind"]), document["currency"], document.get("number"))


def identity_of(account: Document) -> Identity:
    """Return the identity in an account's own document."""
    return Identity(account.get("user"), AccountKind(account["kind"]), account["currency"], account.get("number"))


def trusted_identity(account: Document, sealed: Identity | None) -> Identity:
    """Return an account's identity from its document and its first entry."""
    # The application's role can change an account's document, but no entry. So the journal's identity comes first.
    if sealed is None:
        return identity_of(account)
    # An account that is older than account numbers got its number later, in its document only.
    return sealed if sealed.number is not None else replace(sealed, number=account.get("number"))


def from_entry(entry: Entry) -> Document:
    since_version_2: Document = {}
    if entry.record_hash is not None:
        since_version_2 = {"version": entry.version, "record_hash": entry.record_hash}
    if entry.identity is not None:
        user, kind, currency = entry.identity.user, entry.identity.kind.value, entry.identity.currency
        number = {} if entry.identity.number is None else {"number": entry.identity.number}
        since_version_2["identity"] = {"user": user, "kind": kind, "currency": currency, **number}
    return {
        "account": entry.account,
        "sequence": Int64(entry.sequence),
        "type": entry.type,
        "amount": Int64(entry.amount),
        "balance": Int64(entry.balance),
        "held": Int64(entry.held),
        "transaction": entry.transaction,
        "counterparty": entry.counterparty,
        "description": entry.description,
        "created_at": entry.created_at,
        "previous_hash": entry.previous_hash,
        "hash": entry.hash,
        **since_version_2,
    }


def in_utc(stored: datetime) -> datetime:
    """Return a time from the database in Python's own UTC. Times in the driver's UTC are slow to compare."""
    return stored.replace(tzinfo=UTC)


def to_account(document: Document, head: Document, sealed: Identity | None) -> Account:
    """Return an account from its own document, that of its newest entry, and the identity in its first."""
    identity = trusted_identity(document, sealed)
    return Account(
        id=document["_id"],
        kind=identity.kind,
        user=identity.user,
        currency=identity.currency,
        status=AccountStatus(document["status"]),
        sequence=head["sequence"],
        balance=head["balance"],
        held=head["held"],
        hash=head["hash"],
        at=in_utc(head["created_at"]),
        number=identity.number,
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
        salt=stored_bytes(document["salt"]) if "salt" in document else None,
        held_amount=document.get("held_amount"),
        failure=_to_failure(document.get("failure")),
        description=document.get("description"),
        metadata=_to_metadata(document.get("metadata")),
        completed_at=document.get("completed_at"),
        reverses=document.get("reverses"),
        reversed_by=document.get("reversed_by"),
        expires_at=document.get("expires_at"),
    )


def members_of(document: Document) -> Document:
    """Return a transaction's members by name, for display only. This takes a tenth of the time of `to_transaction`.

    Kind and status are plain text here, ids may be, and a failure is as it is stored. A member that is None may be
    left out. They are the document itself, changed, because copies would take a tenth of the time of a page.
    """
    document["id"] = document["_id"]
    if "metadata" in document:
        document["metadata"] = _to_metadata(document["metadata"])
    return document


def _from_metadata(metadata: Mapping[str, str] | None) -> list[list[str]] | None:
    # Pairs of strings, because a name from a client might have a meaning to the server or the driver as a field name.
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


def from_key_use(key_use: KeyUse) -> Document:
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
        "kind": key_use.kind,
        "created_at": key_use.created_at,
        **{name: value for name, value in optional.items() if value is not None},
    }


def from_transaction(transaction: Transaction) -> Document:
    optional: dict[str, Any] = {
        "salt": transaction.salt,
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
        "kind": transaction.kind,
        "from_account": transaction.from_account,
        "to_account": transaction.to_account,
        "accounts": [transaction.from_account, transaction.to_account],
        "amount": Int64(transaction.amount),
        "currency": transaction.currency,
        "status": transaction.status,
        "created_at": transaction.created_at,
        **{name: value for name, value in optional.items() if value is not None},
    }
