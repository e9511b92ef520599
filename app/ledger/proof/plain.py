"""Recognises a transaction that is plainly right: quickly, and never one that is not.

Most transactions are completed transfers. `legs.transaction_faults` decides about all that this does not recognise.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence

import orjson

from app.ledger.proof.rows import EARLIEST, LATEST, Row
from app.ledger.records import EntryType, Identity, TransactionKind, TransactionStatus, treasury_id
from app.mongo import Document

# A record with any other field is not plain.
_FIELDS = frozenset(
    {
        "_id", "user", "idempotency_key", "fingerprint", "salt", "kind", "from_account", "to_account", "accounts",
        "amount", "currency", "status", "created_at", "completed_at", "description", "metadata",
    }
)  # fmt: skip
_DEBIT, _CREDIT = EntryType.DEBIT.encode(), EntryType.CREDIT.encode()
_FUNDING, _TRANSFER = TransactionKind.FUNDING.value, TransactionKind.TRANSFER.value
_COMPLETED = TransactionStatus.COMPLETED.value


def is_plainly_right(
    record: Document, entries: Sequence[Row | Document], identities: Mapping[bytes, Identity | None]
) -> bool:
    """Tell whether a transfer or a funding is as its two entries sealed it, and was its payer's to make.

    The record's times are DatetimeMS. `identities` are those of its two accounts, by
    the bytes of their ids.
    """
    kind, status = record.get("kind"), record.get("status")
    if len(entries) != 2 or status != _COMPLETED or kind not in (_TRANSFER, _FUNDING) or not record.keys() <= _FIELDS:
        return False
    try:
        payer, payee, currency, text = record["from_account"], record["to_account"], record["currency"], None
        created, completed = int(record["created_at"]), int(record["completed_at"])
        if "description" in record:
            text = record["description"].encode()
        ids = record["_id"].binary, payer.binary, payee.binary
        of_payer, of_payee = identities[ids[1]], identities[ids[2]]
        sealed = _record_hash(record, ids, created)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    if of_payer is None or of_payee is None:
        return False
    is_payers = payer == treasury_id(currency) if kind == _FUNDING else of_payer.user == record["user"]
    return (
        is_payers
        and of_payer.currency == currency == of_payee.currency
        and record["accounts"] == [payer, payee]
        and EARLIEST <= created <= LATEST
        and _agree(entries, ids, (record["amount"], text, completed, sealed))
    )


def _agree(
    entries: Sequence[Row | Document], ids: tuple[bytes, bytes, bytes], said: tuple[int, bytes | None, int, bytes]
) -> bool:
    """Tell whether one of the two entries debits the payer and the other credits the payee, as the record says."""
    transaction, payer, payee = ids
    first, second = entries
    if not isinstance(first, Row) or not isinstance(second, Row):
        return False
    debit, credit = (first, second) if first.type == _DEBIT else (second, first)
    return (
        (debit.type, debit.account, debit.counterparty, debit.transaction) == (_DEBIT, payer, payee, transaction)
        and (credit.type, credit.account, credit.counterparty, credit.transaction)
        == (_CREDIT, payee, payer, transaction)
        and (debit.amount, debit.description, debit.at, debit.record_hash) == said
        and (credit.amount, credit.description, credit.at, credit.record_hash) == said
    )


def _record_hash(record: Document, ids: tuple[bytes, bytes, bytes], created: int) -> bytes:
    """Return `Transaction.record_hash` of a plain record; raises KeyError, TypeError or ValueError."""
    salt = [bytes(record["salt"]).hex()] if "salt" in record else []
    id_, payer, payee = ids
    said = [
        "transaction", id_.hex(), record["user"].binary.hex(), record["idempotency_key"], record["fingerprint"],
        record["kind"], payer.hex(), payee.hex(), record["amount"], record["currency"],
        record.get("description"), dict(record["metadata"]) if "metadata" in record else None, created, None, None,
        *salt,
    ]  # fmt: skip
    text = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
    if not text.isascii():
        # The other library writes these characters as escapes, as the hash has them.
        text = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(text).digest()
