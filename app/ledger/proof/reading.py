"""Reads whole collections for a proof, in batches. The next batch is fetched while one is checked."""

from collections.abc import Collection as Ids
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import bson
import pymongo
from bson import CodecOptions, ObjectId
from bson.codec_options import DatetimeConversion
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.cursor import RawBatchCursor

from app.clock import milliseconds
from app.ledger.documents import identity_of
from app.ledger.proof.checks import Upgrade
from app.ledger.proof.faults import UNREADABLE
from app.ledger.proof.plain import Owner
from app.ledger.proof.rows import CODEC
from app.ledger.proof.shapes import split
from app.ledger.records import Identity
from app.ledger.repository import find_identities
from app.mongo import Document, database
from app.mongo.migrations.version_2 import REVERSALS_KEPT

READ_AT_ONCE = 4_000
# MongoDB applies a time limit to all reads of a cursor together, so a pass needs a long one.
PASS_TIMEOUT_S = 24 * 3_600
# When there are more identities than this in memory, all are forgotten and read again.
IDENTITIES_KEPT_MAX = 100_000

# Decodes faster, because times are not converted: they stay DatetimeMS.
QUICK: CodecOptions[Document] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS, unicode_decode_error_handler="replace"
)
Order = list[tuple[str, int]]


def collection(name: str) -> Collection[Document]:
    """Return a collection that can be read even if some times are out of range or some text is not UTF-8."""
    return database()[name].with_options(CODEC)


def read_all(name: str, query: Document, order: Order, fields: Document | None = None) -> Iterator[list[Document]]:
    """Yield the documents that a query finds, in batches."""
    for batch in read_raw(name, query, order, fields):
        yield bson.decode_all(batch, CODEC)


def read_raw(name: str, query: Document, order: Order, fields: Document | None = None) -> Iterator[bytes]:
    """Yield the documents that a query finds as BSON, in batches."""
    found = collection(name).find_raw_batches(query, fields, sort=order, batch_size=READ_AT_ONCE)
    with ThreadPoolExecutor(1) as reader:
        coming: Future[bytes | None] = reader.submit(_next_batch, found)
        while (batch := coming.result()) is not None:
            coming = reader.submit(_next_batch, found)
            yield batch


def find_written(name: str, query: Document, session: ClientSession | None) -> list[tuple[bytes, Document]]:
    """Return the few documents that a query finds, as BSON and decoded."""
    batches: Iterable[Any] = collection(name).find_raw_batches(query, session=session)
    return [(raw, bson.decode(raw, CODEC)) for batch in batches for raw in split(batch)]


def _next_batch(found: RawBatchCursor[Any]) -> bytes | None:
    with pymongo.timeout(PASS_TIMEOUT_S):
        batch: bytes | None = next(found, None)
        return batch


def find_upgrade() -> Upgrade | None:
    """Return the upgrade to version 2, as `app.mongo.migrations` records it; None if there was none.

    The application can read this record and not change it.
    """
    found = collection("schema").find_one({"_id": "upgrade 2"})
    if found is None:
        return None
    finished = found.get("finished_at")
    return Upgrade(milliseconds(found["begun_at"]), None if finished is None else milliseconds(finished))


def are_reversals_kept() -> bool:
    """Tell whether `reversals` has every reversal. Until an upgrade is finished, the old release writes none there."""
    found = collection("schema").find_one({"_id": f"migration {REVERSALS_KEPT}"})
    return found is not None and "done_at" in found


class Identities:
    """Identities of accounts, from their journals or else from their documents. They never change."""

    def __init__(self) -> None:
        self._known: dict[ObjectId, Identity | None] = {}
        self._owners: dict[bytes, Owner] = {}

    def of(self, accounts: Ids[ObjectId], session: ClientSession | None = None) -> dict[ObjectId, Identity | None]:
        """Return the identity of each account, or None if the account is missing or unreadable."""
        unknown = [account for account in set(accounts) if account not in self._known]
        if unknown:
            if len(self._known) > IDENTITIES_KEPT_MAX:
                self._known.clear()
                unknown = list(set(accounts))
            # A missing account is not remembered, because it may be opened later.
            self._known |= {id_: found for id_, found in self._read(unknown, session).items() if found is not None}
        return {account: self._known.get(account) for account in accounts}

    def owners_of(self, accounts: Ids[bytes]) -> Mapping[bytes, Owner]:
        """Return at least the owners of those of these accounts that exist, by the bytes of their ids."""
        unknown = [account for account in accounts if account not in self._owners]
        if unknown and len(self._owners) > IDENTITIES_KEPT_MAX:
            self._owners.clear()
            unknown = list(accounts)
        for account, found in self.of({ObjectId(account) for account in unknown}).items():
            if found is not None and (found.user is None or isinstance(found.user, ObjectId)):
                self._owners[account.binary] = Owner(None if found.user is None else found.user.binary, found.currency)
        return self._owners

    @staticmethod
    def _read(accounts: list[ObjectId], session: ClientSession | None) -> dict[ObjectId, Identity | None]:
        found: dict[ObjectId, Identity | None] = {}
        for document in collection("accounts").find({"_id": {"$in": accounts}}, session=session):
            found[document["_id"]] = readable_identity(document)
        try:
            return found | find_identities(accounts, session)
        except UNREADABLE:
            # One of the entries is forged. The check of its journal names it.
            return found


def readable_identity(account: Document) -> Identity | None:
    """Return the identity in an account's own document, or None if it is unreadable."""
    try:
        identity = identity_of(account)
    except UNREADABLE:
        return None
    # Sums are kept by it.
    return identity if type(identity.currency) is str else None
