"""The browser's session: its cookie, and who may use it.

A browser sends a cookie with every request to its site, whichever page caused the request. So each call that reads the
cookie or sets it has to come from the bank's own page. Three things show that, and each is enough against a foreign
page alone: the cookie is SameSite=Strict, the header `X-Requested-With` cannot be set by another origin without CORS,
which these calls do not allow, and the browser itself says in `Sec-Fetch-Site` and `Origin` where a request comes from.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Response
from werkzeug.http import dump_cookie

from app.auth import tokens
from app.errors import Forbidden, TokenExpired, TokenInvalid, TokenMissing, TokenRevoked
from app.http import rate_limits
from app.http.blueprint import Blueprint
from app.http.contract import declare
from app.http.incoming import Incoming, current
from app.mongo import Document

View = TypeVar("View", bound=Callable[..., Any])

REQUESTED_WITH_HEADER = "X-Requested-With"
REQUESTED_WITH = "fincore"
# Browsers accept a cookie with this prefix only over TLS, for the whole host, and from that very host. So no neighbour
# in the domain can plant one.
SECURE_NAME = "__Host-fincore"
PLAIN_NAME = "fincore-session"
PLAIN_PATH = "/session"
_OWN_PAGE = {
    "in": "header",
    "name": REQUESTED_WITH_HEADER,
    "required": True,
    "schema": {"type": "string", "enum": [REQUESTED_WITH]},
    "description": "Shows that the bank's own page asks: no other origin can send it.",
}
_REFUSED = (TokenExpired, TokenInvalid, TokenMissing, TokenRevoked)


def refuse_foreign(incoming: Incoming) -> None:
    """Raise Forbidden unless the request comes from the bank's own page."""
    if incoming.headers.get(REQUESTED_WITH_HEADER) != REQUESTED_WITH:
        raise Forbidden(f"This call needs the header {REQUESTED_WITH_HEADER}: {REQUESTED_WITH}.")
    site, origin = incoming.headers.get("Sec-Fetch-Site"), incoming.headers.get("Origin")
    if site not in (None, "same-origin") or (origin is not None and not _is_own(origin, incoming)):
        raise Forbidden("This call is for the bank's own page only.")


def _is_own(origin: str, incoming: Incoming) -> bool:
    scheme, _, host = origin.lower().partition("://")
    # A proxy that is not trusted does not tell us that it speaks TLS. A plain page of a host with TLS is a stranger.
    return host == incoming.host.lower() and (
        scheme == incoming.scheme or (scheme, incoming.scheme) == ("https", "http")
    )


def own_page_only(view: View) -> View:
    """Admit only the bank's page."""
    return declare(_described(view), admit=refuse_foreign)


def session_admitted(view: View) -> View:
    """Admit the bank's page, with the claims of its cookie's refresh token, or with none if there is no session."""
    return _with_cookie(view, is_leaving=False)


def leaving_admitted(view: View) -> View:
    """Like `session_admitted`; to leave a session, a refresh token that was spent is good enough."""
    return _with_cookie(view, is_leaving=True)


def _with_cookie(view: View, *, is_leaving: bool) -> View:
    return declare(
        _described(view), access="session cookie", admit=lambda incoming: _admit(incoming, is_leaving=is_leaving)
    )


def _described(view: View) -> View:
    return Blueprint.doc(parameters=[_OWN_PAGE])(view)


def _admit(incoming: Incoming, *, is_leaving: bool) -> None:
    refuse_foreign(incoming)
    token = _token_of(incoming)
    if token is None:
        rate_limits.check_address(incoming)
    else:
        tokens.admit_refresh_token(incoming, token, is_leaving=is_leaving)


def _token_of(incoming: Incoming) -> str | None:
    return incoming.cookies.get(_name(incoming))


def begin(user: Document) -> tuple[Document, int, dict[str, str]]:
    """Start a session of the user, and end the one that the browser had. Returns the answer with its cookie."""
    incoming = current()
    token = _token_of(incoming)
    if token is not None:
        tokens.admit_refresh_token(incoming, token, is_leaving=True)
        end()
    return _answer(incoming, tokens.begin_session(user))


def renew() -> tuple[Document, int, dict[str, str]] | Response:
    """Answer with new tokens of the browser's session, or with 204 and no cookie if it has none."""
    incoming = current()
    if _token_of(incoming) is None:
        # This answer may arrive after one that gives another tab a cookie, and must not take that away.
        return Response(status=204)
    if incoming.claims is None:
        return without_session()
    try:
        return _answer(incoming, tokens.continue_session())
    except _REFUSED:
        return without_session()


def end() -> None:
    """End the session of the request's cookie, if there is one."""
    if current().claims is not None:
        tokens.leave_session(everywhere=False)


def without_session() -> Response:
    """Return the answer that takes the cookie away."""
    response = Response(status=204)
    response.headers["Set-Cookie"] = _cookie(current(), "", max_age=0)
    return response


def _answer(incoming: Incoming, session: Document) -> tuple[Document, int, dict[str, str]]:
    age = int(tokens.policy().refresh_lifetime.total_seconds())
    return session, 200, {"Set-Cookie": _cookie(incoming, session["refresh_token"], max_age=age)}


def _cookie(incoming: Incoming, value: str, *, max_age: int) -> str:
    return dump_cookie(
        _name(incoming),
        value,
        max_age=max_age,
        path="/" if incoming.is_secure else PLAIN_PATH,
        secure=incoming.is_secure,
        httponly=True,
        samesite="Strict",
    )


def _name(incoming: Incoming) -> str:
    return SECURE_NAME if incoming.is_secure else PLAIN_NAME
