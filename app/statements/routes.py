"""Journals of accounts, and statements of them."""

from typing import Any

from bson import ObjectId
from flask import Response, request

from app.accounts.service import readable_account
from app.auth.tokens import TOKEN_PROBLEMS, current_user_id, token_required
from app.errors import AccountNotFound, ValidationFailed
from app.http import Blueprint
from app.paging import PAGE_PROBLEMS, read_page
from app.statements import pdf, queries, render, service
from app.statements.schemas import EntryListSchema, EntryQuerySchema, StatementQuerySchema, StatementSchema

bp = Blueprint("statements", __name__, url_prefix="/api", description="What the ledger says")

_FORMATS = {
    "json": ("application/json", render.as_json),
    "csv": ("text/csv", render.as_csv),
    "pdf": ("application/pdf", pdf.as_pdf),
}
_BY_MEDIA_TYPE = {media_type: name for name, (media_type, _) in _FORMATS.items()}
_OTHER_CONTENT = {
    "text/csv": {"schema": {"type": "string"}},
    "application/pdf": {"schema": {"type": "string", "contentMediaType": "application/pdf"}},
}


@bp.get("/accounts/<id:account_id>/entries")
@token_required
@bp.arguments(EntryQuerySchema(), location="query")
@bp.response(200, EntryListSchema())
@bp.refusals(*TOKEN_PROBLEMS, *PAGE_PROBLEMS, AccountNotFound)
def list_entries(query: dict[str, Any], account_id: ObjectId) -> dict[str, Any]:
    """List the entries of an account's journal, newest first."""
    readable_account(account_id, current_user_id())
    page, filters = read_page("entries", query, account=account_id)
    found = queries.find_entries(account_id, filters, after=page.after, limit=page.fetch)
    return page.answer("entries", found, position=lambda entry: entry["sequence"])


@bp.get("/accounts/<id:account_id>/statement")
@token_required
@bp.arguments(StatementQuerySchema(), location="query")
@bp.response(200, StatementSchema())
@bp.doc(responses={200: {"content": _OTHER_CONTENT}})
@bp.refusals(*TOKEN_PROBLEMS, AccountNotFound, ValidationFailed)
def get_statement(query: dict[str, Any], account_id: ObjectId) -> Response:
    """Return the statement of a period as JSON, CSV or PDF."""
    name = (
        query.pop("format", None)
        or _BY_MEDIA_TYPE[request.accept_mimetypes.best_match(_BY_MEDIA_TYPE, "application/json")]
    )
    media_type, write = _FORMATS[name]
    statement = service.draw_up(account_id, current_user_id(), **query)
    response = Response(write(statement), mimetype=media_type)
    if name != "json":
        response.headers.set("Content-Disposition", "attachment", filename=f"{statement.title}.{name}")
    return response
