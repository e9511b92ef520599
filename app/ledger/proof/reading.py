"""Reads whole collections for a proof, in batches. The next batch is fetched while one is checked."""

from collections.abc import Collection as Ids
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import bson
import pymongo
from bson import CodecOptions, ObjectId
from bson.codec_options import DatetimeConversion
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.cursor import RawBatchCursor

from app.ledger.documents import identity_of
from app.ledger.proof.faults import UNREADABLE
from app.ledger.records import Identity
from app.ledger.repository import find_identities
from app.mongo import Document, database

READ_AT_ONCE = 4_000
# MongoDB applies a time limit to all reads of a cursor together, so a pass needs a long one.
PASS_TIMEOUT_S = 24 * 3_600
# With more than this in memory, it is emptied, and identities are read again.
IDENTITIES_KEPT_MAX = 100_000

# A time that no datetime can hold is a fault of one document. It must not end the run.
_CODEC: CodecOptions[Document] = CodecOptions(tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO)
Order = list[tuple[str, int]]


def collection(name: str) -> Collection[Document]:
    """Return a collection that can be read even if some of its times are out of range."""
    return database()[name].with_options(_CODEC)


def read_all(name: str, query: Document, order: Order, fields: Document | None = None) -> Iterator[list[Document]]:
    """Yield the documents that a query finds, in batches."""
    found = collection(name).find_raw_batches(query, fields, sort=order, batch_size=READ_AT_ONCE)
    with ThreadPoolExecutor(1) as reader:
        coming: Future[bytes | None] = reader.submit(_next_batch, found)
        while (batch := coming.result()) is not None:
            coming = reader.submit(_next_batch, found)
            yield bson.decode_all(batch, _CODEC)


def read_each(name: str, query: Document, order: Order, fields: Document | None = None) -> Iterator[Document]:
    """Yield the documents that a query finds, one by one."""
    for batch in read_all(name, query, order, fields):
        yield from batch


def _next_batch(found: RawBatchCursor[Any]) -> bytes | None:
    with pymongo.timeout(PASS_TIMEOUT_S):
        batch: bytes | None = next(found, None)
        return batch


class Identities:
    """Identities of accounts: from their journals if these have them, else from their documents. They never change."""

    def __init__(self) -> None:
        self._known: dict[ObjectId, Identity | None] = {}

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

    @staticmethod
    def _read(accounts: list[ObjectId], session: ClientSession | None) -> dict[ObjectId, Identity | None]:
        found: dict[ObjectId, Identity | None] = {}
        for document in collection("accounts").find({"_id": {"$in": accounts}}, session=session):
            found[document["_id"]] = readable_identity(document)
        try:
            return found | find_identities(accounts, session)
        except UNREADABLE:
            # One of the entries is forged. The check of its journal has named it.
            return found


def readable_identity(account: Document) -> Identity | None:
    """Return the identity that an account's own document gives, or None if it is unreadable."""
    try:
        return identity_of(account)
    except UNREADABLE:
        return None
