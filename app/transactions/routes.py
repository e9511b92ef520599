"""Move money, list and read transactions, and get receipts."""

import re
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from itertools import islice
from typing import Any, TypeVar

from bson import ObjectId
from flask import current_app, request, url_for

from app.account_numbers import AccountNumber, WrongCheckDigits, read_number
from app.accounts.service import own_accounts_ahead, readable_account, with_ids
from app.acts import Act
from app.auth.roles import MAY_FUND, MAY_REVERSE, MAY_SETTLE_ANY_HOLD
from app.auth.tokens import TOKEN_PROBLEMS, current_act, current_user, current_user_id, role_required, token_required
from app.errors import (
    AccountNotActive,
    AccountNotFound,
    AlreadyReversed,
    BalanceLimitExceeded,
    CaptureExceedsHold,
    CurrencyMismatch,
    Forbidden,
    HoldNotPending,
    IdempotencyKeyReused,
    InsufficientFunds,
    LedgerBusy,
    NotFound,
    NotReversible,
    SameAccount,
    TransactionNotFound,
)
from app.fields import MALFORMED_ID, read_account
from app.http.blueprint import Blueprint
from app.http.described import LOCATION
from app.http.incoming import current
from app.http.paging import PAGE_PROBLEMS, fetch_ahead, read_page
from app.http.parsing import BODY_PROBLEMS, glance_at_body
from app.http.problems import REPLAYED_HEADER, problem_document
from app.ledger import numbers
from app.ledger.commands import Command
from app.ledger.records import Outcome, Transaction
from app.mongo import together
from app.transactions import receipts, service
from app.transactions.schemas import (
    BATCH_TRANSFERS_MAX,
    BatchAnswerSchema,
    CaptureHoldSchema,
    CreateBatchSchema,
    CreateHoldSchema,
    CreateTransferSchema,
    DryRunSchema,
    FundAccountSchema,
    HistoryQuerySchema,
    PostedSchema,
    ReverseTransactionSchema,
    SignedReceiptSchema,
    TransactionAnswerSchema,
    TransactionPageSchema,
    TransactionSchema,
    VoidHoldSchema,
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
SETTLING_PROBLEMS = (TransactionNotFound, HoldNotPending, Forbidden, *POSTING_PROBLEMS)
_REHEARSED = "Dry run: nothing was written."
_TRANSACTION = TransactionSchema()
# A batch of a thousand numbers has about this many.
GLANCED_AT_BYTES_MAX = 128 * 1024
_WRITTEN_NUMBER = re.compile(rb'"([Ff][Cc][0-9 ]{14,24})"')
Account = TypeVar("Account")
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
_BATCH_EXAMPLE = {
    "idempotencyKey": "salaries-2026-11",
    "atomic": True,
    "transfers": [
        {"fromAccount": "6560a1b2c3d4e5f601234567", "toAccount": "6560a1b2c3d4e5f601234568", "amount": 50_000},
        {"fromAccount": "6560a1b2c3d4e5f601234567", "toAccount": "6560a1b2c3d4e5f601234569", "amount": 65_000},
    ],
}


def _numbers_ahead(_user_id: ObjectId) -> list[together.Key]:
    """Return the keys of the accounts that the body seems to name by their numbers, so that they cost no round trip.

    Numbers that this misses, such as in JSON's escapes or in a long body, are read later.
    """
    body = glance_at_body(request, bytes_max=GLANCED_AT_BYTES_MAX)
    written = {found.decode() for found in islice(_WRITTEN_NUMBER.findall(body), 2 * BATCH_TRANSFERS_MAX)}
    return numbers.ahead({number for each in written if (number := _read(read_number, each)) is not None})


def _read(read: Callable[[str], Account], text: str) -> Account | None:
    try:
        return read(text)
    except WrongCheckDigits:
        # The request is about to be refused because of it.
        return None


@bp.post("/create")
@bp.within(service.about_to_post)
@token_required
@bp.reads_ahead(_numbers_ahead)
@bp.arguments(DryRunSchema(), location="query")
@bp.keyed_arguments(CreateTransferSchema(), example=_TRANSFER_EXAMPLE)
@bp.response(201, PostedSchema(), headers=LOCATION)
@bp.replays(PostedSchema())
@bp.refusals(InsufficientFunds, CurrencyMismatch, SameAccount, *POSTING_PROBLEMS)
def create_transfer(query: dict[str, Any], body: dict[str, Any]) -> Any:
    """Transfer money.

    It goes from one of the user's accounts to any account in the same currency, completely and at once.
    """
    return _posted(service.transfer_command(body, user_id=current_user_id()), "Transfer completed.", **query)


@bp.post("/initial-funds")
@bp.within(service.about_to_post)
@role_required(*MAY_FUND)
@bp.reads_ahead(_numbers_ahead)
@bp.arguments(DryRunSchema(), location="query")
@bp.keyed_arguments(FundAccountSchema(), example=_FUND_EXAMPLE)
@bp.response(201, PostedSchema(), headers=LOCATION)
@bp.replays(PostedSchema())
@bp.refusals(Forbidden, *POSTING_PROBLEMS)
def fund_account(query: dict[str, Any], body: dict[str, Any]) -> Any:
    """Credit an account with initial funds.

    They come from the bank's treasury of the account's currency.
    """
    return _posted(
        service.fund_command(body, user_id=current_user_id(), act=current_act(body.get("description"))),
        "Initial funds credited.",
        **query,
    )


@bp.post("/hold")
@bp.within(service.about_to_post)
@token_required
@bp.reads_ahead(_numbers_ahead)
@bp.arguments(DryRunSchema(), location="query")
@bp.keyed_arguments(CreateHoldSchema(), example={**_TRANSFER_EXAMPLE, "expiresIn": 3600})
@bp.response(201, PostedSchema(), headers=LOCATION)
@bp.replays(PostedSchema())
@bp.refusals(InsufficientFunds, CurrencyMismatch, SameAccount, *POSTING_PROBLEMS)
def create_hold(query: dict[str, Any], body: dict[str, Any]) -> Any:
    """Set money aside for a payee.

    This reduces the available balance but not the balance, until the payee captures or voids the hold, or it expires.
    """
    return _posted(service.hold_command(body, user_id=current_user_id()), "Hold placed.", **query)


@bp.post("/<id:hold_id>/capture")
@bp.within(service.about_to_post)
@token_required
@bp.arguments(DryRunSchema(), location="query")
@bp.keyed_arguments(CaptureHoldSchema(), example={"amount": 400, "idempotencyKey": "capture-2026-117"})
@bp.response(200, PostedSchema())
@bp.refusals(CaptureExceedsHold, *SETTLING_PROBLEMS)
def capture_hold(query: dict[str, Any], body: dict[str, Any], hold_id: ObjectId) -> Any:
    """Pay out of a hold.

    The payee or the bank can do this. The rest of the hold is released.
    """
    command = service.capture_command(hold_id, body, user_id=current_user_id(), act=_act_of_the_bank())
    return _posted(command, "Hold captured.", first_status=HTTPStatus.OK, **query)


@bp.post("/<id:hold_id>/void")
@bp.within(service.about_to_post)
@token_required
@bp.arguments(DryRunSchema(), location="query")
@bp.keyed_arguments(VoidHoldSchema(), example={"idempotencyKey": "void-2026-117", "reason": "Out of stock"})
@bp.response(200, PostedSchema())
@bp.refusals(*SETTLING_PROBLEMS)
def void_hold(query: dict[str, Any], body: dict[str, Any], hold_id: ObjectId) -> Any:
    """Release a hold without paying.

    The payee or the bank can do this.
    """
    command = service.void_command(hold_id, body, user_id=current_user_id(), act=_act_of_the_bank(body.get("reason")))
    return _posted(command, "Hold voided.", first_status=HTTPStatus.OK, **query)


@bp.post("/batch")
@bp.within(service.about_to_post)
@token_required
@bp.reads_ahead(_numbers_ahead)
@bp.arguments(DryRunSchema(), location="query")
@bp.keyed_arguments(CreateBatchSchema(), example=_BATCH_EXAMPLE)
@bp.response(201, BatchAnswerSchema())
@bp.replays(BatchAnswerSchema())
@bp.refusals(InsufficientFunds, CurrencyMismatch, SameAccount, *POSTING_PROBLEMS)
def create_batch(query: dict[str, Any], body: dict[str, Any]) -> Any:
    """Make 1 to 500 transfers.

    They are made in order, in one atomic block. Each may spend money from an earlier one. If an item of an atomic batch
    is refused, the whole batch is. The answer has status 422, the code of the first refused item and its `index`. The
    body may have up to 4 MiB.
    """
    return _posted(service.batch_command(body, user_id=current_user_id()), **query)


@bp.post("/<id:transaction_id>/reverse")
@bp.within(service.about_to_post)
@role_required(*MAY_REVERSE)
@bp.arguments(DryRunSchema(), location="query")
@bp.keyed_arguments(ReverseTransactionSchema(), example=_REVERSE_EXAMPLE)
@bp.response(201, PostedSchema(), headers=LOCATION)
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
def reverse_transaction(query: dict[str, Any], body: dict[str, Any], transaction_id: ObjectId) -> Any:
    """Move the money of a completed transaction back.

    The opposite entries make a transaction of their own. A transaction can be reversed once.
    """
    act = current_act(body["reason"])
    command = service.reverse_command(transaction_id, body, user_id=current_user_id(), act=act)
    return _posted(command, "Transaction reversed.", **query)


def _history_ahead(user_id: ObjectId) -> list[together.Key]:
    """Return the keys of the account that the query names and of its page, or else of the user's accounts."""
    given = current().args
    if "account" not in given:
        return own_accounts_ahead(user_id)
    named = _read(read_account, given["account"])
    if isinstance(named, AccountNumber):
        return numbers.ahead([named])
    return [] if named is None else service.history_ahead(user_id, named, limit=fetch_ahead(given, besides="account"))


@bp.get("")
@token_required
@bp.reads_ahead(_history_ahead)
@bp.arguments(HistoryQuerySchema(), location="query")
@bp.response(200, TransactionPageSchema())
@bp.refusals(*TOKEN_PROBLEMS, *PAGE_PROBLEMS, AccountNotFound)
def list_transactions(query: dict[str, Any]) -> dict[str, Any]:
    """List the user's transactions, or those of one account.

    They come newest first.
    """
    viewer = current_user_id()
    (query,) = with_ids([query], "account")
    page, filters = read_page("transactions", query, viewer=viewer)
    account = readable_account(query["account"], viewer) if "account" in query else None
    found, stop = service.find_history(viewer, filters, account=account, after=page.after, limit=page.fetch)
    return page.answer(
        "transactions",
        (service.members_as_seen_by(viewer, each) for each in found),
        position=lambda transaction: (transaction["created_at"], ObjectId(transaction["id"])),
        stop=stop,
    )


@bp.get("/<id:transaction_id>")
@token_required
@bp.response(200, TransactionAnswerSchema())
@bp.refusals(*TOKEN_PROBLEMS, TransactionNotFound)
def get_transaction(transaction_id: ObjectId) -> dict[str, Any]:
    """Return a transaction.

    Both parties may read it, and administrators all. Only its initiator can read a declined one.
    """
    viewer = current_user_id()
    return {"transaction": service.as_seen_by(viewer, service.get_transaction(transaction_id, viewer=viewer))}


@bp.get("/<id:transaction_id>/receipt")
@token_required
@bp.response(200, SignedReceiptSchema())
@bp.refusals(*TOKEN_PROBLEMS, TransactionNotFound, NotFound)
def get_receipt(transaction_id: ObjectId) -> dict[str, str]:
    """Return a signed receipt.

    It has the transaction and the entries on the caller's own accounts; for an administrator, all entries. Anybody can
    check it with the keys at /.well-known/jwks.json.
    """
    transaction, entries = service.get_own_side(transaction_id, viewer=current_user_id())
    key = current_app.config["RECEIPT_KEY"]
    if key is None:
        raise NotFound("This bank signs no receipts: it has no RECEIPT_KEY.")
    return {"receipt": receipts.sign(transaction_id, _TRANSACTION.dump(transaction), entries, key)}


def _posted(
    command: Command, message: str = "", *, dry_run: bool = False, first_status: HTTPStatus = HTTPStatus.CREATED
) -> Any:
    """Post the command, or rehearse it, and return the answer."""
    if dry_run:
        rehearsal = service.rehearse(command, user_id=current_user_id())
        outcome = rehearsal.outcome
        # A dry run records nothing, so only a repeat has an id, from the first time.
        made = _made(outcome, _REHEARSED, is_recorded=outcome.replayed)
        body = {"dry_run": True, "balances": rehearsal.accounts, **made}
        first_status = HTTPStatus.OK
    else:
        outcome = service.post(command)
        body = _made(outcome, message)
    if outcome.replayed:
        return body, HTTPStatus.OK, {REPLAYED_HEADER: "true"}
    if first_status is HTTPStatus.CREATED and outcome.transaction is not None:
        location = url_for("transactions.get_transaction", transaction_id=outcome.transaction.id)
        return body, first_status, {"Location": location}
    return body, first_status


def _made(outcome: Outcome, message: str, *, is_recorded: bool = True) -> dict[str, Any]:
    """Return the answer's members for an outcome, or raise its refusal. A dry run has the id MALFORMED_ID."""
    if outcome.error is not None and not is_recorded:
        outcome.error.members.pop("transactionId", None)
    outcome.raise_error()
    # Asked once, because a batch has hundreds of results.
    shown = partial(_shown, viewer=current_user_id(), is_recorded=is_recorded)
    if outcome.transaction is not None:
        return {"message": message, "transaction": shown(outcome.transaction)}
    results = [_result(index, item, shown, is_recorded=is_recorded) for index, item in enumerate(outcome.results)]
    return {"results": results}


def _result(
    index: int, item: Outcome, shown: Callable[[Transaction], dict[str, Any]], *, is_recorded: bool
) -> dict[str, Any]:
    if item.error is not None:
        problem = problem_document(item.error)
        if not is_recorded:
            problem.pop("transactionId", None)
        return {"index": index, "problem": problem}
    assert item.transaction is not None
    return {"index": index, "transaction": shown(item.transaction)}


def _shown(transaction: Transaction, *, viewer: ObjectId, is_recorded: bool) -> dict[str, Any]:
    members = service.as_seen_by(viewer, transaction)
    return members if is_recorded else {**members, "id": MALFORMED_ID}


def _act_of_the_bank(reason: str | None = None) -> Act | None:
    return current_act(reason) if current_user()["role"] in MAY_SETTLE_ANY_HOLD else None
