"""A ledger of any size, decided and written by the bank's own code."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId

from app import mongo
from app.account_numbers import new_number
from app.ledger import chain, journal, repository
from app.ledger.commands import Transfer
from app.ledger.records import Account, AccountKind, Entry, Transaction, TransactionKind, treasury_id
from app.ledger.state import State

CURRENCY = "INR"
FUNDS = 1_000_000_000
WRITTEN_AT_ONCE = 2_000
STEP = timedelta(milliseconds=1)
# Inserts outside of an atomic block: nobody else is there.
_NO_SESSION: Any = None


def fill(owner: ObjectId, *, accounts: int, transfers: int) -> list[ObjectId]:
    """Open and fund accounts of one owner, make that many transfers among them, and return the accounts."""
    at = datetime.now(UTC).replace(microsecond=0) - STEP * (transfers + accounts + 1)
    customers = [ObjectId() for _ in range(accounts)]
    state = State(_open(customers, owner, at), [])
    decided: list[tuple[Transaction, tuple[Entry, ...]]] = []
    for number in range(accounts + transfers):
        is_funding = number < accounts
        payer, payee = (treasury_id(CURRENCY), customers[number]) if is_funding else random.sample(customers, 2)
        command = Transfer(
            id=ObjectId(),
            user=owner,
            idempotency_key=f"{owner}-{number}",
            fingerprint={"amount": "0" * 32},
            salt=bytes(16),
            kind=TransactionKind.FUNDING if is_funding else TransactionKind.TRANSFER,
            from_account=payer,
            to_account=payee,
            amount=FUNDS if is_funding else random.randint(1, 100_000),
            description="Rent for November",
        )
        decision = journal.decide(command, state, at + STEP * number)
        state.accounts.update({account.id: account for account in decision.accounts})
        assert decision.inserted is not None
        decided.append((decision.inserted, decision.entries))
        if len(decided) == WRITTEN_AT_ONCE:
            _write(decided)
            decided.clear()
    _write(decided)
    return customers


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
    repository.insert_entries((entry for _, entry in journals), _NO_SESSION)
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


def _write(decided: list[tuple[Transaction, tuple[Entry, ...]]]) -> None:
    repository.insert_records((transaction for transaction, _ in decided), _NO_SESSION)
    repository.insert_entries((entry for _, entries in decided for entry in entries), _NO_SESSION)
