"""Makes a new database, and runs what is pending on an older one. One process on all hosts does it at a time."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pymongo
from pymongo.database import Database

from app.mongo import Document, leases
from app.mongo.client import NO_LIMIT_S
from app.mongo.migrations import record, shape, version_2
from app.mongo.migrations.steps import Migration, Phase, Refused, Step, Watch
from app.mongo.readiness import refuse_standalone
from app.mongo.schema import VALIDATORS

LEASE = "migrations"
# A process that was killed keeps the others waiting for this long.
LEASE_DURATION = timedelta(seconds=20)

# In the order of their numbers. Each version has at least one.
MIGRATIONS: Sequence[Migration] = version_2.MIGRATIONS
LATEST = MIGRATIONS[-1].version
# For each version, the check that the previous release has gone. It raises Refused if it has not.
GONE: dict[int, Callable[[Database[Document]], None]] = {2: version_2.refuse_while_version_1_posts}
# Without any of these, the database is new. The others may have documents by accident, such as a lease.
_TELLING = ("users", "accounts", "transactions", "ledger_entries", "audit_log")


class _Nobody:
    def waits(self, holder: str) -> None:
        """Tell nobody."""

    @contextlib.contextmanager
    def follows(self, title: str, length: int | None) -> Iterator[Callable[[int], None]]:
        """Show nobody."""
        yield lambda _done: None


NOBODY = _Nobody()


def ensure_schema(database: Database[Document]) -> None:
    """Make the schema, or bring it up to date and finish. No process of an older release may be using the database."""
    version = (record.find_version(database) or {}).get("version")
    if version in (None, LATEST):
        create(database)
    if version is not None:
        upgrade(database)
        finish(database)


def create(database: Database[Document], watch: Watch = NOBODY) -> bool:
    """Make the schema in a new database; return False if it was there. Add what a database of this version lacks.

    It needs an administrator's rights and a replica set. Raises Standalone without a replica set, and Refused if the
    database has the schema of another version, or documents but no schema.
    """
    with _alone(database, watch):
        _refuse_unrestored(database)
        found = record.find_version(database)
        if found is None:
            _refuse_unknown_documents(database)
        elif found["version"] != LATEST:
            raise Refused(
                f"The database {database.name!r} has version {found['version']} of the schema, not {LATEST}. "
                "Run `flask --app wsgi db upgrade`."
            )
        elif found.get("shape") == record.shape_digest():
            return False
        _make_shape(database, watch)
        if found is None:
            for migration in MIGRATIONS:
                record.begin(database, migration)
                record.end(database, migration)
        record.put_version(database, LATEST, oldest=(found or {}).get("oldest", LATEST))
        return True


def upgrade(
    database: Database[Document], watch: Watch = NOBODY, migrations: Sequence[Migration] = MIGRATIONS
) -> list[Migration]:
    """Run the pending migrations of the next version that leave the old release what it needs; return those run now.

    It needs what `create` needs. It may be killed at any time; the next call goes on where it was. Raises Refused if
    there is no schema, if it is newer than this program, or if the upgrade before is not finished.
    """
    with _alone(database, watch) as check:
        found = _known_version(database, migrations)
        version: int = found["version"]
        _reopen_if_set_back(database, version)
        waiting = record.pending(database, migrations)
        next_version = min(version + 1, migrations[-1].version)
        due = [each for each in waiting if each.version <= next_version and each.phase is Phase.EXPAND]
        is_shaped = found.get("shape") == record.shape_digest()
        if next_version > version:
            if any(each.version <= version for each in waiting) or _unfinished(database, version):
                raise Refused("The upgrade before this one is not finished: run `flask --app wsgi db finish` first.")
            record.mark_upgrade(database, next_version, "begun_at")
        elif is_shaped and not due:
            return []
        if not is_shaped or next_version > version:
            _make_shape(database, watch)
        _run_all(database, due, watch, check)
        if next_version > version:
            record.mark_upgrade(database, next_version, "expanded_at")
        record.put_version(database, next_version, oldest=min(version, found.get("oldest", version)))
        return due


def finish(
    database: Database[Document], watch: Watch = NOBODY, migrations: Sequence[Migration] = MIGRATIONS
) -> list[Migration]:
    """Write that the old release has gone, and run the migrations that need that; return those run now.

    Raises Refused if the upgrade has not run, or if a process of the old release is seen to be at work.
    """
    with _alone(database, watch) as check:
        version: int = _known_version(database, migrations)["version"]
        due = [each for each in record.pending(database, migrations) if each.version <= version]
        if any(each.phase is Phase.EXPAND for each in due) or (version < migrations[0].version):
            raise Refused("The upgrade has not run to its end: run `flask --app wsgi db upgrade` first.")
        for unfinished in _unfinished(database, version):
            if unfinished in GONE:
                GONE[unfinished](database)
            record.mark_upgrade(database, unfinished, "finished_at")
        _run_all(database, due, watch, check)
        record.put_oldest(database, version)
        return due


@dataclass(frozen=True, slots=True)
class State:
    """The state of a database's upgrade. `running` is who works on it."""

    version: int | None
    oldest: int | None
    is_shaped: bool
    pending: list[Migration]
    is_finished: bool
    running: str | None
    notes: list[str]

    @property
    def is_up_to_date(self) -> bool:
        """Tell whether nothing is left to do."""
        return self.version == LATEST and self.is_shaped and self.is_finished and not self.pending


def state(database: Database[Document]) -> State:
    """Return the state of the upgrade. The application's own role is enough."""
    found = record.find_version(database) or {}
    holder = leases.holder_of(database, LEASE)
    return State(
        version=found.get("version"),
        oldest=found.get("oldest", found.get("version")),
        is_shaped=found.get("shape") == record.shape_digest(),
        pending=record.pending(database, MIGRATIONS),
        is_finished=record.is_finished(database),
        running=leases.shown(holder) if holder else None,
        notes=record.notes(database),
    )


@contextlib.contextmanager
def _alone(database: Database[Document], watch: Watch) -> Iterator[Callable[[], None]]:
    """Hold the lease, with no time limit on the work done meanwhile; yield the check that it is still held."""
    # This asks with the usual time limit. Otherwise we would wait for ever for a database that is away.
    refuse_standalone(database.client)
    # Building an index takes longer than any other operation may.
    with pymongo.timeout(NO_LIMIT_S):
        waits = lambda holder: watch.waits(leases.shown(holder))  # noqa: E731
        with leases.kept(database, LEASE, LEASE_DURATION, waits) as check:
            yield check


def _known_version(database: Database[Document], migrations: Sequence[Migration]) -> Document:
    _refuse_unrestored(database)
    found = record.find_version(database)
    if found is None:
        raise Refused(f"The database {database.name!r} has no schema. Run `flask --app wsgi db init`.")
    if found["version"] > migrations[-1].version:
        raise Refused(
            f"The database {database.name!r} has version {found['version']} of the schema, and this program only knows "
            f"{migrations[-1].version}. Use the newer program."
        )
    return found


def _unfinished(database: Database[Document], version: int) -> list[int]:
    """Return the versions up to this one that came while an older release was in use, and perhaps still is."""
    return [each.version for each in record.windows(database) if each.version <= version and each.finished_at is None]


def _refuse_unrestored(database: Database[Document]) -> None:
    if record.find_restore(database) is not None:
        raise Refused(
            f"The restore of the database {database.name!r} is not complete. Run "
            "`flask --app wsgi backup restore` again, or drop the database."
        )


def _refuse_unknown_documents(database: Database[Document]) -> None:
    for name in _TELLING:
        if database[name].find_one({}, projection=["_id"]) is not None:
            raise Refused(
                f"The database {database.name!r} has documents in {name!r} but no version of the schema. It may be "
                "a copy that is not complete. Restore it again, or use an empty database."
            )


def _reopen_if_set_back(database: Database[Document], version: int) -> None:
    """Forget what was done for a newer version if the old release's `db init` has put its own schema back."""
    for window in record.windows(database):
        if window.version > version and window.expanded_at is not None:
            record.reopen_upgrade(database, window.version)


def _make_shape(database: Database[Document], watch: Watch) -> None:
    with watch.follows("Collections and indexes", len(VALIDATORS)) as advanced:
        shape.make(database, advanced)


def _run_all(database: Database[Document], due: Sequence[Migration], watch: Watch, check: Callable[[], None]) -> None:
    for migration in due:
        check()
        length = database[migration.size].estimated_document_count() if migration.size else None
        with watch.follows(f"{migration.number}: {migration.name}", length) as advanced:
            _run_one(database, migration, advanced, check)


def _run_one(
    database: Database[Document], migration: Migration, advanced: Callable[[int], None], check: Callable[[], None]
) -> None:
    def keep(position: Any) -> None:
        check()
        record.keep(database, migration, position)

    position = record.begin(database, migration)
    step = Step(database, position, advanced, keep, lambda text: record.note(database, migration, text))
    migration.run(step)
    check()
    record.end(database, migration)
