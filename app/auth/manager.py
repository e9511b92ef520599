"""The JWT extension as this bank uses it: with several secrets, and with a memory for verified tokens."""

import contextlib
import threading
import time
from collections import OrderedDict
from typing import Any

from flask import current_app, g
from flask_jwt_extended import JWTManager
from jwt.exceptions import InvalidSignatureError

from app.http.incoming import application

SESSION_CLAIM = "sid"
GENERATION_CLAIM = "gen"
# How many verified tokens are remembered, at about 400 bytes each. The least recently used one is dropped first.
VERIFIED_TOKENS_MAX = 10_000


class RememberingManager(JWTManager):
    """The JWT extension, with a memory for our verified tokens, so that no signature is verified twice.

    The same bytes and the same key give the same claims. Only the expiry can change the result, so it is
    checked each time, and so is the blocklist.
    """

    def __init__(self) -> None:
        super().__init__()
        self._verified: OrderedDict[tuple[str, ...], dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def remembered(self, encoded_token: str) -> dict[str, Any] | None:
        """Return the claims of a token that was verified before and has not expired since, or None."""
        known = _known(encoded_token)
        with self._lock:
            claims = self._verified.get(known)
            if claims is not None:
                self._verified.move_to_end(known)
        return None if claims is None or claims.get("exp", 0) <= time.time() else dict(claims)

    def _decode_jwt_from_config(
        self, encoded_token: str, csrf_value: Any = None, allow_expired: bool = False
    ) -> dict[str, Any]:
        claims = self._decode_with_any_secret(encoded_token, csrf_value, allow_expired)
        if is_ours({}, claims):
            with self._lock:
                self._verified[_known(encoded_token)] = dict(claims)
                if len(self._verified) > VERIFIED_TOKENS_MAX:
                    self._verified.popitem(last=False)
        return claims

    def _decode_with_any_secret(self, encoded_token: str, csrf_value: Any, allow_expired: bool) -> dict[str, Any]:
        *others, last = current_app.config["SECRETS"]
        for secret in others:
            g.token_secret = secret
            with contextlib.suppress(InvalidSignatureError):
                return super()._decode_jwt_from_config(encoded_token, csrf_value, allow_expired)
        g.token_secret = last
        return super()._decode_jwt_from_config(encoded_token, csrf_value, allow_expired)


def _known(encoded_token: str) -> tuple[str, ...]:
    """Return what a token is remembered by. An application with other keys must not accept this one's tokens."""
    return (encoded_token, *application().config["SECRETS"])


def secret_of_token(header: dict[str, Any], claims: dict[str, Any]) -> str:  # noqa: ARG001 (as the extension calls it)
    """Return the secret with which to verify the token."""
    secret: str = g.token_secret
    return secret


def is_ours(header: dict[str, Any], claims: dict[str, Any]) -> bool:  # noqa: ARG001 (as the extension calls it)
    """Tell whether a token has the claims that all of this bank's tokens have."""
    return (
        isinstance(claims.get(SESSION_CLAIM), str)
        and isinstance(claims.get(GENERATION_CLAIM), int)
        and isinstance(claims.get("sub"), str)
        and isinstance(claims.get("iat"), int)
    )
