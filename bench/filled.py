"""A ledger of any size, sealed and written by the bank's own code."""

import random
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial

from bson import ObjectId

from app import mongo
from app.account_numbers import new_number
from app.ledger import chain, repository
from app.ledger.records import (
    Account,
    AccountKind,
    Entry,
    EntryType,
    Transaction,
    TransactionKind,
    TransactionStatus,
    treasury_id,
)

CURRENCY = "INR"
FUNDS = 1_000_000_000
WRITTEN_AT_ONCE = 2_000
STEP = timedelta(milliseconds=1)

Made = tuple[Transaction, tuple[Entry, Entry]]


def fill(owner: ObjectId, *, accounts: int, transfers: int) -> list[ObjectId]:
    """Open and fund accounts of one owner, make that many transfers among them, and return the accounts.

    What is written next is made while MongoDB writes. It takes about as much of a second processor.
    """
    at = datetime.now(UTC).replace(microsecond=0) - STEP * (transfers + accounts + 1)
    customers = [ObjectId() for _ in range(accounts)]
    heads = {account.id: account for account in _open(customers, owner, at)}
    made: list[Made] = []
    with ThreadPoolExecutor(1) as writer:
        writing: Future[None] | None = None
        for number in range(accounts + transfers):
            is_funding = number < accounts
            payer, payee = (treasury_id(CURRENCY), customers[number]) if is_funding else random.sample(customers, 2)
            # The treasury's journal may have later entries.
            moved_at = max(at + STEP * number, heads[payer].at, heads[payee].at)
            transaction = Transaction(
                id=ObjectId(),
                user=owner,
                idempotency_key=f"{owner}-{number}",
                fingerprint={"amount": "0" * 32},
                salt=bytes(16),
                kind=TransactionKind.FUNDING if is_funding else TransactionKind.TRANSFER,
                from_account=payer,
                to_account=payee,
                amount=FUNDS if is_funding else random.randint(1, 100_000),
                currency=CURRENCY,
                status=TransactionStatus.COMPLETED,
                description="Rent for November",
                created_at=moved_at,
                completed_at=moved_at,
            )
            made.append((transaction, _move(transaction, heads)))
            if len(made) == WRITTEN_AT_ONCE:
                if writing is not None:
                    writing.result()
                writing, made = writer.submit(_write, made), []
        if writing is not None:
            writing.result()
    _write(made)
    return customers


def _move(transaction: Transaction, heads: dict[ObjectId, Account]) -> tuple[Entry, Entry]:
    """Return a transaction's entries, and go on from them."""
    payer, payee, seal = transaction.from_account, transaction.to_account, transaction.record_hash()
    leg = partial(chain.append, at=transaction.created_at, transaction=transaction, record_hash=seal)
    heads[payer], debit = leg(heads[payer], EntryType.DEBIT, transaction.amount, counterparty=payee)
    heads[payee], credit = leg(heads[payee], EntryType.CREDIT, transaction.amount, counterparty=payer)
    return debit, credit


def _open(customers: list[ObjectId], owner: ObjectId, at: datetime) -> list[Account]:
    journals = [
        chain.open_journal(id_, kind=AccountKind.CUSTOMER, user=owner, currency=CURRENCY, at=at, number=new_number())
        for id_ in customers
    ]
    treasury = treasury_id(CURRENCY)
    if mongo.database().accounts.find_one({"_id": treasury}) is None:
        journals.append(
            chain.open_journal(
                treasury, kind=AccountKind.TREASURY, user=None, currency=CURRENCY, at=at, number=new_number()
            )
        )
        known = []
    else:
        known = repository.find([treasury]).accounts
    _insert(repository.new_entries(entry for _, entry in journals))
    documents = [
        {
            "_id": account.id,
            "kind": account.kind.value,
            "currency": CURRENCY,
            "status": account.status.value,
            "created_at": at,
            **({"user": account.user} if account.user else {}),
            **({"number": account.number} if account.number else {}),
        }
        for account, _ in journals
    ]
    mongo.database().accounts.insert_many(documents)
    return known + [account for account, _ in journals]


def _write(made: list[Made]) -> None:
    _insert(repository.new_records(transaction for transaction, _ in made))
    _insert(repository.new_entries(entry for _, entries in made for entry in entries))


def _insert(insert: mongo.Insert) -> None:
    """Insert outside atomic blocks: nobody else is there."""
    mongo.database()[insert.collection].insert_many(insert.documents)
