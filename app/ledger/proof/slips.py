"""Records of transactions as a proof compares them with their entries: flat, with ids and texts as bytes.

Most records are completed transfers, and those need no slips: see `completed`.
"""

from types import NoneType
from typing import Any, NamedTuple

from bson.datetime_ms import DatetimeMS

from app.ledger.canonical import json_hash
from app.ledger.documents import stored_bytes
from app.ledger.proof.rows import EARLIEST, LATEST
from app.ledger.records import TransactionKind, TransactionStatus
from app.mongo import Document

# A record with any other field is not made a slip.
_FIELDS = frozenset(
    {
        "_id", "user", "idempotency_key", "fingerprint", "salt", "kind", "from_account", "to_account", "accounts",
        "amount", "held_amount", "currency", "status", "created_at", "completed_at", "expires_at", "failure",
        "description", "metadata", "reverses", "reversed_by",
    }
)  # fmt: skip


class Slip(NamedTuple):
    """A record of a transaction. Times are milliseconds since 1970; `said` is what its hash is computed from."""

    id: bytes
    user: bytes
    idempotency_key: str
    kind: str
    status: str
    payer: bytes
    payee: bytes
    amount: int
    held_amount: int | None
    currency: str
    description: bytes | None
    created_at: int
    completed_at: int | None
    expires_at: int | None
    has_failure: bool
    said: list[Any]

    def record_hash(self) -> bytes:
        """Return the same as `Transaction.record_hash`, but faster."""
        return json_hash(self.said)


def slip_of(record: Document) -> Slip | None:
    """Return the slip of a document whose times are DatetimeMS, or None if the document is not in the bank's form."""
    if not record.keys() <= _FIELDS:
        return None
    try:
        payer, payee, text = record["from_account"], record["to_account"], record.get("description")
        metadata, failure, reverses = record.get("metadata"), record.get("failure"), record.get("reverses")
        if record["accounts"] != [payer, payee] or isinstance(metadata, dict):
            return None
        if not isinstance(record["fingerprint"], dict) or type(record["currency"]) is not str:
            return None
        if type(text) not in (str, NoneType) or type(record["idempotency_key"]) is not str:
            # BSON's JavaScript code is a `str` too, but none that equals the text in an entry.
            return None
        if failure is not None and not failure.keys() >= {"code", "detail"}:
            return None
        id_, user, expires = record["_id"].binary, record["user"].binary, _time(record, "expires_at")
        created, completed, held = _time(record, "created_at"), _time(record, "completed_at"), record.get("held_amount")
        if created is None:
            return None
        said = [
            "transaction", id_.hex(), user.hex(), record["idempotency_key"], record["fingerprint"], record["kind"],
            payer.binary.hex(), payee.binary.hex(), record["amount"] if held is None else held, record["currency"],
            text, None if metadata is None else dict(metadata), created,
            None if reverses is None else reverses.binary.hex(), expires,
        ]  # fmt: skip
        if "salt" in record:
            said.append(stored_bytes(record["salt"]).hex())
        return Slip(
            id_, user, record["idempotency_key"], TransactionKind(record["kind"]).value,
            TransactionStatus(record["status"]).value, payer.binary, payee.binary, record["amount"], held,
            record["currency"], None if text is None else text.encode(), created, completed, expires,
            failure is not None, said,
        )  # fmt: skip
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _time(record: Document, name: str) -> int | None:
    """Return the time in milliseconds, or None if there is none; raises ValueError for anything else."""
    if name not in record:
        return None
    time = record[name]
    if not isinstance(time, DatetimeMS) or not EARLIEST <= int(time) <= LATEST:
        raise ValueError(time)
    return int(time)
