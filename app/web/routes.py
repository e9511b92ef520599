"""The web page: one document for all its addresses, its files, and its own session."""

from typing import Any

from bson import ObjectId
from flask import Response, current_app, render_template, request, url_for

from app.acts import Act
from app.auth import service, tokens, unsubscribing
from app.auth.schemas import LoginSchema
from app.errors import Forbidden, InvalidCredentials, NotFound, TooManyAttempts
from app.http import rate_limits
from app.http.blueprint import Blueprint, PageBlueprint
from app.http.contract import declare
from app.http.incoming import Incoming, current, current_id
from app.http.parsing import BODY_PROBLEMS, Input, glance_at_body, query_of
from app.outbox.events import EventType
from app.web import cookies
from app.web.assets import STYLE_SHEET, Assets, assets
from app.web.schemas import BrowserSessionSchema, LetterLinkSchema

bp = PageBlueprint("web", __name__, template_folder="templates")
session = Blueprint("session", __name__, url_prefix="/session", description="The web page's session, for browsers")

# The first word of every address of the page. static/places.js says what is there.
PLACES = (
    "accounts",
    "forgotten",
    "holds",
    "inbox",
    "movements",
    "operator",
    "pay",
    "payees",
    "register",
    "reset",
    "settings",
    "sign-in",
    "statements",
    "webhooks",
)
_PLACE = f"/<any({', '.join(map(repr, PLACES))}):place>"
# Everything comes from this server, nothing is inline, and text never becomes markup or code.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
# The page reads its filters out of the address itself.
_FILTERS = Input(frozenset({"query"}), lambda _: None)
_FOR_GOOD = "public, max-age=31536000, immutable"
_SETS_COOKIE = {"Set-Cookie": {"schema": {"type": "string"}, "description": "The refresh token, HttpOnly."}}
_TAKES_COOKIE = {"Set-Cookie": {"schema": {"type": "string"}, "description": "Takes the cookie away, if there is one."}}


# The query of a link in a letter. A form says nothing new, but it is read, so that the connection can be kept.
_LETTER_LINK = query_of(LetterLinkSchema())
_FORM_BYTES_MAX = 1_024
_FORM = Input(frozenset({"json"}), lambda form: glance_at_body(form, bytes_max=_FORM_BYTES_MAX))
_LETTERS_ABOUT = {
    EventType.MONEY_SENT: "money that you sent",
    EventType.MONEY_RECEIVED: "money that you received",
    EventType.TRANSFER_DECLINED: "declined payments",
    EventType.HOLD_PLACED: "money that was put on hold",
    EventType.HOLD_CAPTURED: "payments out of a hold",
    EventType.HOLD_VOIDED: "released holds",
    EventType.HOLD_EXPIRED: "expired holds",
    EventType.TRANSACTION_REVERSED: "reversed payments",
    EventType.ACCOUNT_OPENED: "opened accounts",
    EventType.USER_WELCOME: "your registration",
}


def _reads_filters(view: Any) -> Any:
    return declare(view, inputs=(_FILTERS,))


@bp.get("/", endpoint="home")
@bp.get(_PLACE, endpoint="page")
@bp.get(f"{_PLACE}/<path:rest>", endpoint="page_within")
@_reads_filters
def page(_filters: None, **_: str) -> Response:
    """Show the bank in a browser. The page itself finds out what is at the address."""
    response = Response(
        render_template("page.html", style_sheet=STYLE_SHEET, asset=_address_of),
        mimetype="text/html",
    )
    response.headers["Content-Security-Policy"] = _POLICY
    response.cache_control.no_cache = True  # it names the files of this version
    return response


@bp.get("/assets/<version>/<path:name>")
def asset(version: str, name: str) -> Response:
    """Serve a file of the page. Its address has the hash of its content, so it may be kept for good."""
    made = _assets()
    file = made.files.get(name)
    if file is None or version != made.hash:
        raise NotFound("There is no such file, or the page has a newer version.")
    is_gzip = request.accept_encodings["gzip"] > 0
    response = Response(file.compressed if is_gzip else file.content, mimetype=file.mimetype)
    if is_gzip:
        response.headers["Content-Encoding"] = "gzip"
    response.vary.add("Accept-Encoding")
    response.headers["Cache-Control"] = _FOR_GOOD
    return response


def _counted(view: Any) -> Any:
    """Take the query of a link in a letter, with a form or nothing. Count the call, although pages are not counted."""
    return declare(view, admit=_admit, limit="auth", inputs=(_LETTER_LINK, _FORM))


def _admit(incoming: Incoming) -> None:
    """Count the call for the reader of the letter, or for its address if that may be a guess.

    A large mail provider presses the button for all its users from few addresses.
    """
    found = unsubscribing.read_token(incoming.args.get("token", ""), tokens.policy().secrets)
    if found is None:
        rate_limits.check_address(incoming)
    else:
        rate_limits.check_user(incoming, str(found[0]))


@bp.get("/unsubscribe")
@_counted
def ask_about_letters(query: dict[str, str], _form: bytes) -> str:
    """Show which letters the link turns off. This changes nothing, because mail scanners follow links."""
    _, types = _letters_of(query["token"])
    return render_template("unsubscribe.html", kinds=[_LETTERS_ABOUT[type_] for type_ in types], is_done=False)


@bp.post("/unsubscribe")
@_counted
def turn_letters_off(query: dict[str, str], _form: bytes) -> str:
    """Turn these letters off, by the button of the page or of a mail program (RFC 8058). Repeats do no harm."""
    user_id, types = _letters_of(query["token"])
    if not service.turn_off(user_id, types):
        raise NotFound("This link belongs to nobody's letters.")
    return render_template("unsubscribe.html", kinds=[_LETTERS_ABOUT[type_] for type_ in types], is_done=True)


def _letters_of(token: str) -> tuple[ObjectId, list[EventType]]:
    found = unsubscribing.read_token(token, tokens.policy().secrets)
    if found is None:
        raise NotFound("The link is incomplete or too old. Letters can be turned off in the settings.")
    return found


def _assets() -> Assets:
    return assets(current_app.config["DEFAULT_CURRENCY"])


def _address_of(name: str) -> str:
    return url_for("web.asset", version=_assets().hash, name=name)


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
