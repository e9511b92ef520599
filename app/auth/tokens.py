"""Bearer tokens: issuing them, checking them, and every flask-jwt-extended callback.

A session is one login. Its id (`sid`) is in each of its tokens, so that a logout
revokes all of them with one row on the blocklist.
"""

import uuid
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any, TypeVar

from bson import ObjectId
from flask import Flask, Response, current_app
from flask_jwt_extended import create_access_token, create_refresh_token, get_jwt, verify_jwt_in_request

from app.auth import repository
from app.auth.service import Role
from app.errors import Forbidden, TokenExpired, TokenInvalid, TokenMissing, TokenRevoked
from app.extensions import jwt
from app.fields import read_id
from app.http import Blueprint, problem_response
from app.mongo import Document

ISSUER = "fincore"
AUDIENCE = "fincore-api"
SESSION_CLAIM = "sid"
SECURITY_SCHEME = "bearer"
# What any call with a token may be refused for.
TOKEN_PROBLEMS = (TokenMissing, TokenInvalid, TokenExpired, TokenRevoked)

View = TypeVar("View", bound=Callable[..., Any])


def configure(app: Flask, *, secret: str, access_minutes: int, refresh_days: int) -> None:
    """Bind the JWT extension with one algorithm, our issuer and our audience."""
    app.config.update(
        JWT_SECRET_KEY=secret,
        JWT_ALGORITHM="HS256",
        JWT_DECODE_ALGORITHMS=["HS256"],
        JWT_ENCODE_ISSUER=ISSUER,
        JWT_DECODE_ISSUER=ISSUER,
        JWT_ENCODE_AUDIENCE=AUDIENCE,
        JWT_DECODE_AUDIENCE=AUDIENCE,
        JWT_TOKEN_LOCATION=["headers"],
        JWT_ACCESS_TOKEN_EXPIRES=timedelta(minutes=access_minutes),
        JWT_REFRESH_TOKEN_EXPIRES=timedelta(days=refresh_days),
    )
    # What the guards below refer to in the API's description.
    scheme = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    app.config["API_SPEC_OPTIONS"] = {"components": {"securitySchemes": {SECURITY_SCHEME: scheme}}}
    jwt.init_app(app)


def begin_session(user: Document) -> dict[str, Any]:
    """Return the answer to a login: the user with the tokens of a new session."""
    claims = {SESSION_CLAIM: uuid.uuid4().hex}
    identity = str(user["_id"])
    return {
        "user": user,
        "token": create_access_token(identity, additional_claims=claims),
        "refresh_token": create_refresh_token(identity, additional_claims=claims),
        "expires_in": int(access_lifetime().total_seconds()),
    }


def access_lifetime() -> timedelta:
    lifetime: timedelta = current_app.config["JWT_ACCESS_TOKEN_EXPIRES"]
    return lifetime


def refresh_lifetime() -> timedelta:
    lifetime: timedelta = current_app.config["JWT_REFRESH_TOKEN_EXPIRES"]
    return lifetime


def token_required(view: View) -> View:
    """Let only requests with a good access token through."""
    return _guard(view, "token")


def refresh_token_required(view: View) -> View:
    """Let only requests with a good refresh token through."""
    return _guard(view, "refresh token", refresh=True)


def role_required(*roles: Role) -> Callable[[View], View]:
    """Let only users through who have one of these roles in the database now, whatever their token was issued for."""

    def decorator(view: View) -> View:
        @wraps(view)
        def for_role(*args: Any, **kwargs: Any) -> Any:
            if current_user()["role"] not in roles:
                raise Forbidden(f"This needs the role {' or '.join(roles)}.")
            return view(*args, **kwargs)

        return _guard(for_role, f"role {' or '.join(roles)}")  # type: ignore[return-value]

    return decorator


def _guard(view: View, access: str, *, refresh: bool = False) -> View:
    # `access` is what the route declares about itself; tests read it, so that no route is open by mistake.
    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            verify_jwt_in_request(refresh=refresh)
        except (IndexError, RecursionError):
            # The libraries trip over a header of commas and blanks, and over claims nested very deep.
            raise TokenInvalid from None
        return view(*args, **kwargs)

    documented = Blueprint.doc(security=[{SECURITY_SCHEME: []}])(guarded)
    documented.access = access
    return documented  # type: ignore[no-any-return]


def current_user_id() -> ObjectId:
    return read_id(get_jwt()["sub"])


def current_user() -> Document:
    """Return the token's user as the database has it; raises TokenInvalid if there is none any more."""
    user = repository.find_user(current_user_id())
    if user is None:
        raise TokenInvalid("The token's user does not exist.")
    return user


def current_session_id() -> str:
    session_id: str = get_jwt()[SESSION_CLAIM]
    return session_id


@jwt.token_in_blocklist_loader
def _is_revoked(header: dict[str, Any], claims: dict[str, Any]) -> bool:
    # Asked before `_is_ours`, so the claims may be anything yet.
    ids = (claims["jti"], claims.get(SESSION_CLAIM))
    return repository.is_any_revoked([revocable for revocable in ids if isinstance(revocable, str)])


@jwt.token_verification_loader
def _is_ours(header: dict[str, Any], claims: dict[str, Any]) -> bool:
    return isinstance(claims.get(SESSION_CLAIM), str) and isinstance(claims.get("sub"), str)


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
