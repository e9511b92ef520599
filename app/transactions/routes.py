"""Move money, and look at what was moved."""

from dataclasses import replace
from typing import Any

from bson import ObjectId

from app.auth.service import Role
from app.auth.tokens import TOKEN_PROBLEMS, current_act, current_user_id, role_required, token_required
from app.errors import (
    PROBLEMS,
    AccountNotActive,
    AccountNotFound,
    AlreadyReversed,
    BalanceLimitExceeded,
    CurrencyMismatch,
    Forbidden,
    IdempotencyKeyReused,
    InsufficientFunds,
    LedgerBusy,
    NotReversible,
    SameAccount,
    TransactionNotFound,
)
from app.http import BODY_PROBLEMS, REPLAYED_HEADER, Blueprint
from app.ledger.records import Outcome, Transaction
from app.transactions import service
from app.transactions.schemas import FundSchema, PostedSchema, ReverseSchema, TransactionAnswerSchema, TransferSchema

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
_REVERSE_EXAMPLE = {"idempotencyKey": "reverse-2026-117", "reason": "Paid twice"}
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


@bp.post("/<id:transaction_id>/reverse")
@role_required(Role.ADMIN, Role.SYSTEM)
@bp.keyed_arguments(ReverseSchema(), example=_REVERSE_EXAMPLE)
@bp.response(201, PostedSchema())
@bp.replays(PostedSchema())
@bp.refusals(
    Forbidden,
    TransactionNotFound,
    AlreadyReversed,
    NotReversible,
    AccountNotActive,
    BalanceLimitExceeded,
    IdempotencyKeyReused,
    InsufficientFunds,
    LedgerBusy,
    *BODY_PROBLEMS,
    *TOKEN_PROBLEMS,
)
def reverse(body: dict[str, Any], transaction_id: ObjectId) -> Any:
    """Move the money of a completed transaction back, once."""
    key, act = body["idempotency_key"], current_act(body["reason"])
    outcome = service.reverse(transaction_id, user_id=current_user_id(), idempotency_key=key, act=act)
    return _posted(outcome, "Transaction reversed.")


@bp.get("/<id:transaction_id>")
@token_required
@bp.response(200, TransactionAnswerSchema())
@bp.refusals(*TOKEN_PROBLEMS, TransactionNotFound)
def get_transaction(transaction_id: ObjectId) -> dict[str, Any]:
    """Return a transaction: to either party, and any to administrators."""
    return {"transaction": _seen(service.get_transaction(transaction_id, viewer=current_user_id()))}


def _posted(outcome: Outcome, message: str) -> Any:
    body = {"message": message, "transaction": outcome.unwrap()}
    return (body, 200, {REPLAYED_HEADER: "true"}) if outcome.replayed else body


def _seen(transaction: Transaction) -> Any:
    """Return the transaction as the current user may see it.

    The key belongs to who chose it, and so does the detail of a failure, which names what the payer has.
    """
    if transaction.user == current_user_id():
        return transaction
    failure = transaction.failure
    if failure is not None:
        failure = replace(failure, detail=PROBLEMS[failure.code].title)
    return replace(transaction, idempotency_key=None, failure=failure)  # type: ignore[arg-type]
