"""Manage users and accounts, read the audit log, and add up the ledger."""

from typing import Any

from bson import ObjectId
from flask import current_app

from app.accounts import service as accounts
from app.accounts.schemas import AccountAnswerSchema
from app.admin import repository, service
from app.admin.schemas import (
    AccountPageSchema,
    AccountQuerySchema,
    AuditPageSchema,
    AuditQuerySchema,
    ChangeRoleSchema,
    ChangeStatusSchema,
    MessageAnswerSchema,
    OutboxPageSchema,
    OutboxQuerySchema,
    StatusSchema,
    TrialBalanceSchema,
    UserPageSchema,
    UserQuerySchema,
)
from app.auth.roles import MAY_ADMINISTER, MAY_CHANGE_ROLES, Role
from app.auth.schemas import UserAnswerSchema
from app.auth.tokens import TOKEN_PROBLEMS, current_act, current_user_id, role_required
from app.errors import (
    AccountNotEmpty,
    AccountNotFound,
    Forbidden,
    InvalidStatusTransition,
    LedgerBusy,
    NotFound,
    UserNotFound,
)
from app.http.blueprint import Blueprint
from app.http.paging import PAGE_PROBLEMS, read_page
from app.http.parsing import BODY_PROBLEMS
from app.ledger.proof import trial_balance as proof
from app.ledger.records import AccountStatus
from app.outbox import overview
from app.outbox.messages import MessageState
from app.runtime import heavy

bp = Blueprint("admin", __name__, url_prefix="/api/admin", description="Running the bank")

administrators_only = role_required(*MAY_ADMINISTER)
ADMIN_PROBLEMS = (*TOKEN_PROBLEMS, Forbidden)


def _position(item: dict[str, Any]) -> list[Any]:
    return [item["created_at"], item["_id"]]


@bp.get("/users")
@administrators_only
@bp.arguments(UserQuerySchema(), location="query")
@bp.response(200, UserPageSchema())
@bp.refusals(*ADMIN_PROBLEMS, *PAGE_PROBLEMS)
def list_users(query: dict[str, Any]) -> dict[str, Any]:
    """List users, or search them.

    They come newest first. A search finds ids, then starts of names, then starts of e-mail addresses.
    """
    page, filters = read_page("admin_users", query)
    if "q" not in filters:
        users = repository.find_users(after=page.after, limit=page.fetch)
        return page.answer("users", users, _position)
    search = service.search_for(filters["q"])
    users = repository.search_users(search, after=page.after, limit=page.fetch)
    return page.answer("users", users, lambda user: repository.search_position(search, user))


@bp.patch("/users/<id:user_id>/role")
@role_required(*MAY_CHANGE_ROLES)
@bp.arguments(ChangeRoleSchema(), example={"role": "ADMIN", "reason": "Joined the operations team"})
@bp.response(200, UserAnswerSchema())
@bp.refusals(*ADMIN_PROBLEMS, *BODY_PROBLEMS, UserNotFound, LedgerBusy)
def change_role(body: dict[str, Any], user_id: ObjectId) -> dict[str, Any]:
    """Give a user another role.

    Nobody can change their own role or that of the last SYSTEM user. The change is in the audit log.
    """
    return {"user": service.change_role(user_id, Role(body["role"]), act=current_act(body.get("reason")))}


@bp.get("/accounts")
@administrators_only
@bp.arguments(AccountQuerySchema(), location="query")
@bp.response(200, AccountPageSchema())
@bp.refusals(*ADMIN_PROBLEMS, *PAGE_PROBLEMS)
def list_all_accounts(query: dict[str, Any]) -> dict[str, Any]:
    """List all accounts.

    They come with their owners and balances, newest first, the bank's own included.
    """
    page, filters = read_page("admin_accounts", query)
    found, stop = repository.find_accounts(service.account_filters(filters), after=page.after, limit=page.fetch)
    return page.answer("accounts", accounts.with_balances(found), _position, stop=stop)


@bp.patch("/accounts/<account:account_id>/status")
@administrators_only
@bp.arguments(ChangeStatusSchema(), example={"status": "FROZEN", "reason": "Reported stolen"})
@bp.response(200, AccountAnswerSchema())
@bp.refusals(*ADMIN_PROBLEMS, *BODY_PROBLEMS, AccountNotFound, AccountNotEmpty, InvalidStatusTransition, LedgerBusy)
def change_account_status(body: dict[str, Any], account_id: ObjectId) -> dict[str, Any]:
    """Freeze, unfreeze or close an account.

    A frozen account moves no money. Closing needs a balance of zero and is final. The change is in the audit log, and
    the owner gets a mail.
    """
    status, act = AccountStatus(body["status"]), current_act(body["reason"])
    return {"account": accounts.change_status(account_id, status, act=act)}


@bp.get("/audit-log")
@administrators_only
@bp.arguments(AuditQuerySchema(), location="query")
@bp.response(200, AuditPageSchema())
@bp.refusals(*ADMIN_PROBLEMS, *PAGE_PROBLEMS)
def list_audit_records(query: dict[str, Any]) -> dict[str, Any]:
    """List the records of the audit log.

    They say who did what to what, when, why and from where, newest first.
    """
    named = service.audit_filters({name: text for name, text in query.items() if name in ("subject", "actor")})
    page, filters = read_page("audit_log", {**query, **named})
    records, stop = repository.find_audit_records(filters, after=page.after, limit=page.fetch)
    return page.answer("records", records, lambda record: [record["at"], record["_id"]], stop=stop)


@bp.get("/outbox")
@administrators_only
@bp.arguments(OutboxQuerySchema(), location="query")
@bp.response(200, OutboxPageSchema())
@bp.refusals(*ADMIN_PROBLEMS, *PAGE_PROBLEMS)
def list_outbox(query: dict[str, Any]) -> dict[str, Any]:
    """List the messages that wait for delivery by mail, or were sent within 30 days.

    They come newest first, and never with their text. All messages of one block of postings are one item of the kind
    `block`, for all of its readers. Those that cannot be sent get items of their own.
    """
    page, filters = read_page("outbox", query)
    state = MessageState(filters["state"]) if "state" in filters else None
    found, stop = overview.find_messages(state, after=page.after, limit=page.fetch)
    return page.answer("messages", found, lambda message: message["_id"], stop=stop)


@bp.post("/outbox/<id:message_id>/retry")
@administrators_only
@bp.response(202, MessageAnswerSchema())
@bp.refusals(*ADMIN_PROBLEMS, NotFound, LedgerBusy)
def retry_message(message_id: ObjectId) -> Any:
    """Make a message due at once.

    A message that waits or was given up is tried again, with its attempts counted from zero. One that was sent, or is
    just being sent, stays as it is. The retry is in the audit log.
    """
    return {"message": service.retry_message(message_id, act=current_act())}


@bp.get("/status")
@administrators_only
@bp.response(200, StatusSchema())
@bp.refusals(*ADMIN_PROBLEMS)
def get_status() -> dict[str, Any]:
    """Return the state of the bank.

    It has the postings and declines of the last minutes, the mail and holds that wait, and the numbers of users and
    accounts.
    """
    return {"version": current_app.config["API_VERSION"], **service.status()}


@bp.get("/trial-balance")
@administrators_only
@bp.response(200, TrialBalanceSchema())
@bp.refusals(*ADMIN_PROBLEMS)
def get_trial_balance() -> dict[str, Any]:
    """Add up the whole ledger.

    The sums are by currency and all of one moment. In a sound ledger debits equal credits.
    """
    with heavy.documents.turn(current_user_id()):
        return proof.trial_balance()
