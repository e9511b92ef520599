"""Open accounts, read them, rename them, close them."""

from http import HTTPStatus
from typing import Any

from bson import ObjectId
from flask import current_app, url_for

from app.accounts import service
from app.accounts.schemas import (
    AccountAnswerSchema,
    AccountBalanceSchema,
    AccountListSchema,
    BalanceQuerySchema,
    CloseAccountSchema,
    CreateAccountSchema,
    RenameAccountSchema,
)
from app.auth.roles import reads_everything
from app.auth.tokens import TOKEN_PROBLEMS, current_act, current_user_id, token_required
from app.errors import (
    AccountNotEmpty,
    AccountNotFound,
    IdempotencyKeyReused,
    InvalidStatusTransition,
    LedgerBusy,
    ValidationFailed,
)
from app.http.blueprint import Blueprint
from app.http.described import LOCATION
from app.http.parsing import BODY_PROBLEMS
from app.http.problems import REPLAYED_HEADER
from app.ledger.records import AccountStatus

bp = Blueprint("accounts", __name__, url_prefix="/api/accounts", description="Where money is")


@bp.post("/create")
@token_required
@bp.keyed_arguments(CreateAccountSchema(), key_required=False, example={"currency": "INR", "name": "Savings"})
@bp.response(201, AccountAnswerSchema(), headers=LOCATION)
@bp.replays(AccountAnswerSchema())
@bp.refusals(*TOKEN_PROBLEMS, *BODY_PROBLEMS, IdempotencyKeyReused, LedgerBusy)
def create_account(body: dict[str, Any]) -> Any:
    """Open an account.

    Without a currency it has the bank's own. A user has at most 1,000 accounts, closed ones included. Under an
    idempotency key it is opened once.
    """
    viewer, currency = current_user_id(), body.get("currency", current_app.config["DEFAULT_CURRENCY"])
    # Read before the account is opened. If it failed afterwards, the account would seem not to exist.
    sees_all = reads_everything(viewer)
    account, replayed = service.open_account_once(
        user_id=viewer, currency=currency, name=body.get("name"), key=body.get("idempotency_key"), asked=body
    )
    answer = {"account": service.as_seen(account, sees_all=sees_all)}
    if replayed:
        return answer, HTTPStatus.OK, {REPLAYED_HEADER: "true"}
    return answer, HTTPStatus.CREATED, {"Location": url_for("accounts.get_account", account_id=account["_id"])}


@bp.get("")
@token_required
@bp.reads_ahead(service.accounts_ahead)
@bp.response(200, AccountListSchema())
@bp.refusals(*TOKEN_PROBLEMS)
def list_accounts() -> dict[str, Any]:
    """List the user's accounts.

    They come with their balances, oldest first, closed ones included.
    """
    return {"accounts": service.list_accounts(user_id=current_user_id())}


@bp.get("/<account:account_id>")
@token_required
@bp.reads_ahead(service.shown_account_ahead)
@bp.response(200, AccountAnswerSchema())
@bp.refusals(*TOKEN_PROBLEMS, AccountNotFound)
def get_account(account_id: ObjectId) -> dict[str, Any]:
    """Return one account.

    Owners may read their own, administrators all. Somebody else's is not found.
    """
    return {"account": service.get_account(account_id, viewer=current_user_id())}


@bp.patch("/<account:account_id>")
@token_required
@bp.arguments(RenameAccountSchema(), example={"name": "Holidays"})
@bp.response(200, AccountAnswerSchema())
@bp.refusals(*TOKEN_PROBLEMS, *BODY_PROBLEMS, AccountNotFound)
def rename_account(body: dict[str, Any], account_id: ObjectId) -> dict[str, Any]:
    """Rename an account.

    Only its owner can. The name is for people and need not be unique.
    """
    return {"account": service.rename_account(account_id, user_id=current_user_id(), name=body["name"])}


@bp.post("/<account:account_id>/close")
@token_required
@bp.arguments(CloseAccountSchema(), required=False, example={"reason": "Moved to another bank"})
@bp.response(200, AccountAnswerSchema())
@bp.refusals(*TOKEN_PROBLEMS, *BODY_PROBLEMS, AccountNotFound, AccountNotEmpty, InvalidStatusTransition, LedgerBusy)
def close_account(body: dict[str, Any], account_id: ObjectId) -> dict[str, Any]:
    """Close an account for ever.

    It needs a balance of zero and no open holds. The body may be left out.
    """
    act = current_act(body.get("reason"))
    return {"account": service.change_status(account_id, AccountStatus.CLOSED, act=act, owner=current_user_id())}


@bp.get("/<account:account_id>/balance")
@token_required
@bp.reads_ahead(service.balance_ahead)
@bp.arguments(BalanceQuerySchema(), location="query")
@bp.response(200, AccountBalanceSchema())
@bp.refusals(*TOKEN_PROBLEMS, AccountNotFound, ValidationFailed)
def get_balance(query: dict[str, Any], account_id: ObjectId) -> dict[str, Any]:
    """Return the balance of an account.

    It is the balance after the newest entry, or with `at` the balance at that time.
    """
    return service.get_balance(account_id, viewer=current_user_id(), **query)
