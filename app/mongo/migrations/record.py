"""The record of a database's upgrades. The package's docstring describes the documents."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo.database import Database
from pymongo.write_concern import WriteConcern

from app.mongo import Document, leases
from app.mongo.migrations.steps import Migration
from app.mongo.privileges import PRIVILEGES
from app.mongo.schema import INDEXES, SCHEMA_VERSION, VALIDATORS

RESTORE = "restore"
_DURABLE = WriteConcern(w="majority", j=True)


@dataclass(frozen=True, slots=True)
class Window:
    """The time in which an older release may have written beside a newer one. Without `finished_at`, it still may."""

    version: int
    begun_at: datetime
    expanded_at: datetime | None
    finished_at: datetime | None


def shape_digest() -> str:
    """Return a digest of the validators, indexes and rights of this program."""
    shape = {
        "validators": VALIDATORS,
        "indexes": {name: [dict(index.document) for index in indexes] for name, indexes in INDEXES.items()},
        "privileges": PRIVILEGES,
    }
    return hashlib.sha256(json.dumps(shape, sort_keys=True, default=dict).encode()).hexdigest()[:16]


def find_version(database: Database[Document]) -> Document | None:
    """Return the document of the schema's version, or None if no schema was ever made."""
    return database["schema"].find_one({"_id": "version"})


def put_version(database: Database[Document], version: int, *, oldest: int) -> None:
    """Write which version the schema has, and which releases may use it."""
    found = {"version": version, "oldest": oldest, "shape": shape_digest()}
    database["schema"].update_one({"_id": "version"}, {"$set": found}, upsert=True)


def put_oldest(database: Database[Document], oldest: int) -> None:
    """Write which release is the oldest that may use the database."""
    database["schema"].update_one({"_id": "version"}, {"$set": {"oldest": oldest}})


def is_finished(database: Database[Document]) -> bool:
    """Tell whether no upgrade is under way."""
    return all(window.finished_at is not None for window in windows(database))


def windows(database: Database[Document]) -> list[Window]:
    """Return the upgrades of this database, the oldest first."""
    found = database["schema"].find({"_id": {"$regex": "^upgrade "}}).sort("version", 1)
    return [
        Window(each["version"], each["begun_at"], each.get("expanded_at"), each.get("finished_at")) for each in found
    ]


def mark_upgrade(database: Database[Document], version: int, moment: str) -> None:
    """Write that an upgrade has reached `begun_at`, `expanded_at` or `finished_at`. The first time counts."""
    at_first = {"$ifNull": [f"${moment}", "$$NOW"]}
    database["schema"].update_one(
        {"_id": f"upgrade {version}"}, [{"$set": {"version": {"$literal": version}, moment: at_first}}], upsert=True
    )


def reopen_upgrade(database: Database[Document], version: int) -> None:
    """Forget what was done for a version, because the schema went back to an older one after that."""
    database["schema"].update_one({"_id": f"upgrade {version}"}, {"$unset": {"expanded_at": "", "finished_at": ""}})
    database["schema"].delete_many({"_id": {"$regex": "^migration "}, "version": version})


def find_migrations(database: Database[Document]) -> dict[int, Document]:
    """Return the documents of the migrations that began, by their numbers."""
    found = database["schema"].find({"_id": {"$regex": "^migration "}})
    return {each["number"]: each for each in found}


def pending(database: Database[Document], migrations: Sequence[Migration]) -> list[Migration]:
    """Return the migrations that are not done, in order."""
    found = find_migrations(database)
    return [each for each in migrations if "done_at" not in found.get(each.number, {})]


def begin(database: Database[Document], migration: Migration) -> Any:
    """Write that a migration is run by this process; return the position that an earlier run kept, or None."""
    described = {
        "version": migration.version,
        "number": migration.number,
        "name": migration.name,
        "phase": migration.phase.value,
        "by": leases.own_name(),
    }
    literal = {name: {"$literal": value} for name, value in described.items()}
    begun_at = {"$ifNull": ["$begun_at", "$$NOW"]}
    database["schema"].update_one({"_id": _id(migration)}, [{"$set": {**literal, "begun_at": begun_at}}], upsert=True)
    found = database["schema"].find_one({"_id": _id(migration)})
    return found.get("position") if found else None


def keep(database: Database[Document], migration: Migration, position: Any) -> None:
    """Write how far a migration has come."""
    database["schema"].update_one({"_id": _id(migration)}, {"$set": {"position": position}})


def note(database: Database[Document], migration: Migration, text: str) -> None:
    """Add what the operator has to decide."""
    database["schema"].update_one({"_id": _id(migration)}, {"$addToSet": {"notes": text}})


def end(database: Database[Document], migration: Migration) -> None:
    """Write that a migration is done."""
    database["schema"].update_one({"_id": _id(migration)}, [{"$set": {"done_at": "$$NOW"}}, {"$unset": "position"}])


def notes(database: Database[Document]) -> list[str]:
    """Return what the operator has to decide, without what a later migration noted again."""
    found = find_migrations(database)
    return list(dict.fromkeys(text for number in sorted(found) for text in found[number].get("notes", ())))


def find_restore(database: Database[Document]) -> Document | None:
    """Return the mark of a restore that is not complete, or None."""
    return database["schema"].find_one({"_id": RESTORE})


def begin_restore(database: Database[Document], copy: str) -> None:
    """Mark the database as incomplete. `copy` is the digest of the copy's manifest."""
    mark = {"_id": RESTORE, "version": SCHEMA_VERSION, "copy": copy, "done": [], "by": leases.own_name()}
    database["schema"].insert_one(mark)


def keep_restored(database: Database[Document], file: str) -> None:
    """Write that all of a copy's file is in the database."""
    database.get_collection("schema", write_concern=_DURABLE).update_one(
        {"_id": RESTORE}, {"$addToSet": {"done": file}}
    )


def end_restore(database: Database[Document]) -> None:
    """Remove the mark."""
    database.get_collection("schema", write_concern=_DURABLE).delete_one({"_id": RESTORE})


def put_shape(database: Database[Document]) -> None:
    """Write that the database has the shape of this program."""
    database["schema"].update_one({"_id": "version"}, {"$set": {"shape": shape_digest()}})


def _id(migration: Migration) -> str:
    return f"migration {migration.number}"
