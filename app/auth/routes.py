"""Register, log in, log out."""

from typing import Any

from flask import current_app

from app.auth import service, tokens
from app.auth.schemas import LoginSchema, MessageSchema, RegisterSchema, SessionSchema, UserAnswerSchema
from app.auth.tokens import TOKEN_PROBLEMS, token_required
from app.errors import EmailTaken, InvalidCredentials
from app.http import BODY_PROBLEMS, Blueprint

bp = Blueprint("auth", __name__, url_prefix="/api/auth", description="Who you are")

_CREDENTIALS = {"email": "asha@example.com", "password": "correct horse battery"}


@bp.post("/register")
@bp.arguments(RegisterSchema(), example={"name": "Asha Rao", **_CREDENTIALS})
@bp.response(201, SessionSchema())
@bp.refusals(EmailTaken, *BODY_PROBLEMS)
def register(body: dict[str, Any]) -> dict[str, Any]:
    """Register a user and begin a session."""
    return tokens.begin_session(service.register(**body, bcrypt_rounds=current_app.config["BCRYPT_ROUNDS"]))


@bp.post("/login")
@bp.arguments(LoginSchema(), example=_CREDENTIALS)
@bp.response(200, SessionSchema())
@bp.refusals(InvalidCredentials, *BODY_PROBLEMS)
def login(body: dict[str, Any]) -> dict[str, Any]:
    """Begin a session."""
    return tokens.begin_session(service.authenticate(**body, bcrypt_rounds=current_app.config["BCRYPT_ROUNDS"]))


@bp.post("/logout")
@token_required
@bp.response(200, MessageSchema())
@bp.refusals(*TOKEN_PROBLEMS)
def logout() -> dict[str, str]:
    """End the session: its access and its refresh token stop working at once."""
    service.end_session(tokens.current_session_id(), lifetime=tokens.refresh_lifetime())
    return {"message": "Logged out."}


@bp.get("/me")
@token_required
@bp.response(200, UserAnswerSchema())
@bp.refusals(*TOKEN_PROBLEMS)
def me() -> dict[str, Any]:
    """Return the user the token belongs to."""
    return {"user": tokens.current_user()}
