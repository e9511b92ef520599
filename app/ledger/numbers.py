"""Finds accounts by their numbers.

Outside a block, callers share one query (`together`). A request that says beforehand which numbers it needs gets their
accounts in the same query that checks its token.
"""

import hashlib
from collections.abc import Collection

from bson import ObjectId

from app.account_numbers import AccountNumber
from app.mongo import Document, database, together

# The application's role can change an account's document, but no entry. So if the first entry seals a number, that
# number counts, and nobody can redirect money by exchanging the numbers of two accounts.
_FIRST: Document = {
    "$lookup": {
        "from": "ledger_entries",
        "localField": "_id",
        "foreignField": "account",
        "pipeline": [{"$match": {"sequence": 0}}, {"$project": {"_id": 0, "number": "$identity.number"}}],
        "as": "first",
    }
}
_SEALED: Document = {"$first": "$first.number"}


def _stages(numbers: list[str]) -> list[Document]:
    shown = {"_id": "$number", "account": "$_id", "sealed": _SEALED}
    return [{"$match": {"number": {"$in": numbers}}}, _FIRST, {"$project": shown}]


NUMBERS = together.Kind("accounts", _stages)


def ids_of(numbers: Collection[AccountNumber]) -> dict[AccountNumber, ObjectId]:
    """Return the id of each number's account. An unknown number gets an id that no account has."""
    found = together.find(NUMBERS, numbers)
    return {number: _account(found.get(number)) or nobodys_id(number) for number in numbers}


def _account(found: Document | None) -> ObjectId | None:
    if found is None or found.get("sealed", found["_id"]) != found["_id"]:
        return None
    account: ObjectId = found["account"]
    return account


def numbers_of(accounts: Collection[ObjectId]) -> dict[ObjectId, str]:
    """Return the numbers of those of these accounts that have one."""
    shown = {"number": {"$ifNull": [_SEALED, "$number"]}}
    found = database().accounts.aggregate([{"$match": {"_id": {"$in": list(accounts)}}}, _FIRST, {"$project": shown}])
    return {each["_id"]: each["number"] for each in found if each.get("number")}


def nobodys_id(number: AccountNumber) -> ObjectId:
    """Return the id that stands for an unknown number: always the same one, so that repeats are recognised."""
    return ObjectId(hashlib.sha256(f"number:{number}".encode()).digest()[:12])


def ahead(numbers: Collection[AccountNumber]) -> list[together.Key]:
    """Return the keys of what `ids_of` will read."""
    return [(NUMBERS, number) for number in numbers]
