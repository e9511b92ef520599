"""The page's own session."""

from typing import Any

from flask import Response

from app.acts import Act
from app.auth import service, tokens
from app.auth.schemas import LoginSchema
from app.errors import Forbidden, InvalidCredentials, TooManyAttempts
from app.http.blueprint import Blueprint
from app.http.incoming import current, current_id
from app.http.parsing import BODY_PROBLEMS
from app.web import cookies
from app.web.schemas import BrowserSessionSchema

session = Blueprint("session", __name__, url_prefix="/session", description="The web page's session, for browsers")

_SETS_COOKIE = {"Set-Cookie": {"schema": {"type": "string"}, "description": "The refresh token, HttpOnly."}}
_TAKES_COOKIE = {"Set-Cookie": {"schema": {"type": "string"}, "description": "Takes the cookie away."}}


@session.post("")
@cookies.own_page_only
@session.arguments(LoginSchema(), example={"email": "asha@example.com", "password": "correct horse battery"})
@session.response(200, BrowserSessionSchema(), headers=_SETS_COOKIE)
@session.refusals(InvalidCredentials, TooManyAttempts, Forbidden, *BODY_PROBLEMS)
def begin_session(body: dict[str, Any]) -> Any:
    """Log in on the bank's page.

    As `POST /api/auth/login`, but the refresh token goes into a cookie that no script can read. A session that the
    browser already had ends.
    """
    act = Act("anonymous", request_id=current_id(), address=current().remote_addr)
    return cookies.begin(service.authenticate(**body, policy=tokens.policy(), act=act))


@session.post("/refresh")
@cookies.session_admitted
@session.response(200, BrowserSessionSchema(), headers=_SETS_COOKIE)
@session.alt_response(204, description="There is no session.", headers=_TAKES_COOKIE, success=True)
@session.refusals(Forbidden, *BODY_PROBLEMS)
def refresh_session() -> Any:
    """Continue the browser's session with new tokens, or answer 204 if it has none.

    As `POST /api/auth/refresh`, with the refresh token of the cookie. A session that has ended is no session.
    """
    return cookies.renew()


@session.delete("")
@cookies.leaving_admitted
@session.response(204, headers=_TAKES_COOKIE)
@session.refusals(Forbidden, *BODY_PROBLEMS)
def end_session() -> Response:
    """Log out of the bank's page.

    The session ends, if there is one, and the cookie goes.
    """
    cookies.end()
    return cookies.without_session()
