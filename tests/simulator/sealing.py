"""The hash of an entry by docs/ledger.md, written a second time, so that a fault of the ledger's own code shows."""

import hashlib
import json
import struct
from datetime import UTC, datetime
from typing import Any

from tests.simulator.queries import Document

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def sealed(entry: Document, about: Document) -> bytes:
    """Return the hash that an entry of version 2 must have. `about` is its transaction, or its account."""
    text = entry["description"]
    canonical = (
        b"\x02"
        + entry["account"].binary
        + entry["sequence"].to_bytes(8, "big")
        + entry["type"].encode().ljust(8, b"\0")
        + struct.pack(">qqq", entry["amount"], entry["balance"], entry["held"])
        + _id(entry["transaction"])
        + _id(entry["counterparty"])
        + struct.pack(">q", milliseconds(entry["created_at"]))
        + record_hash(entry["transaction"] is not None, about)
        + (b"\0" if text is None else b"\x01" + text.encode())
    )
    return hashlib.sha256(bytes(entry["previous_hash"]) + canonical).digest()


def record_hash(is_transaction: bool, about: Document) -> bytes:
    if not is_transaction:
        user = about.get("user")
        number = [about["number"]] if "number" in about else []
        return _digest(["account", None if user is None else str(user), about["kind"], about["currency"], *number])
    reverses, expires_at, metadata = about.get("reverses"), about.get("expires_at"), about.get("metadata")
    return _digest(
        [
            "transaction",
            str(about["_id"]),
            str(about["user"]),
            about["idempotency_key"],
            dict(about["fingerprint"]),
            about["kind"],
            str(about["from_account"]),
            str(about["to_account"]),
            int(about["held_amount"] if "held_amount" in about else about["amount"]),
            about["currency"],
            about.get("description"),
            None if metadata is None else dict(metadata),
            milliseconds(about["created_at"]),
            None if reverses is None else str(reverses),
            None if expires_at is None else milliseconds(expires_at),
            about["salt"].hex(),
        ]
    )


def milliseconds(moment: datetime) -> int:
    since = moment - _EPOCH
    return since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000


def _id(id_: Any) -> bytes:
    return bytes(12) if id_ is None else bytes(id_.binary)


def _digest(said: list[Any]) -> bytes:
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).digest()
