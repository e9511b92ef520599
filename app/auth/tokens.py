"""Bearer tokens: issuing them, checking them, and every flask-jwt-extended callback.

A session is one login. Each of its tokens contains the session's id (`sid`), so a logout revokes all
of them with one row on the blocklist. Each also contains the session's generation (`gen`), so a change
of the password revokes the sessions of earlier generations with one row, except the one that is told to stay. A
refresh token is spent by its use; its own id is then on the blocklist.

The tokens that follow a refresh token are computed, not random: from its id, the time at which it was spent, and the
bank's secret. So a repeated refresh within `sessions.REFRESH_GRACE` gets the same tokens, and none needs to be stored.
"""

import hashlib
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from bson import ObjectId
from flask import Flask, Response, request
from flask_jwt_extended import create_access_token, create_refresh_token, get_jwt, verify_jwt_in_request
from flask_jwt_extended.exceptions import JWTExtendedException
from jwt.exceptions import ExpiredSignatureError, PyJWTError

from app import clock
from app.acts import Act
from app.auth import attempts, repository, sessions
from app.auth.manager import GENERATION_CLAIM, SESSION_CLAIM, RememberingManager, is_ours, secret_of_token
from app.auth.roles import Role
from app.errors import Forbidden, TokenExpired, TokenInvalid, TokenMissing, TokenRevoked
from app.fields import read_id
from app.http import rate_limits, routing
from app.http.blueprint import Blueprint
from app.http.contract import contract_of, declare
from app.http.incoming import Incoming, application, current, current_id
from app.http.problems import problem_response
from app.mongo import Document, together
from app.networks import client_network
from app.settings.policies import REFRESH_LIFETIME_MAX, AuthPolicy

ISSUER = "fincore"
AUDIENCE = "fincore-api"
# The claim of an access token that holds the lifetime, in seconds, of the refresh token issued with it. The blocklist
# row that ends the session is kept that long.
LASTS_CLAIM = "lasts"
REFRESH = "refresh"
SECURITY_SCHEME = "bearer"
# Every call with a token may be refused with these.
TOKEN_PROBLEMS = (TokenMissing, TokenInvalid, TokenExpired, TokenRevoked)

jwt = RememberingManager()

View = TypeVar("View", bound=Callable[..., Any])


class _Scheme(str):
    """An authentication scheme. HTTP ignores its case, and the JWT extension compares it with ==."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.lower())


SCHEME = _Scheme("Bearer")


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
        # The library reads tokens from the header only; the page's own routes read their cookie. The CSRF claim would
        # be random, and a repeated refresh has to get equal tokens.
        JWT_COOKIE_CSRF_PROTECT=False,
        JWT_HEADER_TYPE=SCHEME,
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
    claims = current_claims()
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
    claims = current_claims()
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
    """Return the longest lifetime that a token of this session can have: as it was issued, or by the policy now."""
    if claims["type"] == REFRESH:
        made_for = claims["exp"] - claims["iat"]
    else:
        # Tokens of version 1 lack the claim.
        made_for = claims.get(LASTS_CLAIM, REFRESH_LIFETIME_MAX.total_seconds())
    return max(policy().refresh_lifetime, timedelta(seconds=made_for))


def policy() -> AuthPolicy:
    """Return the auth policy of the current application."""
    chosen: AuthPolicy = application().config["AUTH"]
    return chosen


def token_required(view: View) -> View:
    """Admit only requests with a valid access token."""
    ahead = contract_of(view).ahead
    return _guarded(view, "token", lambda incoming: _verify(incoming, ahead=ahead))


def refresh_token_required(view: View) -> View:
    """Admit only requests with a valid refresh token."""
    return _guarded(view, "refresh token", lambda incoming: _verify(incoming, refresh=True))


def session_token_required(view: View) -> View:
    """Admit requests with any token of a session that has not ended. A logout needs no more than that.

    The token may be a refresh token that was spent, or an access token that has expired.
    """
    return _guarded(view, "token of the session", lambda incoming: _count(incoming, _claims_of_session))


def admit_refresh_token(incoming: Incoming, token: str, *, is_leaving: bool) -> None:
    """Check a refresh token that came in a cookie, and keep its claims, or None if it is not valid.

    A spent token is good enough to leave its session. The request is counted for the user of a valid token, and
    otherwise for its address.
    """
    incoming.environ["HTTP_AUTHORIZATION"] = f"{SCHEME} {token}"
    try:
        if is_leaving:
            _count(incoming, _claims_of_session)
        else:
            _verify(incoming, refresh=True)
    except (TokenExpired, TokenInvalid, TokenRevoked, JWTExtendedException, PyJWTError):
        incoming.claims = incoming.user_id = None


def role_required(*roles: Role) -> Callable[[View], View]:
    """Admit only users who have one of these roles in the database now. A token contains no role."""
    access = f"role {' or '.join(roles)}"

    def guard(view: View) -> View:
        ahead = contract_of(view).ahead

        def admit(incoming: Incoming) -> None:
            _verify(incoming, ahead=ahead)
            if current_user()["role"] not in roles:
                raise Forbidden(f"This needs the {access}.")

        return _guarded(view, access, admit)

    return guard


def _guarded(view: View, access: str, admit: Callable[[Incoming], None]) -> View:
    documented: View = Blueprint.doc(security=[{SECURITY_SCHEME: []}])(view)
    return declare(documented, access=access, admit=admit)


def _verify(incoming: Incoming, *, refresh: bool = False, ahead: routing.ReadsAhead | None = None) -> None:
    """Raise unless the request has a valid token. Count it for the user of a valid token, otherwise for its address."""
    _count(incoming, lambda: _good_claims(incoming, refresh=refresh, ahead=ahead))


def _good_claims(incoming: Incoming, *, refresh: bool, ahead: routing.ReadsAhead | None) -> dict[str, Any]:
    scheme, _, token = incoming.environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    claims = jwt.remembered(token) if scheme == SCHEME else None
    # The library checks the tokens that we do not remember, and raises if one is bad.
    if claims is None or (claims["type"] == REFRESH) is not refresh:
        verify_jwt_in_request(refresh=refresh, skip_revocation_check=True)
        claims = get_jwt()
    user_id = read_id(claims["sub"])
    if user_id is not None:
        together.expect(routing.keys_ahead(ahead, user_id, incoming.view_args or {}))
    _refuse_revoked(claims)
    _refuse_outlived(claims, policy().refresh_lifetime if refresh else policy().access_lifetime)
    return claims


def _claims_of_session() -> dict[str, Any]:
    try:
        verify_jwt_in_request(verify_type=False, skip_revocation_check=True)
        claims = get_jwt()
    except ExpiredSignatureError as error:
        # The library has verified everything except the expiry, and its error carries the claims.
        claims = error.jwt_data  # type: ignore[attr-defined] # set by flask_jwt_extended
        if claims["type"] == REFRESH:
            raise
        if not is_ours({}, claims):
            raise TokenInvalid from None
    _refuse_revoked(claims)
    _refuse_outlived(claims, _session_lifetime(claims) if claims["type"] != REFRESH else policy().refresh_lifetime)
    return claims


def _refuse_revoked(claims: dict[str, Any]) -> None:
    """Raise TokenRevoked if the token's session has ended, alone or with all sessions of its user."""
    session_id, cut_off_id = claims[SESSION_CLAIM], sessions.cut_off_id(claims["sub"])
    rows = {row["_id"]: row for row in repository.find_revocations([session_id, cut_off_id])}
    cut_off = rows.get(cut_off_id)
    if session_id in rows or (
        cut_off is not None and sessions.is_cut_off(cut_off, generation=claims[GENERATION_CLAIM], session_id=session_id)
    ):
        raise TokenRevoked


def _refuse_outlived(claims: dict[str, Any], lifetime: timedelta) -> None:
    """Raise TokenExpired if the token is older than the policy's `lifetime`, even if it was issued for longer."""
    if clock.now().timestamp() > claims["iat"] + (lifetime + clock.LEEWAY).total_seconds():
        raise TokenExpired


def _count(incoming: Incoming, read_claims: Callable[[], dict[str, Any]]) -> None:
    """Keep the claims of the request's token. Count it for the user of a valid token, otherwise for its address."""
    try:
        claims = read_claims()
    except (TokenExpired, TokenInvalid, TokenRevoked):
        rate_limits.check_address(incoming)
        raise
    except (JWTExtendedException, PyJWTError, IndexError, RecursionError) as error:
        rate_limits.check_address(incoming)
        if isinstance(error, IndexError | RecursionError):
            # The libraries fail on a header of commas and blanks, and on very deeply nested claims.
            raise TokenInvalid from None
        raise
    incoming.claims, incoming.user_id = claims, read_id(claims["sub"])
    # Counted here, because the user is known now.
    rate_limits.check_user(incoming, claims["sub"])


def current_claims() -> dict[str, Any]:
    """Return the claims of the token with which the present request was admitted."""
    claims = current().claims
    assert claims is not None, "The route asks for no token."
    return claims


def confirm_session() -> None:
    """Check again that the request's session has not ended, after something slow; raises TokenRevoked."""
    _refuse_revoked(current_claims())


def current_user_id() -> ObjectId:
    current_claims()
    user_id = current().user_id
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
    return Act(current_user_id(), reason, request_id=current_id(), address=request.remote_addr)


def current_network() -> str | None:
    """Return the client's network (see `client_network`), or None if the address is unknown."""
    return client_network(request.remote_addr) if request.remote_addr else None


def current_session_id() -> str:
    session_id: str = current_claims()[SESSION_CLAIM]
    return session_id


jwt.decode_key_loader(secret_of_token)
jwt.token_verification_loader(is_ours)


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
