"""Secrets of webhooks, and signatures by Standard Webhooks 1.0.0.

Signing needs the secret itself, so it is not hashed but encrypted, under a key that is derived from the bank's secret.
So nobody can sign who has only the database.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable, Sequence

from bson import ObjectId
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX = "whsec_"
SECRET_BYTES = 32
_NONCE_BYTES = 12
_PURPOSE = b"fincore: secrets of webhooks"


class SecretLost(Exception):
    """A secret cannot be decrypted, because the bank's secret has changed twice since it was written."""


def new_secret() -> bytes:
    return os.urandom(SECRET_BYTES)


def shown(secret: bytes) -> str:
    """Return a secret as its owner sees it."""
    return PREFIX + base64.b64encode(secret).decode()


def seal(secret: bytes, webhook: ObjectId, bank_secrets: Sequence[str]) -> bytes:
    """Return the secret as it is stored. It can be opened only for this webhook."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(_key(bank_secrets[0])).encrypt(nonce, secret, webhook.binary)


def unseal(sealed: bytes, webhook: ObjectId, bank_secrets: Sequence[str]) -> bytes:
    """Return a stored secret; raises SecretLost. `bank_secrets` are the bank's present secret and those before it."""
    for bank_secret in bank_secrets:
        try:
            return AESGCM(_key(bank_secret)).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], webhook.binary)
        except InvalidTag:
            continue
    raise SecretLost


def is_sealed_with(sealed: bytes, webhook: ObjectId, bank_secret: str) -> bool:
    """Tell whether a stored secret was sealed with this secret of the bank."""
    try:
        unseal(sealed, webhook, [bank_secret])
    except SecretLost:
        return False
    return True


def headers_of(message_id: str, timestamp: int, body: bytes, secrets: Iterable[bytes]) -> dict[str, str]:
    """Return the headers by which a receiver verifies the body: one signature for each secret."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    made = (base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode() for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{each}" for each in made),
    }


def _key(bank_secret: str) -> bytes:
    return hmac.digest(bank_secret.encode(), _PURPOSE, hashlib.sha256)
