"""The operator's commands for the database's schema: `flask --app wsgi db …`."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click
import orjson
from pymongo.errors import OperationFailure

from app import mongo
from app.cli.progress import Progress
from app.cli.terminal import OperatorGroup, show
from app.mongo.migrations import run
from app.mongo.migrations.steps import Migration, Phase, Refused
from app.mongo.readiness import block_lifetime_s
from app.mongo.schema import ROLE, SCHEMA_VERSION

UNAUTHORIZED = 13
# docs/architecture.md, "When the database hangs".
BLOCK_LIFETIME_MAX_S = 10
STATUS_EXIT_CODES = (
    "Exit codes: 0 nothing is left to do; 1 something is pending or being done; 2 wrong usage; "
    "3 not done, so it is not known: the settings, the database or the output failed."
)

group = OperatorGroup("db", help="The database's schema, and its upgrades.")


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except Refused as refusal:
        raise click.ClickException(str(refusal)) from None
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        raise click.ClickException(
            "The user of MONGO_URI may not change the schema. Use an administrator's."
        ) from error


@group.command("init")
def init() -> None:
    """Create collections, validators, indexes and the restricted role in a new database.

    Run it with an administrator's MONGO_URI, before the first start. It may run again at
    any time. A database of an older version is left to `db upgrade`.
    """
    database = mongo.database()
    with _refusing():
        run.create(database, Progress())
    click.echo(f"The schema of database {database.name!r} is in place. Give the application's user the role {ROLE!r}.")
    _say_notes()
    _advise()


@group.command("upgrade")
def upgrade() -> None:
    """Prepare the database for this version, while the previous version goes on serving.

    Run it with an administrator's MONGO_URI before the first process of this version
    starts. If other hosts run it too, one does the work and the others wait for it. If it
    is interrupted, run it again: it continues where it stopped.
    """
    with _refusing():
        done = run.upgrade(mongo.database(), Progress())
    _say_done(done)
    if not run.state(mongo.database()).is_finished:
        click.echo(
            "Now start this version, stop every process of the previous version, and run `flask --app wsgi db finish`. "
            "Until then the previous version can still be used."
        )
    _say_notes()


@group.command("finish")
def finish() -> None:
    """Confirm that no process of the previous version runs any more, and do the work that had to wait for that.

    Run it with an administrator's MONGO_URI. After it, the previous version no longer starts.
    """
    with _refusing():
        done = run.finish(mongo.database(), Progress())
    _say_done(done)
    _say_notes()


@group.command("status", epilog=STATUS_EXIT_CODES)
@click.option("--json", "as_json", is_flag=True, help="Report as JSON on standard output.")
def status(as_json: bool) -> None:
    """Show the schema's version, what is pending, and who is at work on it."""
    state = run.state(mongo.database())
    if as_json:
        click.echo(orjson.dumps(_as_json(state), option=orjson.OPT_INDENT_2))
    else:
        show(
            {
                "version": state.version,
                "needed": SCHEMA_VERSION,
                "usable from": state.oldest,
                "shape": "in place" if state.is_shaped else "to be made",
                "pending": len(state.pending),
                "finished": "yes" if state.is_finished else "no: run `flask --app wsgi db finish`",
                "running": state.running,
            },
            as_json=False,
        )
        for migration in state.pending:
            click.echo(f"  {migration.number}  {_command(migration)}  {migration.name}")
        for note in state.notes:
            click.echo(f"Attention: {note}")
    sys.exit(0 if state.is_up_to_date and state.running is None else 1)


def _as_json(state: run.State) -> dict[str, Any]:
    return {
        "version": state.version,
        "needed": SCHEMA_VERSION,
        "usableFrom": state.oldest,
        "shaped": state.is_shaped,
        "pending": [
            {"number": each.number, "version": each.version, "command": _command(each), "name": each.name}
            for each in state.pending
        ],
        "finished": state.is_finished,
        "running": state.running,
        "notes": state.notes,
    }


def _command(migration: Migration) -> str:
    return "upgrade" if migration.phase is Phase.EXPAND else "finish"


def _say_done(done: Sequence[Migration]) -> None:
    version = run.state(mongo.database()).version
    count = len(done)
    what = "Nothing was pending." if not done else f"{count} migration{'s' if count > 1 else ''} done."
    click.echo(f"{what} The schema has version {version}.")


def _say_notes() -> None:
    for note in run.state(mongo.database()).notes:
        click.echo(f"Attention: {note}")


def _advise() -> None:
    lifetime_s = block_lifetime_s(mongo.database().client)
    if lifetime_s is not None and lifetime_s > BLOCK_LIFETIME_MAX_S:
        click.echo(
            f"Advice: if a client disappears, the server keeps its open transaction for {lifetime_s} s, and the "
            f"accounts in it stay locked. Set transactionLifetimeLimitSeconds to {BLOCK_LIFETIME_MAX_S} or less."
        )
