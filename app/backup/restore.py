"""Puts a copy into an empty database, and proves the ledger there."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pymongo
from bson import Int64, ObjectId
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.database import Database
from pymongo.errors import BulkWriteError
from pymongo.write_concern import WriteConcern

from app.backup.create import ENTRIES
from app.backup.files import (
    MANIFEST,
    BadCopy,
    Manifest,
    Part,
    check_part,
    documents_of,
    heads_of,
    read_manifest,
    sha256_of,
)
from app.backup.watch import Watch
from app.ledger.proof.faults import Report
from app.ledger.proof.verify import verify
from app.mongo import Document, leases
from app.mongo.client import NO_LIMIT_S
from app.mongo.migrations import record, run, shape
from app.mongo.migrations.steps import Refused
from app.mongo.readiness import refuse_standalone
from app.mongo.schema import INDEXES, SCHEMA_VERSION, VALIDATORS

_POSITIONS_LEFT_OUT = Int64(10**12)
_INSERTED_AT_ONCE = 2_000
_DUPLICATE_KEY = 11000
_HEADS_AT_ONCE = 500
# Collections from which MongoDB removes expired documents by itself, as soon as they have their indexes.
_EXPIRING = [
    name for name, indexes in INDEXES.items() if any("expireAfterSeconds" in index.document for index in indexes)
]
_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


def restore(database: Database[Document], directory: Path, watch: Watch) -> Report:
    """Put a copy into the database, or continue an interrupted restore; return the report of the ledger's proof.

    Until it is done, no process of Fincore starts on the database. Raises BadCopy if the copy is incomplete or
    damaged, Refused if the database is not empty, and what the proof raises. `app.mongo.database()` must be this
    database.
    """
    manifest = read_manifest(directory)
    if manifest.schema_version > SCHEMA_VERSION:
        raise BadCopy(f"The copy has version {manifest.schema_version} of the schema. Use the newer program.")
    _check_files(directory, manifest, watch)
    # This asks with the usual time limit. Otherwise we would wait for ever for a database that is away.
    refuse_standalone(database.client)
    with pymongo.timeout(NO_LIMIT_S):
        waits = lambda holder: watch.says(f"Waiting for {leases.shown(holder)}.")  # noqa: E731
        with leases.kept(database, run.LEASE, run.LEASE_DURATION, waits) as check:
            done = _begin(database, sha256_of(directory / MANIFEST))
            with watch.follows("Restoring", manifest.size) as advanced:
                for name, part in _in_order(manifest):
                    if part.file not in done:
                        _insert_all(database, name, directory, part)
                        check()
                        record.keep_restored(database, part.file)
                    advanced(part.documents)
            _compare(database, directory, manifest)
            with watch.follows("Collections and indexes", len(VALIDATORS)) as advanced:
                shape.make(database, advanced)
            with watch.follows(
                "Verifying", manifest.documents(ENTRIES) + manifest.documents("transactions")
            ) as advanced:
                report = verify(advanced)
            check()
            _end(database, directory, manifest)
    return report


def _check_files(directory: Path, manifest: Manifest, watch: Watch) -> None:
    assert manifest.heads is not None
    parts = [part for some in manifest.parts.values() for part in some]
    with watch.follows("Comparing files", len(parts) + 1) as advanced:
        for part in (*parts, manifest.heads):
            check_part(directory, part)
            advanced(1)


def _begin(database: Database[Document], copy: str) -> list[str]:
    """Mark the database as incomplete; return the files that an interrupted restore of the same copy has put in."""
    found = record.find_restore(database)
    if found is not None:
        if found["copy"] != copy:
            raise Refused(f"The database {database.name!r} has parts of another copy. Drop it first.")
        done: list[str] = found["done"]
        return done
    for name in VALIDATORS.keys() - {"schema", "leases"}:
        if database[name].find_one({}, projection=["_id"]) is not None:
            raise Refused(f"The database {database.name!r} is not empty: there are documents in {name!r}.")
    record.begin_restore(database, copy)
    return []


def _in_order(manifest: Manifest) -> Iterator[tuple[str, Part]]:
    """Yield the files to put in. `schema` comes last, once the rest is proved."""
    for name, parts in manifest.parts.items():
        if name not in VALIDATORS:
            raise BadCopy(f"The copy has a collection {name!r}, which this program does not know.")
        if name != "schema":
            yield from ((name, part) for part in parts)


def _insert_all(database: Database[Document], name: str, directory: Path, part: Part) -> None:
    # The validators of today need not accept what older versions wrote. Each file's mark waits for a majority, and then
    # all that came before it has one.
    target = database[name].with_options(codec_options=_RAW, write_concern=WriteConcern(w=1))
    waiting = documents_of(directory, part)
    while some := [RawBSONDocument(document) for document in islice(waiting, _INSERTED_AT_ONCE)]:
        try:
            target.insert_many(some, ordered=False, bypass_document_validation=True)
        except BulkWriteError as error:
            # An interrupted restore has put some of this file in.
            if any(each["code"] != _DUPLICATE_KEY for each in (error.details or {}).get("writeErrors", [{"code": 0}])):
                raise


def _compare(database: Database[Document], directory: Path, manifest: Manifest) -> None:
    """Raise BadCopy unless the database has as many documents as the copy, and the heads that the copy lists."""
    assert manifest.heads is not None
    for name in manifest.parts.keys() - {"schema", *_EXPIRING}:
        expected, found = manifest.documents(name), database[name].count_documents({})
        if found != expected:
            raise BadCopy(f"There are {found:,} documents in {name!r}, and the copy has {expected:,}.")
    # The index serves the comparison, and will be needed anyway.
    database[ENTRIES].create_index([("account", 1), ("sequence", -1)], unique=True)
    journals = next(iter(database[ENTRIES].aggregate([{"$group": {"_id": "$account"}}, {"$count": "found"}])), {})
    if journals.get("found", 0) != manifest.heads.documents:
        raise BadCopy(
            f"There are {journals.get('found', 0):,} journals, and the copy lists {manifest.heads.documents:,}."
        )
    waiting = heads_of(directory, manifest.heads)
    while some := list(islice(waiting, _HEADS_AT_ONCE)):
        expected_heads = {ObjectId(account): (sequence, hash_) for account, sequence, hash_ in some}
        found_heads = database[ENTRIES].aggregate(
            [
                {"$match": {"account": {"$in": list(expected_heads)}}},
                {"$sort": {"account": 1, "sequence": -1}},
                {"$group": {"_id": "$account", "sequence": {"$first": "$sequence"}, "hash": {"$first": "$hash"}}},
            ]
        )
        found_all = {head["_id"]: (head["sequence"], bytes(head["hash"]).hex()) for head in found_heads}
        for account, head in expected_heads.items():
            if found_all.get(account) != head:
                raise BadCopy(f"The newest entry of account {account} is not the one that the copy lists.")


def _end(database: Database[Document], directory: Path, manifest: Manifest) -> None:
    """Let processes start on the database."""
    # Clients may have seen positions of the feed that were given after the copy. Nothing new may get a smaller one.
    database["feed"].update_one({"_id": "outbox"}, {"$inc": {"position": _POSITIONS_LEFT_OUT}}, upsert=True)
    database["schema"].delete_many({"_id": {"$ne": record.RESTORE}})
    for part in manifest.parts["schema"]:
        _insert_all(database, "schema", directory, part)
    record.put_shape(database)
    record.end_restore(database)
