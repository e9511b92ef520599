"""Bearer tokens: issuing them, checking them, and every flask-jwt-extended callback.

A session is one login. Each of its tokens contains the session's id (`sid`), so a logout revokes all
of them with one row on the blocklist. Each also contains the session's generation (`gen`), so a change
of the password revokes all sessions of earlier generations with one row. A refresh token is spent by
its use; its own id is then on the blocklist.

The successors of a refresh token are computed from its id, the time at which it was spent, and the bank's secret.
So a second use within `sessions.REFRESH_GRACE` gets the same tokens, and no token needs to be stored.
"""

import contextlib
import hashlib
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from bson import ObjectId
from flask import Flask, Request, Response, current_app, g, request
from flask_jwt_extended import JWTManager, create_access_token, create_refresh_token, get_jwt, verify_jwt_in_request
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt.exceptions import ExpiredSignatureError, InvalidSignatureError, PyJWTError

from app import clock
from app.acts import Act
from app.auth import attempts, repository, sessions
from app.auth.roles import Role
from app.errors import Forbidden, TokenExpired, TokenInvalid, TokenMissing, TokenRevoked
from app.fields import read_id
from app.http import rate_limits
from app.http.blueprint import Blueprint
from app.http.contract import declare
from app.http.problems import problem_response
from app.mongo import Document
from app.networks import client_network
from app.policies import REFRESH_LIFETIME_MAX, AuthPolicy

ISSUER = "fincore"
AUDIENCE = "fincore-api"
SESSION_CLAIM = "sid"
GENERATION_CLAIM = "gen"
# An access token says for how many seconds its session's refresh token was issued. The blocklist row that ends the
# session is kept that long.
LASTS_CLAIM = "lasts"
REFRESH = "refresh"
SECURITY_SCHEME = "bearer"
# Every call with a token may be refused with these.
TOKEN_PROBLEMS = (TokenMissing, TokenInvalid, TokenExpired, TokenRevoked)

# How many verified tokens are remembered, at about 400 bytes each. The least recently used one is dropped first.
VERIFIED_TOKENS_MAX = 10_000


class _RememberingManager(JWTManager):
    """The JWT extension, with a memory of verified tokens, so that no signature is verified twice.

    The same bytes and the same key give the same claims. Only the expiry can change the result, so it is
    checked each time. The library also checks each time whether the token was revoked.
    """

    def __init__(self) -> None:
        super().__init__()
        self._verified: OrderedDict[tuple[str, ...], dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def _decode_jwt_from_config(
        self, encoded_token: str, csrf_value: Any = None, allow_expired: bool = False
    ) -> dict[str, Any]:
        # With the keys, because an application with other keys must not accept this one's tokens.
        known = (encoded_token, *current_app.config["SECRETS"])
        with self._lock:
            claims = self._verified.get(known)
            if claims is not None:
                self._verified.move_to_end(known)
        if claims is None or claims.get("exp", 0) <= time.time():
            claims = self._decode_with_any_secret(encoded_token, csrf_value, allow_expired)
            with self._lock:
                self._verified[known] = claims
                if len(self._verified) > VERIFIED_TOKENS_MAX:
                    self._verified.popitem(last=False)
        return dict(claims)

    def _decode_with_any_secret(self, encoded_token: str, csrf_value: Any, allow_expired: bool) -> dict[str, Any]:
        *others, last = current_app.config["SECRETS"]
        for secret in others:
            g.token_secret = secret
            with contextlib.suppress(InvalidSignatureError):
                return super()._decode_jwt_from_config(encoded_token, csrf_value, allow_expired)
        g.token_secret = last
        return super()._decode_jwt_from_config(encoded_token, csrf_value, allow_expired)


jwt = _RememberingManager()

View = TypeVar("View", bound=Callable[..., Any])


class _Scheme(str):
    """An authentication scheme. HTTP ignores its case, and the JWT extension compares it with ==."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.lower())


def configure(app: Flask, policy: AuthPolicy) -> None:
    """Configure the JWT extension: one algorithm, our issuer and our audience."""
    app.config.update(
        AUTH=policy,
        JWT_SECRET_KEY=policy.secret,
        SECRETS=policy.secrets,
        JWT_ALGORITHM="HS256",
        JWT_DECODE_ALGORITHMS=["HS256"],
        JWT_ENCODE_ISSUER=ISSUER,
        JWT_DECODE_ISSUER=ISSUER,
        JWT_ENCODE_AUDIENCE=AUDIENCE,
        JWT_DECODE_AUDIENCE=AUDIENCE,
        JWT_TOKEN_LOCATION=["headers"],
        # No token is in a cookie. Also, the CSRF claim would be random, and a token's successors have to be equal.
        JWT_COOKIE_CSRF_PROTECT=False,
        JWT_HEADER_TYPE=_Scheme("Bearer"),
        JWT_DECODE_LEEWAY=int(clock.LEEWAY.total_seconds()),
        JWT_ACCESS_TOKEN_EXPIRES=policy.access_lifetime,
        JWT_REFRESH_TOKEN_EXPIRES=policy.refresh_lifetime,
    )
    # The decorators below refer to this scheme in the API's description.
    scheme = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    app.config["API_SPEC_OPTIONS"] = {"components": {"securitySchemes": {SECURITY_SCHEME: scheme}}}
    jwt.init_app(app)


def begin_session(user: Document) -> dict[str, Any]:
    """Start a session for the user and return the answer to a login. `user` is as read for the password check."""
    return _session(
        user,
        session_id=uuid.uuid4().hex,
        generation=user.get("session_generation", 0),
        seed=uuid.uuid4().hex,
        at=clock.now(),
    )


def continue_session() -> dict[str, Any]:
    """Spend the request's refresh token and return the answer to a login, in the same session; raises TokenRevoked."""
    claims = get_jwt()
    user, session_id, generation = current_user(), claims[SESSION_CLAIM], claims[GENERATION_CLAIM]
    if sessions.has_ended(user, generation=generation, session_id=session_id):
        raise TokenRevoked
    spent_at, age = sessions.spend_refresh_token(
        claims["jti"],
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
        session_id=session_id,
        session_lifetime=_session_lifetime(claims),
    )
    attempts.Guesses(user["email"], current_network()).know()
    return _session(user, session_id=session_id, generation=generation, seed=claims["jti"], at=spent_at, age=age)


def leave_session(*, everywhere: bool) -> None:
    """End the session of the token that `session_token_required` admitted, and with `everywhere` all of its user's."""
    claims = g.session_claims
    sessions.end_session(claims[SESSION_CLAIM], lifetime=_session_lifetime(claims))
    if everywhere and (user_id := read_id(claims["sub"])) is not None:
        sessions.end_all_sessions(user_id)


def _session(
    user: Document, *, session_id: str, generation: int, seed: str, at: datetime, age: timedelta = timedelta()
) -> dict[str, Any]:
    """Return the answer to a login whose tokens were issued `age` ago. Equal arguments give equal tokens."""
    lives, lasts = policy().access_lifetime, policy().refresh_lifetime
    claims = {SESSION_CLAIM: session_id, GENERATION_CLAIM: generation, "iat": at, "nbf": at}
    access = {**claims, "jti": _token_id(seed, "access"), "exp": at + lives, LASTS_CLAIM: int(lasts.total_seconds())}
    refresh = {**claims, "jti": _token_id(seed, REFRESH), "exp": at + lasts}
    identity = str(user["_id"])
    return {
        "user": user,
        "token": create_access_token(identity, additional_claims=access),
        "refresh_token": create_refresh_token(identity, additional_claims=refresh),
        "expires_in": int((lives - age).total_seconds()),
    }


def _token_id(seed: str, use: str) -> str:
    return hashlib.sha256(f"{seed} {use}".encode()).hexdigest()[:32]


def _session_lifetime(claims: dict[str, Any]) -> timedelta:
    """Return the longest time that any token of the session may be valid, even if the policy has changed since."""
    if claims["type"] == REFRESH:
        made_for = claims["exp"] - claims["iat"]
    else:
        # Tokens of version 1 lack the claim.
        made_for = claims.get(LASTS_CLAIM, REFRESH_LIFETIME_MAX.total_seconds())
    return max(policy().refresh_lifetime, timedelta(seconds=made_for))


def policy() -> AuthPolicy:
    """Return the auth policy of the current application."""
    chosen: AuthPolicy = current_app.config["AUTH"]
    return chosen


def token_required(view: View) -> View:
    """Admit only requests with a valid access token."""
    return _guarded(view, "token", lambda _request: _verify())


def refresh_token_required(view: View) -> View:
    """Admit only requests with a valid refresh token."""
    return _guarded(view, "refresh token", lambda _request: _verify(refresh=True))


def session_token_required(view: View) -> View:
    """Admit requests with any token of a session that has not ended. A logout needs no more than that.

    The token may be a refresh token that was spent, or an access token that has expired.
    """
    return _guarded(view, "token of the session", lambda _request: _verify_session())


def role_required(*roles: Role) -> Callable[[View], View]:
    """Admit only users who have one of these roles in the database now. A token contains no role."""
    access = f"role {' or '.join(roles)}"

    def admit(_request: Request) -> None:
        _verify()
        if current_user()["role"] not in roles:
            raise Forbidden(f"This needs the {access}.")

    return lambda view: _guarded(view, access, admit)


def _guarded(view: View, access: str, admit: Callable[[Request], None]) -> View:
    documented: View = Blueprint.doc(security=[{SECURITY_SCHEME: []}])(view)
    return declare(documented, access=access, admit=admit)


def _verify(*, refresh: bool = False) -> None:
    """Raise unless the request has a valid token; count the request for its user, or without one for its address."""
    _count(lambda: _good_claims(refresh=refresh))


def _verify_session() -> None:
    """Like `_verify`, but accept any token of a session that has not ended."""
    g.session_claims = _count(_claims_of_session)


def _good_claims(*, refresh: bool) -> dict[str, Any]:
    verify_jwt_in_request(refresh=refresh)
    claims: dict[str, Any] = get_jwt()
    _refuse_outlived(claims, policy().refresh_lifetime if refresh else policy().access_lifetime)
    return claims


def _claims_of_session() -> dict[str, Any]:
    try:
        verify_jwt_in_request(verify_type=False)
        claims = get_jwt()
    except ExpiredSignatureError as error:
        # The library has verified everything except the expiry, and its error carries the claims.
        claims = error.jwt_data  # type: ignore[attr-defined] # set by flask_jwt_extended
        if claims["type"] == REFRESH:
            raise
        if not _is_ours({}, claims):
            raise TokenInvalid from None
        if _is_revoked({}, claims):
            raise TokenRevoked from None
    _refuse_outlived(claims, _session_lifetime(claims) if claims["type"] != REFRESH else policy().refresh_lifetime)
    return claims


def _refuse_outlived(claims: dict[str, Any], lifetime: timedelta) -> None:
    """Raise TokenExpired if the token is older than `lifetime`, which may have been longer when it was issued."""
    if clock.now() > datetime.fromtimestamp(claims["iat"], UTC) + lifetime + clock.LEEWAY:
        raise TokenExpired


def _count(read_claims: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the claims of the request's token, and count the request for its user, or without one for its address."""
    try:
        claims = read_claims()
    except TokenExpired:
        rate_limits.check_address()
        raise
    except (JWTExtendedException, PyJWTError, IndexError, RecursionError) as error:
        rate_limits.check_address()
        if isinstance(error, IndexError | RecursionError):
            # The libraries fail on a header of commas and blanks, and on very deeply nested claims.
            raise TokenInvalid from None
        raise
    g.user_id = claims["sub"]
    # Counted here, because the user is known now.
    rate_limits.check_user(claims["sub"])
    return claims


def current_user_id() -> ObjectId:
    user_id = read_id(get_jwt()["sub"])
    if user_id is None:
        raise TokenInvalid
    return user_id


def current_user() -> Document:
    """Return the token's user from the database; raises TokenInvalid if the user no longer exists."""
    user = repository.find_user(current_user_id())
    if user is None:
        raise TokenInvalid("The token's user does not exist.")
    return user


def current_act(reason: str | None = None) -> Act:
    """Return the act for the audit log: who makes this request, from where and why."""
    return Act(current_user_id(), reason, request_id=g.request_id, address=request.remote_addr)


def current_network() -> str | None:
    """Return the client's network (see `client_network`), or None if the address is unknown."""
    return client_network(request.remote_addr) if request.remote_addr else None


def current_session_id() -> str:
    session_id: str = get_jwt()[SESSION_CLAIM]
    return session_id


@jwt.decode_key_loader
def _secret_of_token(header: dict[str, Any], claims: dict[str, Any]) -> str:
    secret: str = g.token_secret
    return secret


@jwt.token_in_blocklist_loader
def _is_revoked(header: dict[str, Any], claims: dict[str, Any]) -> bool:
    if not _is_ours(header, claims):
        return False  # The library checks the claims right after this, and refuses the token for them.
    session_id, cut_off_id = claims[SESSION_CLAIM], sessions.cut_off_id(claims["sub"])
    rows = {row["_id"]: row for row in repository.find_revocations([session_id, cut_off_id])}
    cut_off = rows.get(cut_off_id)
    return session_id in rows or (
        cut_off is not None and sessions.is_cut_off(cut_off, generation=claims[GENERATION_CLAIM], session_id=session_id)
    )


@jwt.token_verification_loader
def _is_ours(header: dict[str, Any], claims: dict[str, Any]) -> bool:
    return (
        isinstance(claims.get(SESSION_CLAIM), str)
        and isinstance(claims.get(GENERATION_CLAIM), int)
        and isinstance(claims.get("sub"), str)
        and isinstance(claims.get("iat"), int)
    )


@jwt.token_verification_failed_loader
def _on_foreign_claims(header: dict[str, Any], claims: dict[str, Any]) -> Response:
    return problem_response(TokenInvalid())


@jwt.unauthorized_loader
def _on_missing(reason: str) -> Response:
    return problem_response(TokenMissing())


@jwt.invalid_token_loader
def _on_invalid(reason: str) -> Response:
    return problem_response(TokenInvalid())


@jwt.expired_token_loader
def _on_expired(header: dict[str, Any], claims: dict[str, Any]) -> Response:
    return problem_response(TokenExpired())


@jwt.revoked_token_loader
def _on_revoked(header: dict[str, Any], claims: dict[str, Any]) -> Response:
    return problem_response(TokenRevoked())
