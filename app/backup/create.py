"""Makes a copy, in the two steps that the package describes."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import bson
import pymongo
from bson import CodecOptions, ObjectId
from bson.codec_options import DatetimeConversion
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import OperationFailure

from app.backup.files import (
    HEADS,
    INCOMPLETE,
    MANIFEST,
    UNFINISHED,
    BadCopy,
    Manifest,
    Part,
    PartWriter,
    complete,
    heads_of,
    read_incomplete,
    split,
    write_progress,
)
from app.backup.watch import Watch
from app.mongo import Document
from app.mongo.client import NO_LIMIT_S
from app.mongo.migrations import record
from app.mongo.readiness import NotReady, refuse_standalone
from app.mongo.schema import VALIDATORS

ENTRIES = "ledger_entries"
# `schema` first, because it describes the rest.
OF_THE_MOMENT = ["schema", *(name for name in VALIDATORS if name not in ("schema", "leases", ENTRIES))]
# How often the first step may start again.
TRIES_MAX = 3
# SnapshotTooOld, SnapshotUnavailable: the history that the session needs is gone.
HISTORY_GONE = frozenset({239, 246})
_BATCH = 4_000
_ACCOUNTS_AT_ONCE = 500
_CODEC: CodecOptions[Document] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)
_HEADS: list[Document] = [
    {"$sort": {"account": 1, "sequence": -1}},
    {"$group": {"_id": "$account", "sequence": {"$first": "$sequence"}, "hash": {"$first": "$hash"}}},
    {"$sort": {"_id": -1}},
]


def create(database: Database[Document], directory: Path, watch: Watch) -> Manifest:
    """Make a copy of the bank in a new directory, or continue an interrupted one; return its manifest.

    Raises BadCopy if there is anything else in the directory, NotReady if the database's history is too short, OSError
    if a file cannot be written.
    """
    # This asks with the usual time limit. Otherwise we would wait for ever for a database that is away.
    refuse_standalone(database.client)
    with pymongo.timeout(NO_LIMIT_S):
        if record.find_restore(database) is not None:
            raise NotReady(f"The database {database.name!r} is not completely restored, so there is nothing to copy.")
        manifest = _open(directory)
        if manifest.heads is None:
            manifest = _copy_moment(database, directory, watch)
        _copy_entries(database, directory, manifest, watch)
        complete(directory, manifest)
        return manifest


def _open(directory: Path) -> Manifest:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = read_incomplete(directory)
    if found is not None:
        return found
    if (directory / MANIFEST).exists():
        raise BadCopy(f"{directory} has a complete copy already. Choose another directory.")
    # A run that was killed before its first mark may have left such a file.
    if any(file.suffix != UNFINISHED for file in directory.iterdir()):
        raise BadCopy(f"{directory} is not empty. Choose another directory.")
    directory.chmod(0o700)
    write_progress(directory, Manifest())
    return Manifest()


def _copy_moment(database: Database[Document], directory: Path, watch: Watch) -> Manifest:
    """Read everything that can change, and the heads, as of one time."""
    for _ in range(TRIES_MAX):
        _remove_parts(directory)
        try:
            manifest = _read_moment(database, directory, watch)
        except OperationFailure as error:
            if error.code not in HISTORY_GONE:
                raise
            watch.says("The database's history for this moment has ended. Reading a later moment.")
            continue
        write_progress(directory, manifest)
        return manifest
    raise NotReady(
        "The database keeps too short a history to read everything as of one moment. Raise its parameter "
        "minSnapshotHistoryWindowInSeconds, and run this again."
    )


def _remove_parts(directory: Path) -> None:
    for file in directory.iterdir():
        if file.name not in (INCOMPLETE, MANIFEST):
            file.unlink()


def _read_moment(database: Database[Document], directory: Path, watch: Watch) -> Manifest:
    manifest = Manifest(database=database.name, made_at=datetime.now(UTC).isoformat(timespec="seconds"))
    with database.client.start_session(snapshot=True) as session:
        version: Document = database["schema"].find_one({"_id": "version"}, session=session) or {}
        if "version" not in version:
            raise NotReady(f"The database {database.name!r} has no schema, so there is nothing to copy.")
        manifest.schema_version = version["version"]
        manifest.cluster_time = _time_of(session)
        length = sum(database[name].estimated_document_count() for name in OF_THE_MOMENT)
        with watch.follows("Everything but entries", length) as advanced:
            for name in OF_THE_MOMENT:
                manifest.parts[name] = []
                with _parts(directory, name, manifest.parts[name]) as parts:
                    for batch in _read(database[name].find_raw_batches({}, batch_size=_BATCH, session=session)):
                        count = sum(1 for _ in split(batch))
                        parts.write(batch, count)
                        advanced(count)
        manifest.heads = _write_heads(database, directory, session)
    return manifest


def _read(found: Any) -> Iterator[bytes]:
    # The driver's type says that a batch is a document.
    yield from found


def _time_of(session: ClientSession) -> list[int]:
    # The driver keeps the time that the server chose for the first read, and has no public name for it.
    time = getattr(session, "_snapshot_time", None)
    return [time.time, time.inc] if time is not None else []


def _write_heads(database: Database[Document], directory: Path, session: ClientSession) -> Part:
    writer = PartWriter(directory, HEADS)
    try:
        for head in database[ENTRIES].aggregate(_HEADS, session=session, allowDiskUse=True):
            line = f"{head['_id']} {head['sequence']} {bytes(head['hash']).hex()}\n"
            writer.write(line.encode(), 1)
    except BaseException:
        writer.abandon()
        raise
    return writer.end()


class _Parts:
    """Writes documents into as many files as they need."""

    def __init__(self, directory: Path, name: str, done: list[Part]) -> None:
        self._directory = directory
        self._name = name
        self._done = done
        self._writer: PartWriter | None = None

    def write(self, content: bytes, documents: int) -> bool:
        """Add documents; return whether that completed a file."""
        if documents == 0:
            return False
        if self._writer is None:
            self._writer = PartWriter(self._directory, f"{self._name}-{len(self._done) + 1:04}.bson.gz")
        self._writer.write(content, documents)
        return self._writer.is_full and self.end()

    def end(self) -> bool:
        """Complete the file, if there is one; return whether there was."""
        if self._writer is None:
            return False
        self._done.append(self._writer.end())
        self._writer = None
        return True

    def abandon(self) -> None:
        """Leave the file incomplete."""
        if self._writer is not None:
            self._writer.abandon()


@contextlib.contextmanager
def _parts(directory: Path, name: str, done: list[Part]) -> Iterator[_Parts]:
    parts = _Parts(directory, name, done)
    try:
        yield parts
        parts.end()
    except BaseException:
        parts.abandon()
        raise


def _copy_entries(database: Database[Document], directory: Path, manifest: Manifest, watch: Watch) -> None:
    """Read every journal up to the head that the manifest knows, from where an earlier run stopped."""
    assert manifest.heads is not None
    parts = manifest.parts.setdefault(ENTRIES, [])
    position = manifest.position
    _remove_unlisted(directory, parts)
    length = sum(sequence + 1 for _, sequence, _ in heads_of(directory, manifest.heads))
    with watch.follows("Entries", length) as advanced, _parts(directory, ENTRIES, parts) as written:
        advanced(manifest.documents(ENTRIES))
        for query, heads in _queries(directory, manifest.heads, position):
            found = database[ENTRIES].find_raw_batches(
                query, sort=[("account", -1), ("sequence", 1)], batch_size=_BATCH
            )
            for batch in _read(found):
                kept, last = _up_to_heads(batch, heads)
                advanced(len(kept))
                if written.write(b"".join(kept), len(kept)):
                    manifest.position = [str(last[0]), last[1]]
                    write_progress(directory, manifest)
    manifest.position = None


def _remove_unlisted(directory: Path, parts: list[Part]) -> None:
    listed = {part.file for part in parts}
    for file in directory.glob(f"{ENTRIES}-*"):
        if file.name not in listed:
            file.unlink()


def _queries(
    directory: Path, heads: Part, position: list[Any] | None
) -> Iterator[tuple[Document, dict[ObjectId, int]]]:
    """Yield queries for the entries after a position, each with the newest sequences of its accounts."""
    waiting = ((ObjectId(account), sequence) for account, sequence, _ in heads_of(directory, heads))
    if position is not None:
        last, sequence = ObjectId(position[0]), int(position[1])
        for account, newest in waiting:
            if account == last:
                yield {"account": account, "sequence": {"$gt": sequence}}, {account: newest}
                break
    while some := dict(islice(waiting, _ACCOUNTS_AT_ONCE)):
        yield {"account": {"$gte": min(some), "$lte": max(some)}}, some


def _up_to_heads(batch: bytes, heads: dict[ObjectId, int]) -> tuple[list[bytes], tuple[ObjectId, int]]:
    """Return the entries that existed at the time of the copy, and the place of the last one."""
    kept, last = [], (ObjectId(bytes(12)), -1)
    for entry, raw in zip(bson.decode_all(batch, _CODEC), split(batch), strict=True):
        place = entry["account"], entry["sequence"]
        if place[1] <= heads.get(place[0], -1):
            kept.append(raw)
            last = place
    return kept, last
