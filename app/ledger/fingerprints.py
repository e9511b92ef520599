"""What is kept of a request under an idempotency key, so that the key's second use can be compared with it."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from app.fields import camel_case

DIGEST_HEX_DIGITS = 32


def fingerprint(call: str, request: Mapping[str, Any]) -> dict[str, str]:
    """Return a digest of each field of a request, and of the call it was made to under the key's own name.

    Two requests are the same exactly if their fingerprints are. A field that was
    left out has none.
    """
    values = {**request, "idempotency_key": call}
    return {camel_case(name): _digest(value) for name, value in values.items() if value is not None}


def _digest(value: Any) -> str:
    canonical = orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()[:DIGEST_HEX_DIGITS]
