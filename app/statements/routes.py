"""Journals of accounts, and statements of them."""

from typing import Any

from bson import ObjectId
from flask import Response, request
from marshmallow import INCLUDE

from app.accounts.service import readable_account
from app.auth.tokens import TOKEN_PROBLEMS, current_user_id, token_required
from app.errors import AccountNotFound, ValidationFailed
from app.http.blueprint import Blueprint
from app.http.paging import PAGE_PROBLEMS, read_page
from app.http.parsing import BODY_PROBLEMS
from app.statements import pdf, queries, render, service, verification
from app.statements.schemas import (
    ClaimedStatementSchema,
    EntryListSchema,
    EntryQuerySchema,
    StatementQuerySchema,
    StatementSchema,
    VerdictSchema,
)
from app.statements.verification import Difference, Verdict

bp = Blueprint("statements", __name__, url_prefix="/api", description="What the ledger says")

_FORMATS = {
    "json": ("application/json", render.as_json),
    "csv": ("text/csv", render.as_csv),
    "pdf": ("application/pdf", pdf.as_pdf),
}
_BY_MEDIA_TYPE = {media_type: name for name, (media_type, _) in _FORMATS.items()}
_CLAIM_EXAMPLE: dict[str, Any] = {
    "accountId": "6560a1b2c3d4e5f601234567",
    "name": None,
    "currency": "INR",
    "from": "2026-11-01T00:00:00.000Z",
    "to": "2026-11-22T16:00:00.123Z",
    "openingBalance": 1_000,
    "totalCredits": 0,
    "totalDebits": 0,
    "closingBalance": 1_000,
    "firstSequence": None,
    "lastSequence": None,
    "lastHash": "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab",
    "entries": [],
}
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


@bp.post("/statements/verify")
@token_required
@bp.arguments(ClaimedStatementSchema(), unknown=INCLUDE, example=_CLAIM_EXAMPLE)
@bp.response(200, VerdictSchema())
@bp.refusals(*TOKEN_PROBLEMS, *BODY_PROBLEMS, AccountNotFound)
def verify_statement(body: dict[str, Any]) -> Verdict:
    """Tell whether a JSON statement is genuine and complete, and name the first entry that is not.

    Entries can join the last 60 seconds of a period after its statement was drawn up: there, none is missed that comes
    after the statement's last. The body may have up to 4 MiB.
    """
    account_id, claimed = body["account_id"], body["claimed"]
    true = service.draw_up_again(
        account_id,
        current_user_id(),
        from_time=body["from_time"],
        to_time=body["to_time"],
        last_sequence=verification.last_sequence(claimed),
        last_hash=verification.last_hash(claimed),
    )
    at = queries.find_break(account_id, true.span)
    broken = Difference(at["sequence"], "hash", "an intact journal", at["hash"].hex()) if at else None
    return verification.compare(claimed, render.head_as_json(true), render.entries_as_json(true), broken)
