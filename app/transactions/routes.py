"""Move money, and look at what was moved."""

from dataclasses import replace
from typing import Any

from bson import ObjectId

from app.accounts.service import readable_account
from app.auth.service import Role
from app.auth.tokens import TOKEN_PROBLEMS, current_user_id, role_required, token_required
from app.errors import (
    AccountNotActive,
    AccountNotFound,
    BalanceLimitExceeded,
    CurrencyMismatch,
    Forbidden,
    IdempotencyKeyReused,
    InsufficientFunds,
    LedgerBusy,
    SameAccount,
    TransactionNotFound,
)
from app.http import BODY_PROBLEMS, REPLAYED_HEADER, Blueprint
from app.ledger.records import Outcome, Transaction
from app.paging import PAGE_PROBLEMS, read_page
from app.statements import queries
from app.transactions import service
from app.transactions.schemas import (
    FundSchema,
    HistoryQuerySchema,
    PostedSchema,
    TransactionAnswerSchema,
    TransactionListSchema,
    TransferSchema,
)

bp = Blueprint("transactions", __name__, url_prefix="/api/transactions", description="Money on the move")

POSTING_PROBLEMS = (
    AccountNotFound,
    AccountNotActive,
    BalanceLimitExceeded,
    IdempotencyKeyReused,
    LedgerBusy,
    *BODY_PROBLEMS,
    *TOKEN_PROBLEMS,
)
_FUND_EXAMPLE = {
    "toAccount": "6560a1b2c3d4e5f601234568",
    "amount": 10_000,
    "idempotencyKey": "opening-2026-11-22",
    "description": "Opening balance",
}
_TRANSFER_EXAMPLE = {
    "fromAccount": "6560a1b2c3d4e5f601234567",
    "toAccount": "6560a1b2c3d4e5f601234568",
    "amount": 500,
    "idempotencyKey": "rent-2026-11",
    "description": "Rent for November",
    "metadata": {"invoice": "2026-117"},
}


@bp.post("/create")
@token_required
@bp.keyed_arguments(TransferSchema(), example=_TRANSFER_EXAMPLE)
@bp.response(201, PostedSchema())
@bp.replays(PostedSchema())
@bp.refusals(InsufficientFunds, CurrencyMismatch, SameAccount, *POSTING_PROBLEMS)
def create(body: dict[str, Any]) -> Any:
    """Transfer money from an account of the user's to any account in the same currency."""
    return _posted(service.transfer(body, user_id=current_user_id()), "Transfer completed.")


@bp.post("/initial-funds")
@role_required(Role.SYSTEM)
@bp.keyed_arguments(FundSchema(), example=_FUND_EXAMPLE)
@bp.response(201, PostedSchema())
@bp.replays(PostedSchema())
@bp.refusals(Forbidden, *POSTING_PROBLEMS)
def fund(body: dict[str, Any]) -> Any:
    """Credit an account out of its currency's treasury."""
    return _posted(service.fund(body, user_id=current_user_id()), "Initial funds credited.")


@bp.get("")
@token_required
@bp.arguments(HistoryQuerySchema(), location="query")
@bp.response(200, TransactionListSchema())
@bp.refusals(*TOKEN_PROBLEMS, *PAGE_PROBLEMS, AccountNotFound)
def list_transactions(query: dict[str, Any]) -> dict[str, Any]:
    """List the user's transactions, or those of one account, newest first."""
    viewer = current_user_id()
    page, filters = read_page("transactions", query, viewer=viewer)
    account = readable_account(query["account"], viewer) if "account" in query else None
    found = queries.find_history(viewer, filters, account=account, after=page.after, limit=page.fetch)
    return page.answer("transactions", map(_seen, found), position=lambda transaction: transaction.id)


@bp.get("/<id:transaction_id>")
@token_required
@bp.response(200, TransactionAnswerSchema())
@bp.refusals(*TOKEN_PROBLEMS, TransactionNotFound)
def get_transaction(transaction_id: ObjectId) -> dict[str, Any]:
    """Return a transaction to either party."""
    return {"transaction": _seen(service.get_transaction(transaction_id, user_id=current_user_id()))}


def _posted(outcome: Outcome, message: str) -> Any:
    body = {"message": message, "transaction": outcome.unwrap()}
    return (body, 200, {REPLAYED_HEADER: "true"}) if outcome.replayed else body


def _seen(transaction: Transaction) -> Any:
    """Return the transaction as the current user may see it: the key belongs to who chose it."""
    return transaction if transaction.user == current_user_id() else replace(transaction, idempotency_key=None)  # type: ignore[arg-type]
