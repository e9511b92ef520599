"""Turns requests into ledger commands, posts them, and reads transactions as a viewer may see them."""

import secrets
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from datetime import timedelta
from operator import attrgetter
from typing import Any

import structlog
from bson import ObjectId

from app import clock, ledger, mongo
from app.accounts.service import account_ahead, own_account_ids, with_ids
from app.acts import Act
from app.auth.roles import MAY_FUND, MAY_REVERSE, MAY_SETTLE_ANY_HOLD, reads_everything
from app.errors import PROBLEMS, AccountNotFound, TransactionNotFound
from app.ledger import is_for_everybody
from app.ledger.commands import Batch, Capture, Command, Expire, Hold, Reversal, Transfer, Void
from app.ledger.fingerprints import fingerprint
from app.ledger.records import Account, Outcome, Transaction, TransactionKind, TransactionStatus, item_key, treasury_id
from app.mongo import Document, leases, together
from app.mongo.lists import Position
from app.statements import queries
from app.transactions import repository

log = structlog.get_logger(__name__)

NO_CURRENCY = ""
# Enough that nobody can try all salts of a record.
SALT_BYTES = 16
SWEEP_LEASE = "expired_holds"
SWEEP_LEASE_DURATION = timedelta(seconds=10)
SWEEP_SIZE_MAX = 200
SWEEP_IDLE_S = 2.0

# Overdue holds that this process could not release. They are skipped, so that the others can be released. A hold is
# tried again when UNWRITABLE_KEPT_MAX later ones have pushed it out, or when the process restarts.
UNWRITABLE_KEPT_MAX = 1_000
_unwritable: deque[ObjectId] = deque(maxlen=UNWRITABLE_KEPT_MAX)

# The owners of accounts whose histories this process has read lately. An account never changes hands.
OWNERS_KEPT_MAX = 10_000
_owners: dict[ObjectId, ObjectId] = {}

Request = Mapping[str, Any]
_ACCOUNTS = ("from_account", "to_account")
_MEMBERS = tuple(each.name for each in fields(Transaction))
_members = attrgetter(*_MEMBERS)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The outcome that a command would have now, and the user's own accounts as it would leave them."""

    outcome: Outcome
    accounts: list[Account]


def about_to_post() -> AbstractContextManager[None]:
    """Return the context of a request that may post; see `ledger.about_to_post`."""
    return ledger.about_to_post()


def post(command: Command) -> Outcome:
    """Post one command and return its outcome. If the outcome has an error, it is one that `journal.decide` names.

    Raises LedgerBusy and PyMongoError like `GroupCommit.post`.
    """
    return ledger.post([command])[0]


def rehearse(command: Command, *, user_id: ObjectId) -> Rehearsal:
    """Return the outcome that posting the command would have, and write nothing, not even its key."""
    outcome, accounts = ledger.rehearse(command)
    return Rehearsal(outcome, [account for account in accounts.values() if account.user == user_id])


def transfer_command(request: Request, *, user_id: ObjectId) -> Transfer:
    """Return the command that moves money from one of the user's accounts to any other in the same currency."""
    (request,) = with_ids([request], *_ACCOUNTS)
    return Transfer(**_keyed("create", request, user_id), **_movement(request), kind=TransactionKind.TRANSFER)


def hold_command(request: Request, *, user_id: ObjectId) -> Hold:
    """Return the command that sets money aside, for the payee to capture within `expires_in` seconds."""
    (request,) = with_ids([request], *_ACCOUNTS)
    lifetime = timedelta(seconds=request["expires_in"])
    return Hold(**_keyed("hold", request, user_id), **_movement(request), lifetime=lifetime)


def fund_command(request: Request, *, user_id: ObjectId, act: Act) -> Transfer:
    """Return the command that moves money from the currency's treasury to a customer's account."""
    (request,) = with_ids([request], *_ACCOUNTS)
    payee = ledger.accounts([request["to_account"]]).get(request["to_account"])
    # Without a payee there is no currency and no treasury. The journal refuses that, after it has checked the key.
    treasury = treasury_id(payee.currency if payee else NO_CURRENCY)
    movement = _movement({**request, "from_account": treasury})
    return Transfer(
        **_keyed("initial-funds", request, user_id),
        **movement,
        kind=TransactionKind.FUNDING,
        act=act.by_right_of(MAY_FUND),
    )


def capture_command(hold_id: ObjectId, request: Request, *, user_id: ObjectId, act: Act | None) -> Capture:
    """Return the command that pays out of a hold, all of it or `amount`, as its payee or, with `act`, as the bank."""
    keyed = _keyed("capture", {"id": hold_id, **request}, user_id)
    return Capture(**keyed, hold=hold_id, amount=request.get("amount"), act=_for_the_bank(act))


def void_command(hold_id: ObjectId, request: Request, *, user_id: ObjectId, act: Act | None) -> Void:
    """Return the command that releases a hold without paying, as its payee or, with `act`, as the bank."""
    keyed = _keyed("void", {"id": hold_id, **request}, user_id)
    return Void(**keyed, hold=hold_id, reason=request.get("reason"), act=_for_the_bank(act))


def reverse_command(transaction_id: ObjectId, request: Request, *, user_id: ObjectId, act: Act) -> Reversal:
    """Return the command that moves a transaction's money back, once, by the right of the user's role."""
    keyed = _keyed("reverse", {"id": transaction_id, **request}, user_id)
    return Reversal(**keyed, original=transaction_id, act=act.by_right_of(MAY_REVERSE))


def _for_the_bank(act: Act | None) -> Act | None:
    return None if act is None else act.by_right_of(MAY_SETTLE_ANY_HOLD)


def batch_command(request: Request, *, user_id: ObjectId) -> Batch:
    """Return the command for several transfers in one block: all or none if `atomic`, otherwise each by itself."""
    request = {**request, "transfers": with_ids(request["transfers"], *_ACCOUNTS)}
    # All at once, because each request for random bytes is a system call.
    salts = secrets.token_bytes(SALT_BYTES * len(request["transfers"]))
    items = tuple(
        Transfer(
            id=ObjectId(),
            user=user_id,
            idempotency_key=item_key(request["idempotency_key"], index),
            fingerprint={},
            salt=salts[SALT_BYTES * index : SALT_BYTES * (index + 1)],
            kind=TransactionKind.TRANSFER,
            **_movement(item),
        )
        for index, item in enumerate(request["transfers"])
    )
    return Batch(**_keyed("batch", request, user_id), items=items, atomic=request["atomic"])


def release_expired_holds() -> float:
    """Release holds that have expired; return after how many seconds to look again. One worker at a time does this."""
    if not ledger.expired_holds(clock.now(), limit=1, besides=_unwritable) or not leases.acquire(
        SWEEP_LEASE, SWEEP_LEASE_DURATION
    ):
        return SWEEP_IDLE_S
    expired = ledger.expired_holds(clock.now(), limit=SWEEP_SIZE_MAX, besides=_unwritable)
    commands = [Expire(hold=hold) for hold in expired]
    try:
        outcomes = ledger.post(commands)
    except Exception as error:
        if not commands or is_for_everybody(error):
            raise
        # One of these holds cannot be written. The others can, if each is posted alone.
        outcomes = [outcome for command in commands for outcome in _release_alone(command)]
    # The primary's clock decides, and some holds may not have expired yet by that.
    released = sum(outcome.error is None for outcome in outcomes)
    return 0.0 if released and len(expired) == SWEEP_SIZE_MAX else SWEEP_IDLE_S


def _release_alone(command: Expire) -> list[Outcome]:
    """Release one hold. If that fails, remember the hold, so that later sweeps skip it."""
    try:
        return ledger.post([command])
    except Exception as error:
        if is_for_everybody(error):
            raise
        log.error("hold_not_released", hold=str(command.hold), exc_info=error)
        _unwritable.append(command.hold)
        return []


def history_ahead(user_id: ObjectId, account_id: ObjectId, *, limit: int | None) -> list[together.Key]:
    """Return the keys of what a history of this account reads. `limit` is that of its first page, or else None.

    The page is read only for whoever owned the account before, because for others the time would tell its length.
    """
    keys = account_ahead(user_id, account_id)
    if limit is not None and _owners.get(account_id) == user_id:
        keys.append(repository.page_ahead(account_id, user=user_id, limit=limit))
    return keys


def find_history(
    viewer: ObjectId, filters: Mapping[str, Any], *, account: Document | None, after: Position | None, limit: int
) -> tuple[Iterator[Document], Position | None]:
    """Return up to `limit` transactions of `account`, or of all accounts of `viewer`, newest first, and a position.

    The transactions, `filters` and the position are those of `repository.find_history`. A user's own history has only
    the declined transactions that the user initiated, because a declined one moved nothing, and its payee must not
    learn what the payer has.
    """
    accounts = [account["_id"]] if account else own_account_ids(viewer)
    is_own = account is None or account.get("user") == viewer
    if account and is_own:
        if len(_owners) >= OWNERS_KEPT_MAX:
            _owners.clear()
        _owners[account["_id"]] = viewer
    declines_of = viewer if is_own else None
    return repository.find_history(accounts, filters, declines_of=declines_of, after=after, limit=limit)


def get_transaction(transaction_id: ObjectId, *, viewer: ObjectId) -> Transaction:
    """Return a transaction to which `viewer` is a party, or any if `viewer` is an admin; raises TransactionNotFound.

    A declined transaction is shown only to its initiator and to admins.
    """
    transaction = repository.find_transaction(transaction_id)
    if transaction is not None and _sees(viewer, transaction, _own_accounts(transaction, viewer)):
        return transaction
    if transaction is None:
        # Makes the same read as for somebody else's transaction, so that the time does not tell the two apart.
        ledger.accounts([transaction_id])
    is_reader = reads_everything(viewer)
    if transaction is None or not is_reader:
        raise TransactionNotFound
    return transaction


def get_sides(transaction_id: ObjectId) -> tuple[Transaction, list[Document]]:
    """Return a transaction and all its entries, read at one moment; raises TransactionNotFound.

    Settling a hold changes both, so two separate reads could contradict each other.
    """
    with mongo.moment() as session:
        transaction = repository.find_transaction(transaction_id, session)
        if transaction is None:
            raise TransactionNotFound
        return transaction, queries.find_sides(transaction_id, session)


def get_own_side(transaction_id: ObjectId, *, viewer: ObjectId) -> tuple[Document, list[Document]]:
    """Return a transaction as `viewer` may see it, with the entries on their own accounts, read at one moment.

    An admin who is not a party gets all entries. Raises TransactionNotFound for any other viewer who is not a party,
    and if the transaction was declined and somebody else initiated it.
    """
    transaction, entries = get_sides(transaction_id)
    own = _own_accounts(transaction, viewer)
    if not _sees(viewer, transaction, own) and not reads_everything(viewer):
        raise TransactionNotFound
    seen = [entry for entry in entries if entry["account"] in own] if own else entries
    return as_seen_by(viewer, transaction), seen


def get_side(transaction_id: ObjectId, account_id: ObjectId) -> tuple[Document, list[Document]]:
    """Return a transaction as the owner of one of its accounts may see it, with the entries on that account.

    Both are read at one moment. Raises TransactionNotFound, also if the transaction was declined and somebody else
    initiated it, and AccountNotFound if the account is not a party.
    """
    transaction, entries = get_sides(transaction_id)
    if account_id not in (transaction.from_account, transaction.to_account):
        raise AccountNotFound("This account is not a party to the transaction.")
    owner = ledger.accounts([account_id])[account_id].user
    if not _sees(owner, transaction, {account_id}):
        raise TransactionNotFound(
            "The transaction was declined. Only its initiator may see it, and this account's owner is somebody else."
        )
    return as_seen_by(owner, transaction), [entry for entry in entries if entry["account"] == account_id]


def as_seen_by(viewer: ObjectId | None, transaction: Transaction) -> Document:
    """Return the members of a transaction as the viewer may see them. None stands for no particular viewer."""
    failure = transaction.failure
    members = dict(zip(_MEMBERS, _members(transaction), strict=True))
    members["failure"] = None if failure is None else {"code": failure.code, "detail": failure.detail}
    return members_as_seen_by(viewer, members)


def members_as_seen_by(viewer: ObjectId | None, members: Document) -> Document:
    """Return the members of a transaction, changed to what the viewer may see.

    Only the initiator sees the idempotency key, and the detail of a failure, because that can name the payer's balance.
    """
    if members["user"] != viewer:
        members["idempotency_key"] = None
        failure = members.get("failure")
        if failure is not None and members["status"] == TransactionStatus.FAILED:
            members["failure"] = {**failure, "detail": PROBLEMS[failure["code"]].title}
    return members


def _keyed(call: str, request: Request, user_id: ObjectId) -> dict[str, Any]:
    return {
        "id": ObjectId(),
        "user": user_id,
        "idempotency_key": request["idempotency_key"],
        "fingerprint": fingerprint(call, request),
        "salt": secrets.token_bytes(SALT_BYTES),
    }


def _movement(request: Request) -> dict[str, Any]:
    return {
        "from_account": request["from_account"],
        "to_account": request["to_account"],
        "amount": request["amount"],
        "description": request.get("description"),
        "metadata": request.get("metadata"),
    }


def _sees(viewer: ObjectId | None, transaction: Transaction, own: Collection[ObjectId]) -> bool:
    """Tell whether a viewer who owns the accounts `own` of a transaction may see it.

    A declined transaction moved nothing, and its record tells what the payer tried, so only its initiator sees it.
    That its id is unknown to others would not protect it, because ids are counted up and can be guessed.
    """
    return bool(own) and (transaction.status is not TransactionStatus.FAILED or transaction.user == viewer)


def _own_accounts(transaction: Transaction, user_id: ObjectId) -> set[ObjectId]:
    """Return which of the transaction's accounts are the user's."""
    parties = ledger.accounts([transaction.from_account, transaction.to_account])
    return {account.id for account in parties.values() if account.user == user_id}
