"""Fingerprints of requests, so that a second use of an idempotency key can be compared with the first."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from app.fields import camel_case

DIGEST_HEX_DIGITS = 32


def fingerprint(call: str, request: Mapping[str, Any]) -> dict[str, str]:
    """Return a digest of each field of a request. The name `idempotencyKey` holds a digest of `call`.

    Two requests are the same if and only if their fingerprints are. A field that was left out has no digest.
    """
    values = {**request, "idempotency_key": call}
    return {camel_case(name): _digest(value) for name, value in values.items() if value is not None}


def _digest(value: Any) -> str:
    canonical = orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()[:DIGEST_HEX_DIGITS]
