"""Proves a copy without a database: the ledger's own proof runs over its files.

The proof asks for documents by their ids, by the transaction that they name and by key, in several orders. So the
collections that it reads are put into a temporary SQLite database on disk, with indexes for just that. The classes here
answer the proof's MongoDB queries as MongoDB would, and raise an error for any other query.
"""

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import bson
from bson import ObjectId
from bson.errors import InvalidBSON

from app import mongo
from app.backup.create import ENTRIES
from app.backup.files import BadCopy, Manifest, check_part, documents_of, heads_of, read_manifest
from app.backup.watch import Watch
from app.ledger.proof.faults import Report
from app.ledger.proof.rows import CODEC
from app.ledger.proof.verify import verify
from app.mongo import Document

_PROVED = ("schema", "accounts", "transactions", ENTRIES, "reversals")
# Collections that copies of the first release do not have.
_NEWER = ("reversals",)
# The fields that can be queried and sorted by without reading a whole collection.
_INDEXES = ('"_id"', '"account" DESC, "sequence"', '"transaction"', '"idempotency_key"')
_COLUMNS = ("_id", "account", "sequence", "transaction", "idempotency_key")
_READ_AT_ONCE = 1_000
_INSERTED_AT_ONCE = 5_000


def prove(directory: Path, watch: Watch) -> Report:
    """Compare every file with the manifest, and every journal with the heads; return the ledger's proof.

    Raises BadCopy if the copy is incomplete or damaged. It needs room for the accounts, transactions and entries in
    `TMPDIR`.
    """
    manifest = read_manifest(directory)
    with tempfile.TemporaryDirectory(prefix="fincore-copy-") as temporary, _opened(Path(temporary)) as files:
        _load(directory, manifest, files, watch)
        _compare_heads(directory, manifest, files)
        length = manifest.documents(ENTRIES) + manifest.documents("transactions")
        with watch.follows("Verifying", length) as advanced, _asked_instead_of_mongodb(files):
            return verify(advanced)


@contextlib.contextmanager
def _asked_instead_of_mongodb(files: "FileDatabase") -> Iterator[None]:
    mongo.close()
    mongo.use(files)  # type: ignore[arg-type] # it has what the proof uses
    try:
        yield
    finally:
        mongo.close()


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator["FileDatabase"]:
    connection = sqlite3.connect(directory / "copy.sqlite", isolation_level=None, check_same_thread=False)
    try:
        # The database is thrown away in any case.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        yield FileDatabase(connection)
    finally:
        connection.close()


def _load(directory: Path, manifest: Manifest, files: "FileDatabase", watch: Watch) -> None:
    """Compare the files with the manifest, and put the collections that are proved into the temporary database."""
    with watch.follows("Reading files", manifest.size) as advanced:
        for name in _PROVED:
            files.make(name)
        for name, parts in manifest.parts.items():
            for part in parts:
                check_part(directory, part)
                rows = []
                for raw in documents_of(directory, part):
                    if name in _PROVED:
                        rows.append(raw)
                    if len(rows) == _INSERTED_AT_ONCE:
                        files.insert(name, rows)
                        rows.clear()
                if rows:
                    files.insert(name, rows)
                advanced(part.documents)
    missing = [name for name in _PROVED if name not in manifest.parts and name not in _NEWER]
    if missing:
        raise BadCopy(f"The copy has no {missing[0]!r}.")
    for name in _PROVED:
        files.make_indexes(name)


def _compare_heads(directory: Path, manifest: Manifest, files: "FileDatabase") -> None:
    assert manifest.heads is not None
    check_part(directory, manifest.heads)
    for account, sequence, hash_ in heads_of(directory, manifest.heads):
        newest = files[ENTRIES].find_one({"account": ObjectId(account)}, sort=[("sequence", -1)])
        if newest is None or (newest.get("sequence"), _hex(newest.get("hash"))) != (sequence, hash_):
            raise BadCopy(f"The newest entry of account {account} is not the one that the copy lists.")
    if manifest.heads.documents != files.journals():
        raise BadCopy(f"The copy lists {manifest.heads.documents:,} heads and has {files.journals():,} journals.")


def _hex(hash_: Any) -> str | None:
    # A forger may have written anything in its place.
    return hash_.hex() if isinstance(hash_, bytes) else None


class FileDatabase:
    """The part of PyMongo's Database that the proof uses."""

    name = "a copy"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.client = self

    def __getitem__(self, name: str) -> "FileCollection":
        return FileCollection(self._connection, name)

    def __getattr__(self, name: str) -> "FileCollection":
        if name not in _PROVED:
            raise AttributeError(name)
        return self[name]

    @contextlib.contextmanager
    def start_session(self, *, snapshot: bool) -> Iterator[None]:
        """A copy never changes, so every read sees one moment."""
        assert snapshot
        yield None

    def close(self) -> None:
        """Do nothing. The code that opened the files closes them."""

    def make(self, name: str) -> None:
        """Make an empty table for a collection."""
        columns = ", ".join(f'"{column}"' for column in _COLUMNS)
        self._connection.execute(f'CREATE TABLE "{name}" ({columns}, document BLOB)')

    def insert(self, name: str, documents: Sequence[bytes]) -> None:
        """Add documents, given as BSON."""
        marks = ", ".join("?" * (len(_COLUMNS) + 1))
        rows = []
        for raw in documents:
            try:
                read = bson.decode(raw, CODEC)
            except InvalidBSON as error:
                raise BadCopy(f"{name!r} has a document that is not BSON: {error}") from None
            rows.append((*(_as_column(read.get(column)) for column in _COLUMNS), raw))
        self._connection.execute("BEGIN")
        self._connection.executemany(f'INSERT INTO "{name}" VALUES ({marks})', rows)  # noqa: S608 -- names of ours
        self._connection.execute("COMMIT")

    def make_indexes(self, name: str) -> None:
        """Make queries of a table quick."""
        for number, columns in enumerate(_INDEXES):
            self._connection.execute(f'CREATE INDEX "{name}_{number}" ON "{name}" ({columns})')

    def journals(self) -> int:
        """Return how many accounts have entries."""
        (count,) = self._connection.execute(f'SELECT count(DISTINCT account) FROM "{ENTRIES}"').fetchone()  # noqa: S608 -- names of ours
        return int(count)


class FileCollection:
    """The part of PyMongo's Collection that the proof uses."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._name = name

    def with_options(self, _options: Any) -> "FileCollection":
        """Return this. Documents are always read as the proof wants them."""
        return self

    def estimated_document_count(self) -> int:
        """Return how many documents there are."""
        (count,) = self._connection.execute(f'SELECT count(*) FROM "{self._name}"').fetchone()  # noqa: S608 -- names of ours
        return int(count)

    def find(
        self, query: Document, fields: Any = None, *, projection: Any = None, sort: Any = None, session: Any = None
    ) -> "_Found":
        """Find documents. A projection renames fields but leaves none out. There is only one moment."""
        del session
        return _Found(self, query, list(sort or ()), fields or projection)

    def find_one(
        self, query: Document, fields: Any = None, *, projection: Any = None, sort: Any = None, session: Any = None
    ) -> Document | None:
        """Return the first document that `find` finds."""
        return next(iter(self.find(query, fields, projection=projection, sort=sort, session=session)), None)

    def find_raw_batches(
        self,
        query: Document,
        fields: Any = None,
        *,
        sort: Any = None,
        session: Any = None,
        batch_size: int = _READ_AT_ONCE,
    ) -> Iterator[bytes]:
        """Yield BSON documents one after the other, in batches."""
        del session
        batch: list[bytes] = []
        for raw, document in self.matching(query, list(sort or ())):
            batch.append(raw if fields is None else _only(document, fields))
            if len(batch) == batch_size:
                yield b"".join(batch)
                batch.clear()
        if batch:
            yield b"".join(batch)

    def aggregate(self, pipeline: Sequence[Document], **_options: Any) -> Iterator[Document]:
        """Yield the newest balance of each journal, which is all that the proof ever aggregates."""
        assert [next(iter(stage)) for stage in pipeline] == ["$sort", "$group", "$sort", "$project"], pipeline
        newest: Document | None = None
        for entry in self.find({}, sort=[("account", 1), ("sequence", 1)]):
            if newest is not None and newest["account"] != entry["account"]:
                yield {"account": newest["account"], "balance": newest["balance"]}
            newest = entry
        if newest is not None:
            yield {"account": newest["account"], "balance": newest["balance"]}

    def matching(self, query: Document, sort: list[tuple[str, int]]) -> Iterator[tuple[bytes, Document]]:
        """Yield the documents that match a query, as BSON and decoded."""
        conditions, values = _conditions(query)
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        order = ", ".join(f'"{_column(name)}" {"ASC" if way > 0 else "DESC"}' for name, way in sort)
        statement = f'SELECT document FROM "{self._name}" {where} {f"ORDER BY {order}" if order else ""}'  # noqa: S608 -- names of ours
        cursor = self._connection.execute(statement, values)
        cursor.arraysize = _READ_AT_ONCE
        while rows := cursor.fetchmany():
            for (raw,) in rows:
                document = bson.decode(raw, CODEC)
                if _matches(document, query):
                    yield raw, document


class _Found:
    """The part of PyMongo's Cursor that the proof uses."""

    def __init__(self, collection: FileCollection, query: Document, sort: list[tuple[str, int]], fields: Any) -> None:
        self._collection = collection
        self._query = query
        self._sort = sort
        self._fields = fields

    def sort(self, name: str, way: int) -> "_Found":
        """Return the same in another order."""
        return _Found(self._collection, self._query, [(name, way)], self._fields)

    def __iter__(self) -> Iterator[Document]:
        asked = self._fields if isinstance(self._fields, Mapping) else {}
        renamed = {new: old[1:] for new, old in asked.items() if isinstance(old, str)}
        for _, document in self._collection.matching(self._query, self._sort):
            yield document | {new: document[old] for new, old in renamed.items() if old in document}


def _only(document: Document, fields: Mapping[str, int]) -> bytes:
    """Return these fields of a document as BSON, in the document's own order, as MongoDB does."""
    return bson.encode({name: value for name, value in document.items() if fields.get(name, name == "_id")})


def _column(name: str) -> str:
    if name not in _COLUMNS:
        raise ValueError(f"A copy cannot be sorted by {name!r}.")
    return name


def _as_column(value: Any) -> Any:
    """Return a value that SQLite compares as MongoDB compares the original."""
    if isinstance(value, ObjectId):
        return value.binary
    return value if isinstance(value, int | str) and not isinstance(value, bool) and _fits(value) else None


def _fits(value: int | str) -> bool:
    return isinstance(value, str) or -(2**63) <= value < 2**63


def _conditions(query: Document) -> tuple[list[str], list[Any]]:
    """Return the conditions of a query that an index can answer. `_matches` decides in the end."""
    conditions: list[str] = []
    values: list[Any] = []
    for name, wanted in query.items():
        if name not in _COLUMNS:
            continue
        if not isinstance(wanted, Mapping):
            among = [wanted]
        elif "$in" in wanted:
            among = list(wanted["$in"])
        elif "$gte" in wanted:
            conditions.append(f'"{name}" >= ?')
            values.append(_as_column(wanted["$gte"]))
            continue
        else:
            continue
        known = [value for value in map(_as_column, among) if value is not None]
        conditions.append(f'"{name}" IN ({", ".join("?" * len(known))})')
        values += known
    return conditions, values


def _matches(document: Document, query: Document) -> bool:
    return all(_is_what_is_wanted(document.get(name), wanted) for name, wanted in query.items())


def _is_what_is_wanted(found: Any, wanted: Any) -> bool:
    if not isinstance(wanted, Mapping):
        return bool(found == wanted) or (isinstance(found, list) and wanted in found)
    for operator, operand in wanted.items():
        match operator:
            case "$in":
                is_fine = found in operand
            case "$gte":
                is_fine = type(found) is type(operand) and found >= operand
            case "$regex":
                is_fine = isinstance(found, str) and found.startswith(operand.removeprefix("^"))
            case _:
                raise ValueError(f"A copy cannot be asked with {operator!r}.")
        if not is_fine:
            return False
    return True
