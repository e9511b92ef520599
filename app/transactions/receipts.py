"""Receipts: signed copies of a transaction, which anybody can check without asking the bank.

A receipt is a JSON Web Signature (RFC 7515) with Ed25519 (RFC 8037). The bank uses the key for nothing
else, because receipts must stay valid when another secret changes.
"""

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

import jwt
import orjson
from bson import ObjectId
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app import clock
from app.mongo import Document
from app.statements.schemas import EntrySchema

ALGORITHM = "EdDSA"
ISSUER = "fincore"
MEDIA_TYPE = "receipt+jwt"

_ENTRIES = EntrySchema(many=True)


def load_key(seed: str) -> Ed25519PrivateKey:
    """Return the private key for a seed of 64 hexadecimal digits."""
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))


def sign(
    transaction_id: ObjectId, transaction: dict[str, Any], entries: Iterable[Document], key: Ed25519PrivateKey
) -> str:
    """Return a signed receipt with the transaction, as the API shows it, and these of its entries."""
    claims = {
        "iss": ISSUER,
        "sub": str(transaction_id),
        "iat": int(clock.now().timestamp()),
        "transaction": transaction,
        "entries": _ENTRIES.dump(entries),
    }
    return jwt.encode(claims, key, ALGORITHM, headers={"typ": MEDIA_TYPE, "kid": public_key(key)["kid"]})


def public_key(key: Ed25519PrivateKey) -> dict[str, str]:
    """Return the public key as a JWK. Its id is its thumbprint (RFC 7638)."""
    required = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(key.public_key().public_bytes_raw())}
    thumbprint = hashlib.sha256(orjson.dumps(required, option=orjson.OPT_SORT_KEYS)).digest()
    return {**required, "alg": ALGORITHM, "use": "sig", "kid": _base64url(thumbprint)}


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
