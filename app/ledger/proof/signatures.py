"""The bank's signature under receipts and anchors: Ed25519, and the public halves of all keys that ever signed.

The halves are in `receipt_keys`: {_id: the key's id, x: its public half in base64url, first_used_at}. The application
can add keys but neither change nor remove them. So what a replaced key signed can still be checked.
"""

import base64
import contextlib
import hashlib

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pymongo.errors import DuplicateKeyError

from app import clock
from app.mongo import database

ALGORITHM = "EdDSA"


def load_key(seed: str) -> Ed25519PrivateKey:
    """Return the private key for a seed of 64 hexadecimal digits."""
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))


def key_id(key: Ed25519PublicKey) -> str:
    """Return the key's id, which is its thumbprint (RFC 7638)."""
    required = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(key.public_bytes_raw())}
    return _base64url(hashlib.sha256(orjson.dumps(required, option=orjson.OPT_SORT_KEYS)).digest())


def begin_use(key: Ed25519PrivateKey) -> str:
    """Record the key's public half and return its id. Call it before each signature, so that no key is lost."""
    public = key.public_key()
    id_ = key_id(public)
    if database().receipt_keys.find_one({"_id": id_}, projection=["_id"]) is None:
        row = {"_id": id_, "x": _base64url(public.public_bytes_raw()), "first_used_at": clock.now()}
        # Another process may have recorded it first.
        with contextlib.suppress(DuplicateKeyError):
            database().receipt_keys.insert_one(row)
    return id_


def public_keys(current: Ed25519PrivateKey | None) -> list[dict[str, str]]:
    """Return the public halves as JWKs: the key that signs now first, then all that did, the newest first."""
    found = {row["_id"]: row["x"] for row in database().receipt_keys.find().sort([("first_used_at", -1), ("_id", 1)])}
    if current is not None:
        public = current.public_key()
        found = {key_id(public): _base64url(public.public_bytes_raw())} | found
    return [
        {"crv": "Ed25519", "kty": "OKP", "x": x, "alg": ALGORITHM, "use": "sig", "kid": kid} for kid, x in found.items()
    ]


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
