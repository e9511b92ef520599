"""The trial balance: whether debits equal credits and all balances come to zero, currency by currency."""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter

import pymongo
from bson import ObjectId
from pymongo import ASCENDING, DESCENDING
from pymongo.client_session import ClientSession

from app import mongo
from app.ledger.records import AccountKind, EntryType
from app.mongo import Document, database

# Less than the five minutes for which MongoDB keeps a snapshot.
TRIAL_BALANCE_TIMEOUT_S = 120.0
_SUMS = ("total_debits", "total_credits", "treasury_balance", "customer_balance", "accounts")
_BALANCE_OF = {AccountKind.TREASURY.value: "treasury_balance", AccountKind.CUSTOMER.value: "customer_balance"}
_TOTAL_OF = {EntryType.DEBIT.value: "total_debits", EntryType.CREDIT.value: "total_credits"}
# The currency of forged entries whose account does not exist. XXX is ISO 4217's code for "no currency".
_UNKNOWN_ACCOUNT: Document = {"account": None, "currency": "XXX", "kind": AccountKind.CUSTOMER.value}


def trial_balance() -> Document:
    """Return the sums of the whole ledger by currency, all of one moment, and whether they balance.

    It reads every entry, about 3 seconds for a million of them, so it has a time limit of
    its own. Raises PyMongoError when that is over.
    """
    with mongo.moment() as session, pymongo.timeout(TRIAL_BALANCE_TIMEOUT_S):
        by_currency = _add_up(_read_accounts(session), _read_balances(session), _sum_entries(session))
    currencies = [by_currency[currency] for currency in sorted(by_currency)]
    debits_are_credits = all(sums["total_debits"] == sums["total_credits"] for sums in currencies)
    return {"currencies": currencies, "balanced": debits_are_credits and not off_zero(_balances(by_currency))}


def balances() -> dict[str, int]:
    """Return the sum of all balances as of one moment, by currency. It costs one seek for each account."""
    with mongo.moment() as session, pymongo.timeout(TRIAL_BALANCE_TIMEOUT_S):
        return _balances(_add_up(_read_accounts(session), _read_balances(session)))


def off_zero(totals: Mapping[str, int]) -> dict[str, int]:
    """Return the currencies whose balances do not add up to zero, and their sums."""
    return {currency: total for currency, total in sorted(totals.items()) if total != 0}


def _balances(by_currency: Mapping[str, Document]) -> dict[str, int]:
    return {currency: sums["treasury_balance"] + sums["customer_balance"] for currency, sums in by_currency.items()}


def _add_up(*sources: Iterable[Document]) -> dict[str, Document]:
    """Return the sums of the rows by currency. Each source is sorted by account; the accounts' own rows come first."""
    by_currency: dict[str, Document] = {}
    account = _UNKNOWN_ACCOUNT
    for row in heapq.merge(*sources, key=itemgetter("account")):
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


def _read_accounts(session: ClientSession) -> Iterator[Document]:
    """Yield {account, currency, kind} of all accounts, in the order of their ids."""
    fields = {"_id": 0, "account": "$_id", "currency": 1, "kind": 1}
    yield from database().accounts.find({}, projection=fields, session=session).sort("_id", ASCENDING)


def _read_balances(session: ClientSession) -> Iterator[Document]:
    """Yield {account, balance} from the newest entry of every journal, in the order of the accounts' ids."""
    pipeline: list[Document] = [
        # One seek for each account, as for all heads.
        {"$sort": {"account": ASCENDING, "sequence": DESCENDING}},
        {"$group": {"_id": "$account", "balance": {"$first": "$balance"}}},
        {"$sort": {"_id": ASCENDING}},
        {"$project": {"_id": 0, "account": "$_id", "balance": 1}},
    ]
    yield from database().ledger_entries.aggregate(pipeline, session=session, allowDiskUse=True)


def _sum_entries(session: ClientSession) -> Iterator[Document]:
    """Yield {account, type, total}: the sum of an account's DEBIT or CREDIT entries, in the order of the accounts' ids.

    It reads every entry, because the balances that it is compared with must not be trusted.
    """
    pipeline: list[Document] = [
        {"$match": {"type": {"$in": [EntryType.DEBIT.value, EntryType.CREDIT.value]}}},
        {"$group": {"_id": {"account": "$account", "type": "$type"}, "total": {"$sum": "$amount"}}},
        {"$sort": {"_id": ASCENDING}},
        {"$project": {"_id": 0, "account": "$_id.account", "type": "$_id.type", "total": 1}},
    ]
    for group in database().ledger_entries.aggregate(pipeline, session=session, allowDiskUse=True):
        # MongoDB returns a sum beyond 64 bits as a float.
        inexact = isinstance(group["total"], float)
        yield {**group, "total": _sum_exactly(group["account"], group["type"], session)} if inexact else group


def _sum_exactly(account_id: ObjectId, type_: str, session: ClientSession) -> int:
    pipeline: list[Document] = [
        {"$match": {"account": account_id, "type": type_}},
        {"$group": {"_id": None, "total": {"$sum": {"$toDecimal": "$amount"}}}},
    ]
    return int(next(database().ledger_entries.aggregate(pipeline, session=session))["total"].to_decimal())
