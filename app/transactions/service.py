"""Moving money: from requests to ledger commands."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
from bson import ObjectId

from app import ledger
from app.auth.service import reads_everything
from app.errors import AccountNotFound, TransactionNotFound
from app.fields import camel_case
from app.ledger.commands import Transfer
from app.ledger.records import AccountKind, Outcome, Transaction, TransactionKind, treasury_id
from app.transactions import repository

DIGEST_HEX_DIGITS = 32


def transfer(request: Mapping[str, Any], *, user_id: ObjectId) -> Outcome:
    """Move money from an account of the user's to any other in the same currency.

    `request` has from_account, to_account, amount, idempotency_key and, if given,
    description and metadata. The outcome's error, if any, is one that `journal.decide`
    names. Raises LedgerBusy and PyMongoError as `GroupCommit.post` does.
    """
    command = Transfer(
        id=ObjectId(),
        user=user_id,
        idempotency_key=request["idempotency_key"],
        fingerprint=fingerprint("create", request),
        kind=TransactionKind.TRANSFER,
        from_account=request["from_account"],
        to_account=request["to_account"],
        amount=request["amount"],
        description=request.get("description"),
        metadata=request.get("metadata"),
    )
    return ledger.post([command])[0]


def fund(request: Mapping[str, Any], *, user_id: ObjectId) -> Outcome:
    """Move money from the currency's treasury to a customer's account; raises AccountNotFound, and as `transfer`."""
    payee = ledger.accounts([request["to_account"]]).get(request["to_account"])
    if payee is None or payee.kind is not AccountKind.CUSTOMER:
        raise AccountNotFound("toAccount does not exist.")
    command = Transfer(
        id=ObjectId(),
        user=user_id,
        idempotency_key=request["idempotency_key"],
        fingerprint=fingerprint("initial-funds", request),
        kind=TransactionKind.FUNDING,
        from_account=treasury_id(payee.currency),
        to_account=payee.id,
        amount=request["amount"],
        description=request.get("description"),
    )
    return ledger.post([command])[0]


def get_transaction(transaction_id: ObjectId, *, user_id: ObjectId) -> Transaction:
    """Return a transaction the user is a party to, or any to an admin; raises TransactionNotFound."""
    transaction = repository.find_transaction(transaction_id)
    if transaction is None or not (_is_party(transaction, user_id) or reads_everything(user_id)):
        raise TransactionNotFound
    return transaction


def _is_party(transaction: Transaction, user_id: ObjectId) -> bool:
    parties = ledger.accounts([transaction.from_account, transaction.to_account])
    return any(account.user == user_id for account in parties.values())


def fingerprint(call: str, request: Mapping[str, Any]) -> dict[str, str]:
    """Return a digest of each field of a request, and of the call it was made to under the key's own name.

    Two requests are the same exactly if their fingerprints are. A field that was
    left out has none.
    """
    values = {**request, "idempotency_key": call}
    return {camel_case(name): _digest(value) for name, value in values.items() if value is not None}


def _digest(value: Any) -> str:
    canonical = orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()[:DIGEST_HEX_DIGITS]
