"""Anchors: signed summaries of the ledger at one moment. They are kept where no user of the database can write.

Somebody who can change everything in the database can make a false ledger that is consistent,
for example by cutting a transfer off both journals or by removing a decline. An anchor reveals
that. Its first line is a JSON Web Signature over the counts of records and over a hash of the
lines that follow. Each of these has an account's id, and the sequence and hash of its head.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any

import jwt
from bson import ObjectId
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pymongo.client_session import ClientSession

from app import clock
from app.ledger.proof.faults import Fault, FaultKind
from app.ledger.proof.reading import collection
from app.ledger.proof.signatures import ALGORITHM, begin_use
from app.ledger.repository import head_pipeline
from app.mongo import Document, database, moment

MEDIA_TYPE = "anchor+jwt"
_HEADS_AT_ONCE = 500
_COUNTED = ("transactions", "audit_log")
# All of these are written once. The last three say what a key was spent on.
_IDENTIFYING = {
    "user": 1, "idempotency_key": 1, "kind": 1, "actor": 1, "action": 1, "subject": 1,
    "account": 1, "results": 1, "transaction": 1,
}  # fmt: skip
_TIME_OF = {"transactions": "created_at", "audit_log": "at"}


class NotAnAnchor(Exception):
    """The file is not what this bank signed."""


def draw(key: Ed25519PrivateKey) -> Iterator[str]:
    """Yield the lines of an anchor of this moment."""
    with moment() as session:
        until = clock.now() - clock.SETTLING
        counts = {name: _count(name, until, session) for name in _COUNTED}
        found = database().ledger_entries.aggregate(head_pipeline(None), session=session, allowDiskUse=True)
        heads = sorted(f"{head['_id']} {head['head']['sequence']} {_hex(head['head']['hash'])}" for head in found)
    claims = {"until": clock.milliseconds(until), "counts": counts, "heads": _digest(heads)}
    yield jwt.encode(claims, key, ALGORITHM, headers={"typ": MEDIA_TYPE, "kid": begin_use(key)})
    yield from heads


def compare(lines: Iterable[str], key_of: Callable[[str], Ed25519PublicKey | None]) -> Iterator[Fault]:
    """Yield a fault for each thing that has changed since the anchor was written; raises NotAnAnchor.

    `key_of` returns the bank's key with this id, or None if the bank has none.
    """
    signed, *heads = [line.strip() for line in lines if line.strip()] or [""]
    claims = _verified(signed, key_of)
    if claims.get("heads") != _digest(heads):
        raise NotAnAnchor("Its lines are not those that were signed.")
    until = clock.from_milliseconds(claims["until"])
    for name, expected in claims["counts"].items():
        found = _count(name, until, None)
        if found != expected:
            yield Fault(kind=FaultKind.ANCHOR, expected=f"{name}: {_shown(expected)}", found=_shown(found))
    waiting = iter(heads)
    while batch := list(islice(waiting, _HEADS_AT_ONCE)):
        yield from _compare_heads(batch)


def _compare_heads(heads: list[str]) -> Iterator[Fault]:
    anchored = {(ObjectId(account), int(sequence)): hash_ for account, sequence, hash_ in map(str.split, heads)}
    query = {"$or": [{"account": account, "sequence": sequence} for account, sequence in anchored]}
    fields = {"account": 1, "sequence": 1, "hash": 1}
    found = {
        (entry["account"], entry["sequence"]): _hex(entry.get("hash"))
        for entry in collection("ledger_entries").find(query, fields)
        # Of two fields by one name, MongoDB looks for the first, and the driver returns the last.
        if isinstance(entry["account"], ObjectId) and isinstance(entry["sequence"], int)
    }
    for (account, sequence), expected in anchored.items():
        if found.get((account, sequence)) != expected:
            yield Fault(
                kind=FaultKind.ANCHOR,
                account=account,
                sequence=sequence,
                expected=expected,
                found=found.get((account, sequence)),
            )


def _count(name: str, until: datetime, session: ClientSession | None) -> Document:
    """Return how many records there are up to a time, and a hash over the fields that identify them."""
    found = collection(name).find({_TIME_OF[name]: {"$lte": until}}, _IDENTIFYING, session=session).sort("_id", 1)
    number, digest = 0, hashlib.sha256()
    for record in found:
        number += 1
        digest.update("\x1f".join(f"{field}={record[field]}" for field in sorted(record)).encode() + b"\x1e")
    return {"count": number, "hash": digest.hexdigest()}


def _verified(signed: str, key_of: Callable[[str], Ed25519PublicKey | None]) -> dict[str, Any]:
    try:
        header = jwt.get_unverified_header(signed)
        if header.get("typ") != MEDIA_TYPE:
            raise NotAnAnchor("It is not an anchor.")
        key = key_of(str(header.get("kid")))
        if key is None:
            raise NotAnAnchor("The key that signed it is none of this bank's.")
        claims: dict[str, Any] = jwt.decode(signed, key, algorithms=[ALGORITHM])
    except jwt.InvalidTokenError as error:
        raise NotAnAnchor(f"It was not signed with this bank's key: {error}") from None
    return claims


def _hex(hash_: Any) -> str:
    # A forger may have written anything in its place.
    return hash_.hex() if isinstance(hash_, bytes) else f"({type(hash_).__name__})"


def _digest(heads: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(heads).encode()).hexdigest()


def _shown(count: Document) -> str:
    return f"{count['count']} ({count['hash'][:16]})"
