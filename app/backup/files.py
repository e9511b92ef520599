"""The files of a copy: parts, each of which is complete or missing, and the manifest that lists them."""

import gzip
import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import orjson

FORMAT = 1
MANIFEST = "manifest.json"
INCOMPLETE = "incomplete.json"
HEADS = "heads.gz"
# The ending of a manifest that is being written.
UNFINISHED = ".new"
# Before compression. After an interruption, at most this much is read again.
PART_BYTES_MAX = 64 * 1024**2
# Higher levels take much more time and save little.
COMPRESSION = 3
_READ_AT_ONCE = 1024**2
_LENGTH = struct.Struct("<i")
# MongoDB allows 16 MiB, and some more inside the server.
_DOCUMENT_BYTES_MAX = 17 * 1024**2


class BadCopy(Exception):
    """The directory is not a complete, intact copy; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Part:
    """A complete file: how many documents (or lines) it has, and the SHA-256 of its bytes."""

    file: str
    documents: int
    sha256: str


@dataclass(slots=True)
class Manifest:
    """The contents of a copy, and while it is being made, how far it has come."""

    format: int = FORMAT
    database: str = ""
    schema_version: int = 0
    cluster_time: list[int] = field(default_factory=list)
    made_at: str = ""
    parts: dict[str, list[Part]] = field(default_factory=dict)
    heads: Part | None = None
    # The account and the sequence of the last entry of the last part, while there are more to come.
    position: list[Any] | None = None

    def documents(self, name: str) -> int:
        """Return how many documents of a collection the copy has."""
        return sum(part.documents for part in self.parts.get(name, ()))

    @property
    def size(self) -> int:
        """Return how many documents the copy has."""
        return sum(map(self.documents, self.parts))


def read_manifest(directory: Path) -> Manifest:
    """Return the manifest of a complete copy; raises BadCopy."""
    if (directory / INCOMPLETE).exists():
        raise BadCopy(
            f"The copy in {directory} is not complete: run `flask --app wsgi backup create {directory}` again."
        )
    return _read(directory / MANIFEST)


def read_incomplete(directory: Path) -> Manifest | None:
    """Return how far an unfinished copy has come, or None if there is none."""
    return _read(directory / INCOMPLETE) if (directory / INCOMPLETE).exists() else None


def _read(file: Path) -> Manifest:
    try:
        read = orjson.loads(file.read_bytes())
        if read["format"] != FORMAT:
            raise BadCopy(f"{file} has format {read['format']}, and this program reads {FORMAT}.")
        parts = {name: [Part(**part) for part in some] for name, some in read["parts"].items()}
        return Manifest(**{**read, "parts": parts, "heads": Part(**read["heads"]) if read["heads"] else None})
    except FileNotFoundError:
        raise BadCopy(f"There is no copy in {file.parent}: {file.name} is missing.") from None
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise BadCopy(f"{file} cannot be read: {error}") from None


def write_progress(directory: Path, manifest: Manifest) -> None:
    """Write how far the copy has come, all or nothing."""
    _replace(directory / INCOMPLETE, manifest)


def complete(directory: Path, manifest: Manifest) -> None:
    """Write the manifest, which completes the copy."""
    _replace(directory / MANIFEST, manifest)
    (directory / INCOMPLETE).unlink()
    _sync_directory(directory)


def _replace(file: Path, manifest: Manifest) -> None:
    new = file.with_suffix(UNFINISHED)
    new.unlink(missing_ok=True)
    with _create(new) as written:
        written.write(orjson.dumps(asdict(manifest), option=orjson.OPT_INDENT_2))
        written.flush()
        os.fsync(written.fileno())
    new.replace(file)
    _sync_directory(file.parent)


def _create(file: Path) -> BinaryIO:
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class PartWriter:
    """Writes one file. `end` makes it complete; without it, the file does not belong to the copy."""

    def __init__(self, directory: Path, file: str) -> None:
        self._path = directory / file
        self._path.unlink(missing_ok=True)
        self._file = _create(self._path)
        self._gzip = gzip.GzipFile("", "wb", COMPRESSION, self._file, mtime=0)
        self.documents = 0
        self.bytes = 0

    def write(self, content: bytes, documents: int) -> None:
        """Add documents or lines."""
        self._gzip.write(content)
        self.documents += documents
        self.bytes += len(content)

    @property
    def is_full(self) -> bool:
        """Tell whether to start another file."""
        return self.bytes >= PART_BYTES_MAX

    def end(self) -> Part:
        """Make the file safe on the disk, and return its entry for the manifest."""
        self._gzip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        _sync_directory(self._path.parent)
        return Part(self._path.name, self.documents, sha256_of(self._path))

    def abandon(self) -> None:
        """Close the file as it is."""
        self._gzip.close()
        self._file.close()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_part(directory: Path, part: Part) -> None:
    """Raise BadCopy unless the file is as the manifest says."""
    path = directory / part.file
    if path.name != part.file or not path.is_file():
        raise BadCopy(f"{part.file} is missing.")
    if sha256_of(path) != part.sha256:
        raise BadCopy(f"{part.file} is not what the manifest says: its SHA-256 is another.")


def documents_of(directory: Path, part: Part) -> Iterator[bytes]:
    """Yield the documents of a file as BSON; raises BadCopy if there are more or fewer than the manifest says."""
    found = 0
    try:
        with gzip.open(directory / part.file) as content:
            while head := content.read(_LENGTH.size):
                length = _LENGTH.unpack(head)[0]
                if not _LENGTH.size < length <= _DOCUMENT_BYTES_MAX:
                    raise BadCopy(f"{part.file} has a document of {length} bytes.")
                document = head + content.read(length - _LENGTH.size)
                if len(document) < length:
                    raise BadCopy(f"{part.file} ends in the middle of a document.")
                found += 1
                yield document
    except (OSError, EOFError, struct.error) as error:
        raise BadCopy(f"{part.file} cannot be read: {error}") from None
    if found != part.documents:
        raise BadCopy(f"{part.file} has {found} documents, and the manifest says {part.documents}.")


def heads_of(directory: Path, part: Part) -> Iterator[tuple[str, int, str]]:
    """Yield each account's id, and the sequence and hash of its newest entry; the highest id first.

    Raises BadCopy if there are more or fewer than the manifest says.
    """
    found = 0
    try:
        with gzip.open(directory / part.file, "rt") as lines:
            for line in lines:
                account, sequence, hash_ = line.split()
                found += 1
                yield account, int(sequence), hash_
    except (OSError, EOFError, ValueError) as error:
        raise BadCopy(f"{part.file} cannot be read: {error}") from None
    if found != part.documents:
        raise BadCopy(f"{part.file} has {found} accounts, and the manifest says {part.documents}.")


def split(batch: bytes) -> Iterator[bytes]:
    """Yield the documents of a raw batch."""
    begin = 0
    while begin < len(batch):
        end = begin + _LENGTH.unpack_from(batch, begin)[0]
        yield batch[begin:end]
        begin = end
