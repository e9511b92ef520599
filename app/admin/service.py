"""Running the bank: who may do what, and finding users and accounts."""

import heapq
from collections.abc import Iterable
from datetime import UTC, datetime
from operator import itemgetter

import pymongo
from bson import ObjectId
from pymongo.client_session import ClientSession

from app import audit, mongo
from app.acts import Act
from app.addresses import email_beginning
from app.admin import repository
from app.auth.roles import MAY_CHANGE_ROLES, Role
from app.auth.service import find_user, name_key
from app.clock import whole_milliseconds
from app.errors import Forbidden, UserNotFound
from app.fields import read_id
from app.ledger.records import AccountKind, EntryType
from app.mongo import Document

# Below the five minutes for which MongoDB keeps what a snapshot reads.
TRIAL_BALANCE_TIMEOUT_S = 120.0
_SUMS = ("total_debits", "total_credits", "treasury_balance", "customer_balance", "accounts")
_BALANCE_OF = {AccountKind.TREASURY.value: "treasury_balance", AccountKind.CUSTOMER.value: "customer_balance"}
_TOTAL_OF = {EntryType.DEBIT.value: "total_debits", EntryType.CREDIT.value: "total_credits"}
# Where entries are counted that somebody forged for an account that does not exist: ISO 4217 for no currency.
_UNKNOWN_ACCOUNT: Document = {"account": None, "currency": "XXX", "kind": AccountKind.CUSTOMER.value}


def change_role(user_id: ObjectId, role: Role, *, act: Act) -> Document:
    """Give a user another role and return the user.

    Raises UserNotFound, and Forbidden for one's own role, for the last SYSTEM user's
    and for an actor who is not a SYSTEM user any more. A role the user has already
    is no change and leaves no record.
    """
    if act.actor == user_id:
        raise Forbidden("Nobody changes their own role.")

    def block(session: ClientSession) -> Document:
        user = repository.find_user(user_id, session)
        if user is None:
            raise UserNotFound
        _check_may_change_roles(act, session)
        before = Role(user["role"])
        if before is role:
            return user
        if before is Role.SYSTEM and not repository.vouch_for_demotion(user_id, before, session):
            raise Forbidden("This is the last user with the role SYSTEM.")
        changed = repository.set_role(user_id, role.value, session)
        assert changed is not None
        record = audit.audit_record(
            act,
            "role_changed",
            user_id,
            at=whole_milliseconds(datetime.now(UTC)),
            before={"role": before.value},
            after={"role": role.value},
        )
        audit.insert_audit_records([record], session)
        return changed

    return mongo.atomically(block)


def _check_may_change_roles(act: Act, session: ClientSession) -> None:
    # The request was let in a moment ago. A demotion that has come in between counts.
    if isinstance(act.actor, ObjectId):
        actor = repository.find_user(act.actor, session)
        if actor is None or actor["role"] not in MAY_CHANGE_ROLES:
            raise Forbidden(f"This needs the role {' or '.join(MAY_CHANGE_ROLES)}.")


def search_for(text: str) -> repository.Search:
    """Return a search for users by a text, in which upper and lower case are the same."""
    return repository.Search(read_id(text), name_key(text), email_beginning(text))


def account_filters(filters: Document) -> Document:
    """Return the filters of a list of accounts with the user, given by id or e-mail address, as an id."""
    if "user" not in filters:
        return filters
    user = find_user(filters["user"])
    # A new id is nobody's, so nothing is found.
    return {**filters, "user": user["_id"] if user else ObjectId()}


def audit_filters(filters: Document) -> Document:
    """Return the filters of the audit log with what is an id as one. Who has no id goes by a name."""
    return {name: read_id(text) or text for name, text in filters.items()}


def trial_balance() -> Document:
    """Return the sums of the whole ledger by currency, all of one moment, and whether they balance.

    It reads every entry, at about 3 seconds for a million of them, and so has a time
    limit of its own; raises PyMongoError beyond it.
    """
    with mongo.moment() as session, pymongo.timeout(TRIAL_BALANCE_TIMEOUT_S):
        rows = heapq.merge(
            repository.read_accounts(session),
            repository.read_balances(session),
            repository.sum_entries(session),
            key=itemgetter("account"),
        )
        by_currency = _add_up(rows)
    currencies = [by_currency[currency] for currency in sorted(by_currency)]
    return {"currencies": currencies, "balanced": all(_is_balanced(sums) for sums in currencies)}


def _add_up(rows: Iterable[Document]) -> dict[str, Document]:
    """Return the sums by currency of rows in the order of their accounts, each account's own row first."""
    by_currency: dict[str, Document] = {}
    account = _UNKNOWN_ACCOUNT
    for row in rows:
        if "currency" in row:
            account = row
        elif row["account"] != account["account"]:
            account = _UNKNOWN_ACCOUNT
        currency = account["currency"]
        sums = by_currency.setdefault(currency, {"currency": currency, **dict.fromkeys(_SUMS, 0)})
        if "balance" in row:
            sums["accounts"] += 1
            sums[_BALANCE_OF[account["kind"]]] += row["balance"]
        elif "total" in row:
            sums[_TOTAL_OF[row["type"]]] += row["total"]
    return by_currency


def _is_balanced(sums: Document) -> bool:
    """Tell whether what was debited was credited, and the balances in the accounts say so too."""
    debits_are_credits: bool = sums["total_debits"] == sums["total_credits"]
    return debits_are_credits and sums["treasury_balance"] + sums["customer_balance"] == 0
