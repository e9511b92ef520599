"""Tokens of links by which a reader turns letters off without logging in.

A token names a user and kinds of letters. It is encrypted and sealed under a key of its own, so nobody else can read or
make one, and it can be used for nothing else. It does not expire, because people keep letters for years. It stops
working when the bank's secret has changed twice. The same letter always has the same token.
"""

import base64
import binascii
from collections.abc import Collection, Sequence
from functools import lru_cache

from bson import ObjectId
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.auth.preferences import SECURITY
from app.outbox.events import EventType

TOKEN_LENGTH_MAX = 100
_PURPOSE = b"fincore: links that turn letters off"
_KEY_BYTES = 64
_ID_BYTES = 12
_MASK_BYTES = 4
# A kind's place here is its bit in tokens that were sent, so it never changes. New kinds go to the end.
_PLACES = (
    EventType.MONEY_SENT,
    EventType.MONEY_RECEIVED,
    EventType.TRANSFER_DECLINED,
    EventType.HOLD_PLACED,
    EventType.HOLD_CAPTURED,
    EventType.HOLD_VOIDED,
    EventType.HOLD_EXPIRED,
    EventType.TRANSACTION_REVERSED,
    EventType.ACCOUNT_OPENED,
    EventType.USER_WELCOME,
)


def token_for(user: ObjectId, types: Collection[EventType | None], secrets: Sequence[str]) -> str | None:
    """Return the token that turns letters of these kinds off, or None if one of them cannot be turned off.

    `secrets` are the bank's present secret and the one before it.
    """
    if not types or not set(types) <= set(_PLACES):
        return None
    mask = sum(1 << place for place, type_ in enumerate(_PLACES) if type_ in types)
    sealed = AESSIV(_key(secrets[0])).encrypt(user.binary + mask.to_bytes(_MASK_BYTES), [_PURPOSE])
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def read_token(token: str, secrets: Sequence[str]) -> tuple[ObjectId, list[EventType]] | None:
    """Return the user and the kinds of letters that a token turns off, or None if the bank did not make it."""
    try:
        sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    for secret in secrets:
        try:
            opened = AESSIV(_key(secret)).decrypt(sealed, [_PURPOSE])
        except (InvalidTag, ValueError):
            continue
        mask = int.from_bytes(opened[_ID_BYTES:])
        types = [type_ for place, type_ in enumerate(_PLACES) if mask >> place & 1 and type_ not in SECURITY]
        return ObjectId(opened[:_ID_BYTES]), types
    return None


@lru_cache(maxsize=4)
def _key(secret: str) -> bytes:
    return HKDF(SHA256(), _KEY_BYTES, salt=None, info=_PURPOSE).derive(secret.encode())
