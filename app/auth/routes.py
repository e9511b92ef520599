"""Register, log in, refresh a session, log out; change or reset a password."""

from http import HTTPStatus
from typing import Any

from flask import request, url_for

from app.acts import Act
from app.auth import preferences, repository, resets, service, tokens
from app.auth.schemas import (
    ChangePasswordSchema,
    ChooseNotificationsSchema,
    ConfirmationSchema,
    ForgotPasswordSchema,
    LoginSchema,
    LogoutSchema,
    NotificationsSchema,
    RegisterSchema,
    RenameMeSchema,
    ResetPasswordSchema,
    SessionSchema,
    UserAnswerSchema,
)
from app.auth.tokens import TOKEN_PROBLEMS, refresh_token_required, session_token_required, token_required
from app.errors import EmailTaken, InvalidCredentials, ResetTokenInvalid, TokenInvalid, TooManyAttempts
from app.http.blueprint import Blueprint
from app.http.described import LOCATION
from app.http.incoming import current_id
from app.http.parsing import BODY_PROBLEMS

bp = Blueprint("auth", __name__, url_prefix="/api/auth", description="Who you are")

_CREDENTIALS = {"email": "asha@example.com", "password": "correct horse battery"}
_CHANGE = {"currentPassword": "correct horse battery", "newPassword": "a staple of good taste"}
_CHOICE = {"language": "hi", "kinds": {"money.received": "daily", "hold.placed": "off"}}
_RESET = {"token": "the-token-out-of-the-mail", "newPassword": "a staple of good taste"}


@bp.post("/register")
@bp.arguments(RegisterSchema(), example={"name": "Asha Rao", **_CREDENTIALS})
@bp.response(201, SessionSchema(), headers=LOCATION)
@bp.refusals(EmailTaken, *BODY_PROBLEMS)
def register(body: dict[str, Any]) -> Any:
    """Register a user and start a session.

    The e-mail address is stored in lower case. The user gets a welcome by mail.
    """
    user = service.register(service.NewUser(**body), policy=tokens.policy(), network=tokens.current_network())
    return tokens.begin_session(user), HTTPStatus.CREATED, {"Location": url_for("auth.get_me")}


@bp.post("/login")
@bp.arguments(LoginSchema(), example=_CREDENTIALS)
@bp.response(200, SessionSchema())
@bp.refusals(InvalidCredentials, TooManyAttempts, *BODY_PROBLEMS)
def login(body: dict[str, Any]) -> dict[str, Any]:
    """Start a session.

    A wrong address and a wrong password get the same answer. After several wrong ones the next try has to wait.
    """
    act = Act("anonymous", request_id=current_id(), address=request.remote_addr)
    return tokens.begin_session(service.authenticate(**body, policy=tokens.policy(), act=act))


@bp.post("/refresh")
@refresh_token_required
@bp.response(200, SessionSchema())
@bp.refusals(*TOKEN_PROBLEMS, *BODY_PROBLEMS)
def refresh() -> dict[str, Any]:
    """Exchange the refresh token, sent as the bearer token, for new tokens of the same session.

    This spends the refresh token. A second use within 10 s, as by two tabs or after a lost answer, gets the same
    tokens. A later use ends the session.
    """
    return tokens.continue_session()


@bp.post("/logout")
@session_token_required
@bp.arguments(LogoutSchema(), required=False, example={"everywhere": True})
@bp.response(200, ConfirmationSchema())
@bp.refusals(*TOKEN_PROBLEMS, *BODY_PROBLEMS)
def logout(body: dict[str, Any]) -> dict[str, str]:
    """End the session: its access token and its refresh token stop working at once.

    Takes the refresh token or the access token, even an expired one. With `everywhere`, every session of the user ends.
    """
    everywhere = bool(body.get("everywhere"))
    tokens.leave_session(everywhere=everywhere)
    return {"message": "Logged out. Every session has ended." if everywhere else "Logged out."}


@bp.get("/me")
@token_required
@bp.reads_ahead(repository.user_ahead)
@bp.response(200, UserAnswerSchema())
@bp.refusals(*TOKEN_PROBLEMS)
def get_me() -> dict[str, Any]:
    """Return the user to whom the token belongs.

    The role is the present one.
    """
    return {"user": tokens.current_user()}


@bp.patch("/me")
@token_required
@bp.arguments(RenameMeSchema(), example={"name": "Asha Rao-Iyer"})
@bp.response(200, UserAnswerSchema())
@bp.refusals(*TOKEN_PROBLEMS, *BODY_PROBLEMS)
def rename_me(body: dict[str, Any]) -> dict[str, Any]:
    """Change the user's name.

    It is the name in mails and statements.
    """
    user = service.change_name(tokens.current_user_id(), body["name"])
    if user is None:
        raise TokenInvalid("The token's user does not exist.")
    return {"user": user}


@bp.get("/me/notifications")
@token_required
@bp.reads_ahead(repository.user_ahead)
@bp.response(200, NotificationsSchema())
@bp.refusals(*TOKEN_PROBLEMS)
def get_notifications() -> dict[str, Any]:
    """Return the language of the user's letters, and when letters of each kind go.

    With `each` they go at once, with `daily` and `weekly` together in one digest, and with `off` not at all.
    """
    return preferences.shown(preferences.preferences_of(tokens.current_user()))


@bp.put("/me/notifications")
@token_required
@bp.arguments(ChooseNotificationsSchema(), example=_CHOICE)
@bp.response(200, NotificationsSchema())
@bp.refusals(*TOKEN_PROBLEMS, *BODY_PROBLEMS)
def choose_notifications(body: dict[str, Any]) -> dict[str, Any]:
    """Change the language of the user's letters, or when letters of some kinds go.

    Members that are left out stay. Letters about security always go at once.
    """
    chosen = service.choose_notifications(tokens.current_user_id(), **body)
    if chosen is None:
        raise TokenInvalid("The token's user does not exist.")
    return preferences.shown(chosen)


@bp.put("/password")
@token_required
@bp.arguments(ChangePasswordSchema(), example=_CHANGE)
@bp.response(200, ConfirmationSchema())
@bp.refusals(*TOKEN_PROBLEMS, InvalidCredentials, TooManyAttempts, *BODY_PROBLEMS)
def change_password(body: dict[str, Any]) -> dict[str, str]:
    """Change the password.

    Every other session ends; this one continues.
    """
    service.change_password(
        tokens.current_user(),
        **body,
        session_id=tokens.current_session_id(),
        policy=tokens.policy(),
        network=tokens.current_network(),
    )
    return {"message": "Password changed. Every other session has ended."}


@bp.post("/password/forgot")
@bp.arguments(ForgotPasswordSchema(), example={"email": _CREDENTIALS["email"]})
@bp.response(202, ConfirmationSchema())
@bp.refusals(*BODY_PROBLEMS)
def forgot_password(body: dict[str, Any]) -> dict[str, str]:
    """Ask for a mail with a token that resets the password.

    The answer does not tell who is registered. If a token was mailed less than 10 minutes ago, no other is mailed.
    """
    resets.forget_password(body["email"], policy=tokens.policy())
    return {"message": "If the address is registered, a mail with a token is on its way. It is good for 30 minutes."}


@bp.post("/password/reset")
@bp.arguments(ResetPasswordSchema(), example=_RESET)
@bp.response(200, ConfirmationSchema())
@bp.refusals(ResetTokenInvalid, *BODY_PROBLEMS)
def reset_password(body: dict[str, Any]) -> dict[str, str]:
    """Set a new password with the token from the mail.

    The token works once, for 30 minutes. Every session ends.
    """
    resets.reset_password(**body, policy=tokens.policy(), network=tokens.current_network())
    return {"message": "Password changed. Every session has ended; log in."}
