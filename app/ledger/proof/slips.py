"""Records of transactions as a proof compares them with their entries: flat, with ids and texts as bytes.

Most records are completed transfers. These are read straight out of BSON, all others from their documents.
"""

from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import bson
import orjson
from bson.datetime_ms import DatetimeMS
from bson.errors import InvalidBSON

from app.ledger.canonical import json_hash
from app.ledger.documents import stored_bytes
from app.ledger.proof import shapes
from app.ledger.proof.rows import EARLIEST, LATEST
from app.ledger.proof.shapes import LENGTH, Family, Shape
from app.ledger.records import TransactionKind, TransactionStatus
from app.mongo import Document

_SALT_BYTES = 16
_CURRENCY_BYTES = 3
# The fingerprints of one call always have the same names. The bank does not write more shapes than this.
_FINGERPRINTS_MAX = 1_000
_COMPLETED = TransactionStatus.COMPLETED.value
# Records of these kinds are read out of BSON. The length of the word tells which kind it is.
_KINDS = {bytes([len(kind) + 1]): kind for kind in (TransactionKind.TRANSFER, TransactionKind.FUNDING)}
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


def _two_ids(name: str) -> list[bytes | str]:
    content = [*shapes.object_id("0"), *shapes.object_id("1"), b"\0"]
    return [b"\x04" + name.encode() + b"\0" + LENGTH.pack(LENGTH.size + shapes.shape(content).size), *content]


def _tail(kind: TransactionKind, has_salt: bool, text_bytes: int | None) -> Shape:
    """Return the shape of what follows the fingerprint in a completed transfer or funding without metadata."""
    return shapes.shape(
        [
            *shapes.constant("kind", kind), *shapes.object_id("from_account"), *shapes.object_id("to_account"),
            *_two_ids("accounts"), *shapes.int64("amount"), *shapes.text("currency", _CURRENCY_BYTES),
            *shapes.constant("status", _COMPLETED), *shapes.time("created_at"),
            *(shapes.binary("salt", _SALT_BYTES) if has_salt else []),
            *([] if text_bytes is None else shapes.text("description", text_bytes)),
            *shapes.time("completed_at"), b"\0",
        ]
    )  # fmt: skip


def _tails(has_salt: bool) -> Family:
    return Family({length: partial(_tail, kind, has_salt) for length, kind in _KINDS.items()})


_HEAD = shapes.shape(["i", *shapes.object_id("_id"), *shapes.object_id("user"), b"\x02idempotency_key\0", "i"])
_FINGERPRINT = b"\0\x03fingerprint\0"
_KIND_LENGTH_AT = len(b"\x02kind\0")
# Version 1 wrote no salts.
_SALTED, _UNSALTED = _tails(has_salt=True), _tails(has_salt=False)


def read_slip(raw: bytes) -> Slip | None:
    """Return a completed transfer or funding without metadata out of BSON, or None for any other record."""
    head = _HEAD.read(raw[: _HEAD.size])
    if head is None:
        return None
    _, id_, user, key_size = head
    key_end = _HEAD.size + key_size - 1
    digests_at = key_end + len(_FINGERPRINT)
    if raw[key_end:digests_at] != _FINGERPRINT:
        return None
    digests_end = digests_at + LENGTH.unpack_from(raw, digests_at)[0]
    tail = raw[digests_end:]
    found = _read_tail(tail)
    if found is None:
        return None
    payer, payee, first, second, amount, currency, created, salt, text, completed = found
    if first != payer or second != payee or not EARLIEST <= created <= LATEST >= completed >= EARLIEST:
        return None
    try:
        key, currency = raw[_HEAD.size : key_end].decode(), currency.decode()
        description = None if text is None else text.decode()
        fingerprint = _FINGERPRINTS.as_json(raw[digests_at:digests_end])
    except (TypeError, UnicodeDecodeError, InvalidBSON):
        # A forger may have written anything.
        return None
    kind = _KINDS[tail[_KIND_LENGTH_AT : _KIND_LENGTH_AT + 1]].value
    said = [
        "transaction", id_.hex(), user.hex(), key, fingerprint, kind, payer.hex(), payee.hex(), amount, currency,
        description, None, created, None, None,
    ]  # fmt: skip
    if salt is not None:
        said.append(salt.hex())
    return Slip(
        id_, user, key, kind, _COMPLETED, payer, payee, amount, None, currency, text, created, completed, None, False,
        said,
    )  # fmt: skip


def _read_tail(tail: bytes) -> tuple[Any, ...] | None:
    """Return payer, payee, `accounts`, amount, currency, time, salt, description, time of completion."""
    which = len(tail), tail[_KIND_LENGTH_AT : _KIND_LENGTH_AT + 1]
    shape = _SALTED[which]
    values = None if shape is None else shape.read(tail)
    if values is None:
        shape = _UNSALTED[which]
        values = None if shape is None else shape.read(tail)
        if values is None:
            return None
        values = (*values[:7], None, *values[7:])
    return values if len(values) == 10 else (*values[:8], None, *values[8:])


class _Fingerprints:
    """Writes fingerprints as JSON with sorted names. Those of one call have equal names, and all values are digests."""

    def __init__(self) -> None:
        self._known: dict[int, list[tuple[Shape, Callable[[Any], Any], bytes]]] = {}
        self._count = 0

    def as_json(self, raw: bytes) -> orjson.Fragment:
        for shape, in_order, layout in self._known.get(len(raw), ()):
            digests = shape.read(raw)
            # Digests need no escapes.
            if digests is not None and b"".join(digests).isalnum():
                return orjson.Fragment(layout % in_order(digests))
        fingerprint = bson.decode(raw)
        self._learn(fingerprint)
        return orjson.Fragment(orjson.dumps(fingerprint, option=orjson.OPT_SORT_KEYS))

    def _learn(self, fingerprint: Document) -> None:
        names, digests = list(fingerprint), list(fingerprint.values())
        if not names or self._count == _FINGERPRINTS_MAX:
            return
        if not all(name.isalnum() and isinstance(digest, str) for name, digest in fingerprint.items()):
            return
        self._count += 1
        parts = [
            part
            for name, digest in zip(names, digests, strict=True)
            for part in shapes.text(name, len(digest.encode()))
        ]
        shape = shapes.document(parts)
        layout = ",".join(f'"{name}":"%b"' for name in sorted(names))
        in_order = itemgetter(*(names.index(name) for name in sorted(names)))
        self._known.setdefault(shape.size, []).append((shape, in_order, b"{" + layout.encode() + b"}"))


_FINGERPRINTS = _Fingerprints()


def slip_of(record: Document) -> Slip | None:
    """Return the slip of a document whose times are DatetimeMS, or None if the document is not in the bank's form."""
    if not record.keys() <= _FIELDS:
        return None
    try:
        payer, payee, text = record["from_account"], record["to_account"], record.get("description")
        metadata, failure, reverses = record.get("metadata"), record.get("failure"), record.get("reverses")
        if record["accounts"] != [payer, payee] or isinstance(metadata, dict):
            return None
        if not isinstance(record["fingerprint"], dict):
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
