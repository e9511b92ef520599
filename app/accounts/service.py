"""Opening, renaming and closing accounts, and reading them with their balances from the ledger."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from bson import ObjectId
from pymongo.client_session import ClientSession

from app import clock, ledger, mongo
from app.account_numbers import AccountNumber, new_number
from app.accounts import repository
from app.acts import Act
from app.auth.roles import MAY_ADMINISTER, reads_everything, role_ahead
from app.clock import LEEWAY
from app.errors import AccountNotFound, ValidationFailed
from app.ledger.commands import ChangeStatus
from app.ledger.fingerprints import fingerprint as fingerprint_of
from app.ledger.records import AccountKind, AccountStatus, KeyUse, treasury_id
from app.mongo import Document, together
from app.outbox import messages
from app.outbox import repository as outbox

# Bounds the cost of a user's lists and histories, which read all of their accounts, closed ones too.
ACCOUNTS_PER_USER_MAX = 1_000

# Which accounts each user had when they were last listed. This is only a guess at what to read together with the list,
# so that the list takes one round trip. If a user has opened another account since, the balances are read again.
GUESSES_MAX = 10_000
GUESSED_ACCOUNTS_MAX = 20
_listed_last: dict[ObjectId, tuple[ObjectId, ...]] = {}

Result = TypeVar("Result")


def open_account(*, user_id: ObjectId, currency: str, name: str | None) -> Document:
    """Open an account and return it. The first account in a currency also opens the treasury of that currency.

    Raises ValidationFailed if the user has ACCOUNTS_PER_USER_MAX. Blocks that run at the same moment do not see each
    other's accounts, so a user may get a few more. That is harmless, because the limit only keeps reads fast.
    """
    account = _new_account(user_id, currency, name)
    _atomically(lambda session: _open_with_treasury(account, session))
    return account


def open_account_once(
    *, user_id: ObjectId, currency: str, name: str | None, key: str | None, asked: Mapping[str, Any]
) -> tuple[Document, bool]:
    """Open an account under an idempotency key, if one is given.

    Return the account as it was first answered, and whether this is a repeat. `asked` are the fields of the request,
    which must be the same in a repeat. Raises IdempotencyKeyReused if the key was used for anything else, and what
    `open_account` raises.
    """
    if key is None:
        return open_account(user_id=user_id, currency=currency, name=name), False
    account = _new_account(user_id, currency, name)
    fingerprint = fingerprint_of("accounts", asked)

    def block(session: ClientSession) -> ObjectId | None:
        spent = ledger.spent_on(user_id, key, fingerprint, session)
        if isinstance(spent, KeyUse):
            return spent.account
        _open_with_treasury(account, session)
        ledger.spend_key(user_id, key, fingerprint, account=account["_id"], at=account["created_at"], session=session)
        return None

    opened = _atomically(block)
    if opened is None:
        return account, False
    found = repository.find_account(opened)
    # Even if somebody has tampered with the key use, the answer must not show a stranger's account.
    if found is None or found.get("user") != user_id:
        raise RuntimeError(f"A key of user {user_id} was spent on the account {opened}, which is not theirs.")
    return {**found, "name": name, "status": AccountStatus.ACTIVE.value}, True


def _atomically(block: Callable[[ClientSession], Result]) -> Result:
    # The first two accounts in a currency may race to open its treasury, and two requests with one key may race to use
    # it. The loser runs again and finds the treasury or the key. A caller that draws a number that is taken draws
    # again.
    return mongo.atomically(block, is_lost_race=lambda error: mongo.duplicate_key(error) is not None)


def _new_account(user_id: ObjectId, currency: str, name: str | None) -> Document:
    return {
        "_id": ObjectId(),
        "user": user_id,
        "name": name,
        "kind": AccountKind.CUSTOMER.value,
        "currency": currency,
    }


def _open_with_treasury(account: Document, session: ClientSession) -> None:
    limit = ACCOUNTS_PER_USER_MAX
    if repository.count_accounts_of(account["user"], session, limit=limit) >= limit:
        raise ValidationFailed(
            "You have as many accounts as a user may have.",
            errors={"body": [f"A user has at most {limit:,} accounts, closed ones included. Use one that is open."]},
        )
    currency = account["currency"]
    treasury: Document = {
        "_id": treasury_id(currency),
        "name": f"Treasury {currency}",
        "kind": AccountKind.TREASURY.value,
        "currency": currency,
    }
    if not repository.exists(treasury["_id"], session):
        _open(treasury, session)
    _open(account, session)
    outbox.insert([messages.account_opened(account)], session)


def _open(account: Document, session: ClientSession) -> None:
    # Drawn here, so that a block that met a taken number draws another one when it runs again.
    account["number"] = new_number()
    account["status"] = AccountStatus.ACTIVE.value
    account["created_at"] = ledger.begin_journal(
        account["_id"],
        kind=AccountKind(account["kind"]),
        user=account.get("user"),
        currency=account["currency"],
        number=account["number"],
        session=session,
    )
    repository.insert_account(account, session)


def with_ids(requests: Sequence[Mapping[str, Any]], *fields: str) -> list[dict[str, Any]]:
    """Return the requests with ids in these fields, also for accounts that are named by their numbers.

    So a request is the same, however it names an account. There is a read only if there are numbers that were not read
    ahead. An account that does not exist gets an id that no account has.
    """
    named = {value for each in requests for field in fields if isinstance(value := each.get(field), AccountNumber)}
    if not named:
        return [dict(each) for each in requests]
    ids = ledger.ids_of(named)
    return [
        {name: ids[value] if isinstance(value, AccountNumber) else value for name, value in each.items()}
        for each in requests
    ]


def account_ahead(_user_id: ObjectId, account_id: ObjectId) -> list[together.Key]:
    """Return the key of what `readable_account` reads from its owner."""
    return [(repository.ACCOUNTS, account_id)]


def shown_account_ahead(user_id: ObjectId, account_id: ObjectId) -> list[together.Key]:
    """Return the keys of what `get_account` reads."""
    return [(repository.ACCOUNTS, account_id), *role_ahead(user_id)]


def balance_ahead(_user_id: ObjectId, account_id: ObjectId) -> list[together.Key]:
    """Return the keys of what `get_balance` reads."""
    return [(repository.ACCOUNTS, account_id), (ledger.HEADS, account_id)]


def accounts_ahead(user_id: ObjectId) -> list[together.Key]:
    """Return the keys of what `list_accounts` reads, as far as the user's accounts can be guessed."""
    heads = [(ledger.HEADS, account) for account in _listed_last.get(user_id, ())]
    return [(repository.ACCOUNTS_OF_USERS, user_id), *role_ahead(user_id), *heads]


def own_accounts_ahead(user_id: ObjectId) -> list[together.Key]:
    """Return the key of what `own_account_ids` reads."""
    return [(repository.ACCOUNTS_OF_USERS, user_id)]


def readable_account(account_id: ObjectId, viewer: ObjectId) -> Document:
    """Return an account that `viewer` may read: their own, or any if they are an admin; raises AccountNotFound."""
    account = repository.find_account(account_id)
    if account is not None and account.get("user") == viewer:
        return account
    # Read for a missing account too, so that the time does not tell a missing account from somebody else's.
    is_reader = reads_everything(viewer)
    if account is None or not is_reader:
        raise AccountNotFound
    return account


def get_account(account_id: ObjectId, *, viewer: ObjectId) -> Document:
    """Return an account as the viewer may see it; raises AccountNotFound, also if the viewer may not read it."""
    account = readable_account(account_id, viewer)
    return as_seen(account, sees_all=account.get("user") != viewer or reads_everything(viewer))


def as_seen(account: Document, *, sees_all: bool) -> Document:
    """Return the account as a viewer may see it. Only viewers with `sees_all` see its owner and its kind."""
    if sees_all:
        return {"user": None, **account}
    return {name: value for name, value in account.items() if name not in ("user", "kind")}


def rename_account(account_id: ObjectId, *, user_id: ObjectId, name: str) -> Document:
    """Rename the user's account and return it as they see it; raises AccountNotFound if they have no such account."""
    sees_all = reads_everything(user_id)

    def block(session: ClientSession) -> Document:
        before = repository.rename(account_id, user_id, name, session)
        if before is None:
            raise AccountNotFound
        if before.get("name") != name:
            outbox.insert([messages.account_renamed(before, clock.now())], session)
        return {**before, "name": name}

    return as_seen(mongo.atomically(block), sees_all=sees_all)


def change_status(account_id: ObjectId, status: AccountStatus, *, act: Act, owner: ObjectId | None = None) -> Document:
    """Freeze, unfreeze or close an account, as the bank or as its `owner`, who may only close it.

    Return the account as whoever makes the change may see it.

    Raises AccountNotFound, InvalidStatusTransition, AccountNotEmpty, and what `GroupCommit.post` raises.
    """
    # Read before the change. If it failed afterwards, the change would seem not to have happened.
    sees_all = owner is None or reads_everything(owner)
    act = act if owner is not None else act.by_right_of(MAY_ADMINISTER)
    account = repository.find_account(account_id)
    if account is None:
        raise AccountNotFound
    outcome = ledger.post([ChangeStatus(account=account_id, status=status, act=act, owner=owner)])[0]
    outcome.raise_error()
    return as_seen({**account, "status": status.value}, sees_all=sees_all)


def list_accounts(*, user_id: ObjectId) -> list[Document]:
    """Return the user's accounts as they see them, with `balance` and `available_balance` from the newest entries."""
    sees_all = reads_everything(user_id)
    accounts = repository.find_accounts_of(user_id)
    shown = [as_seen(account, sees_all=sees_all) for account in with_balances(accounts)]
    if len(accounts) <= GUESSED_ACCOUNTS_MAX:
        if len(_listed_last) >= GUESSES_MAX:
            _listed_last.clear()
        _listed_last[user_id] = tuple(account["_id"] for account in accounts)
    else:
        _listed_last.pop(user_id, None)
    return shown


def own_account_ids(user_id: ObjectId) -> list[ObjectId]:
    """Return the ids of the user's accounts, oldest first."""
    return [account["_id"] for account in repository.find_accounts_of(user_id)]


def with_balances(accounts: list[Document]) -> list[Document]:
    """Return the accounts, each with `balance` and `available_balance` from its newest entry."""
    funds = ledger.funds([account["_id"] for account in accounts])
    return [{**account, **_money(funds[account["_id"]])} for account in accounts]


def get_balance(account_id: ObjectId, *, viewer: ObjectId, at: datetime | None = None) -> Document:
    """Return the account's balance, now or at a given time, and the sequence of the entry it was read from.

    With a time, `final` tells whether no entry can be added to that time any more. Raises AccountNotFound for an
    account that `viewer` may not read, and ValidationFailed for a time before the account opened or more than LEEWAY
    in the future.
    """
    account = readable_account(account_id, viewer)
    if at is None:
        funds, said = ledger.funds([account_id])[account_id], Document(as_of=clock.now())
    else:
        standing = ledger.standing_at(account_id, at)
        funds, said = _funds_of(standing), Document(as_of=at, final=standing.is_final)
    return {
        "account_id": account_id,
        "currency": account["currency"],
        "sequence": funds.sequence,
        **said,
        **_money(funds),
    }


def _funds_of(standing: ledger.Standing) -> ledger.Funds:
    if standing.ahead > LEEWAY:
        raise ValidationFailed("The time is in the future.", errors={"at": ["In the future."]})
    if standing.entry is None:
        raise ValidationFailed("The account was not open then.", errors={"at": ["Before the account opened."]})
    return ledger.Funds(standing.entry.sequence, standing.entry.balance, standing.entry.held)


def _money(funds: ledger.Funds) -> Document:
    return {"balance": funds.balance, "available_balance": funds.balance - funds.held}
