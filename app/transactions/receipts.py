"""Receipts: signed copies of a transaction, which anybody can check without asking the bank.

A receipt is a JSON Web Signature (RFC 7515) with Ed25519 (RFC 8037). The bank uses the key for nothing
else, because receipts must stay valid when another secret changes.
"""

from collections.abc import Iterable
from typing import Any

import jwt
from bson import ObjectId
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from app import clock
from app.ledger.proof.signatures import ALGORITHM, begin_use
from app.mongo import Document
from app.statements.schemas import EntrySchema

ISSUER = "fincore"
MEDIA_TYPE = "receipt+jwt"

_ENTRIES = EntrySchema(many=True)


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
    return jwt.encode(claims, key, ALGORITHM, headers={"typ": MEDIA_TYPE, "kid": begin_use(key)})
