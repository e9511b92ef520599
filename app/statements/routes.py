"""Journals of accounts, and statements of them."""

from collections.abc import Generator
from typing import Any

from bson import ObjectId
from flask import Response, request

from app.accounts.service import account_ahead, readable_account
from app.auth.tokens import TOKEN_PROBLEMS, current_user_id, token_required
from app.errors import AccountNotFound, ValidationFailed
from app.http import streams
from app.http.accept import preferred
from app.http.blueprint import Blueprint
from app.http.described import ATTACHMENT
from app.http.paging import PAGE_PROBLEMS, read_page
from app.http.parsing import BODY_PROBLEMS
from app.http.results import JSON
from app.runtime import heavy
from app.runtime.heavy import Work
from app.statements import queries, render, service, verdicts
from app.statements.press import press
from app.statements.schemas import (
    EXAMPLE_STATEMENT,
    BalanceHistorySchema,
    ClaimedStatementSchema,
    EntryPageSchema,
    EntryQuerySchema,
    HistoryQuerySchema,
    PeriodQuerySchema,
    StatementQuerySchema,
    StatementSchema,
    VerdictSchema,
)
from app.statements.service import Period

bp = Blueprint("statements", __name__, url_prefix="/api", description="What the ledger says")

_MEDIA_TYPES = {"json": "application/json", "csv": "text/csv", "pdf": "application/pdf"}
_BY_MEDIA_TYPE = {media_type: name for name, media_type in _MEDIA_TYPES.items()}
# Bytes, so that generated clients do not decode them.
_FILE = {"type": "string", "format": "binary"}
# A statement with more entries than this is heavy work, and drawn up by the press. JSON or CSV with fewer takes a few
# hundredths of a second. A PDF is always heavy work.
LIGHT_ENTRIES_MAX = 1_000


@bp.get("/accounts/<account:account_id>/entries")
@token_required
@bp.reads_ahead(account_ahead)
@bp.arguments(EntryQuerySchema(), location="query")
@bp.response(200, EntryPageSchema())
@bp.refusals(*TOKEN_PROBLEMS, *PAGE_PROBLEMS, AccountNotFound)
def list_entries(query: dict[str, Any], account_id: ObjectId) -> dict[str, Any]:
    """List the entries of an account's journal.

    They come newest first, each with the balance after it.
    """
    readable_account(account_id, current_user_id())
    page, filters = read_page("entries", query, account=account_id)
    found, stop = queries.find_entries(account_id, filters, after=page.after, limit=page.fetch)
    return page.answer("entries", found, position=lambda entry: entry["sequence"], stop=stop)


@bp.get("/accounts/<account:account_id>/balance/history")
@token_required
@bp.arguments(HistoryQuerySchema(), location="query")
@bp.response(200, BalanceHistorySchema())
@bp.refusals(*TOKEN_PROBLEMS, AccountNotFound, ValidationFailed)
def get_balance_history(query: dict[str, Any], account_id: ObjectId) -> dict[str, Any]:
    """Return how an account's balance changed over a period.

    For charts: the balance at the start, at the end, and at moments evenly spread in between.
    """
    return service.balance_history(account_id, current_user_id(), **query)


@bp.get("/accounts/<account:account_id>/statement")
@token_required
@bp.arguments(StatementQuerySchema(), location="query")
@bp.response(200, StatementSchema())
@bp.refusals(*TOKEN_PROBLEMS, AccountNotFound, ValidationFailed)
def get_statement(query: dict[str, Any], account_id: ObjectId) -> Response:
    """Return the statement of a period.

    By default the period is this calendar month until now. Calls by hand can also get CSV or PDF here, by
    `?format=csv` and `?format=pdf` or by `Accept`. Generated clients have separate calls for these files.
    """
    media_type = preferred(request.headers.get("Accept", ""), list(_BY_MEDIA_TYPE)) or "application/json"
    return _statement(query.pop("format", None) or _BY_MEDIA_TYPE[media_type], query, account_id)


@bp.get("/accounts/<account:account_id>/statement.csv")
@token_required
@bp.arguments(PeriodQuerySchema(), location="query")
@bp.response(200, _FILE, content_type="text/csv", headers=ATTACHMENT)
@bp.refusals(*TOKEN_PROBLEMS, AccountNotFound, ValidationFailed)
def get_statement_csv(query: dict[str, Any], account_id: ObjectId) -> Response:
    """Return the statement of a period as a CSV file.

    It has one line for each entry, with its hash. Amounts are decimals of the main unit.
    """
    return _statement("csv", query, account_id)


@bp.get("/accounts/<account:account_id>/statement.pdf")
@token_required
@bp.arguments(PeriodQuerySchema(), location="query")
@bp.response(200, _FILE, content_type="application/pdf", headers=ATTACHMENT)
@bp.refusals(*TOKEN_PROBLEMS, AccountNotFound, ValidationFailed)
def get_statement_pdf(query: dict[str, Any], account_id: ObjectId) -> Response:
    """Return the statement of a period as a PDF file.

    It has at most 100,000 entries.
    """
    return _statement("pdf", query, account_id)


@bp.post("/statements/verify")
@token_required
@bp.unparsed_argument(ClaimedStatementSchema(), example=EXAMPLE_STATEMENT)
@bp.response(200, VerdictSchema())
@bp.refusals(*TOKEN_PROBLEMS, *BODY_PROBLEMS, AccountNotFound)
def verify_statement(body: bytes) -> Response:
    """Tell whether a JSON statement is genuine and complete, and name the first difference.

    Values are compared, not their spelling. Entries may be added to the last 60 seconds of a period after its statement
    was drawn up. The statement is then still genuine but not complete, and `joinedLater` counts these entries. The body
    may have up to 4 MiB, the period 100,000 entries.
    """
    viewer = current_user_id()
    with heavy.documents.turn(viewer) as work:
        verdict = verdicts.judge_if_light(body, viewer) or press.verdict(body, viewer, work.pause)
    return Response(verdict, content_type=JSON)


def _statement(name: str, query: dict[str, Any], account_id: ObjectId) -> Response:
    viewer, media_type = current_user_id(), _MEDIA_TYPES[name]
    period = service.find_period(account_id, viewer, **query)
    if name != "pdf" and period.span.size <= LIGHT_ENTRIES_MAX:
        write = render.as_json if name == "json" else render.as_csv
        response = Response(b"".join(write(service.draw_up(period))), mimetype=media_type)
    else:
        work = heavy.documents.admit(viewer)
        response = streams.answer(_printed(name, period, work), work, mimetype=media_type)
    if name != "json":
        filename = f"{period.title}.{name}"
        response.headers.set("Content-Disposition", "attachment", filename=filename)
    return response


def _printed(name: str, period: Period, work: Work) -> Generator[bytes]:
    # A generator, so that the order is sent in the work's turn.
    yield from press.statement(name, period, work.pause)
