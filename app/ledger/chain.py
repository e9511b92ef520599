"""How a journal grows: each entry follows from the one before and is sealed with a hash. No I/O."""

from datetime import datetime

from bson import ObjectId

from app.ledger.canonical import entry_hash
from app.ledger.records import (
    GENESIS_HASH,
    Account,
    AccountKind,
    AccountStatus,
    Entry,
    EntryType,
    Identity,
    Transaction,
)
from app.money import AMOUNT_MAX

BALANCE_MAX = AMOUNT_MAX
# The version that new entries are sealed with. Entries of version 1 stay readable and verifiable.
HASH_VERSION = 2

BALANCE_EFFECT = {EntryType.CREDIT: 1, EntryType.DEBIT: -1}
HELD_EFFECT = {EntryType.HOLD: 1, EntryType.RELEASE: -1}


def open_journal(
    account: ObjectId,
    *,
    kind: AccountKind,
    user: ObjectId | None,
    currency: str,
    at: datetime,
    number: str | None = None,
) -> tuple[Account, Entry]:
    """Return a new account with entry 0 of its journal: STATUS, ACTIVE, amount 0."""
    blank = Account(account, kind, user, currency, AccountStatus.ACTIVE, -1, 0, 0, GENESIS_HASH, at, number)
    return append(blank, EntryType.STATUS, 0, at=at, description=AccountStatus.ACTIVE)


def append(
    account: Account,
    type_: EntryType,
    amount: int,
    *,
    at: datetime,
    transaction: Transaction | None = None,
    counterparty: ObjectId | None = None,
    description: str | None = None,
    record_hash: bytes | None = None,
) -> tuple[Account, Entry]:
    """Return the account after one more entry, and the entry.

    `record_hash` is the hash of the transaction, if the caller has it already.
    """
    balance = account.balance + amount * BALANCE_EFFECT.get(type_, 0)
    held = account.held + amount * HELD_EFFECT.get(type_, 0)
    identity: Identity | None = None
    if transaction is None:
        identity = Identity(account.user, account.kind, account.currency, account.number)
        record_hash = identity.record_hash()
    else:
        record_hash = record_hash or transaction.record_hash()
        description = transaction.description if description is None else description
    # These must hold whatever the rules in `journal` decided. A breach is a bug and must not reach the database.
    assert amount > 0 or type_ is EntryType.STATUS
    assert (transaction is None) == (type_ is EntryType.STATUS)
    assert at >= account.at
    assert -BALANCE_MAX <= balance <= BALANCE_MAX
    assert held >= 0
    assert account.kind is AccountKind.TREASURY or balance - held >= 0
    sequence, id_ = account.sequence + 1, transaction.id if transaction else None
    hash_ = entry_hash(
        account.hash, account.id, sequence, type_, amount, balance, held, id_, counterparty, at, record_hash,
        description,
    )  # fmt: skip
    # Arguments by position, because named ones take half as long again, and every posting makes two of each.
    entry = Entry(
        account.id, sequence, type_, amount, balance, held, id_, counterparty, description, at, account.hash, hash_,
        HASH_VERSION, record_hash, identity,
    )  # fmt: skip
    after = Account(
        account.id, account.kind, account.user, account.currency, account.status, sequence, balance, held, hash_, at,
        account.number,
    )  # fmt: skip
    return after, entry
