"""The operator's commands for copies of the bank: `flask --app wsgi backup …`."""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from app import mongo
from app.backup import copy
from app.backup.create import create
from app.backup.files import BadCopy
from app.backup.restore import restore
from app.cli.ledger import VERIFY_EXIT_CODES, print_report
from app.cli.progress import Progress
from app.cli.terminal import OperatorGroup
from app.ledger.proof.faults import Report
from app.mongo.migrations import run
from app.mongo.migrations.steps import Refused

group = OperatorGroup("backup", help="Copies of the whole bank.")
_directory = click.argument("directory", type=click.Path(file_okay=False, path_type=Path))


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except (BadCopy, Refused) as refusal:
        raise click.ClickException(str(refusal)) from None


@group.command("create")
@_directory
def create_backup(directory: Path) -> None:
    """Copy the whole bank as of one moment into DIRECTORY, while it works.

    If it is interrupted, run it again with the same DIRECTORY. The copy has password
    hashes and sessions: encrypt it, and let nobody else read it.
    """
    begun = time.perf_counter()
    with _refusing():
        manifest = create(mongo.database(), directory, Progress())
    accounts = manifest.heads.documents if manifest.heads else 0
    click.echo(
        f"Copied {manifest.size:,} documents, with {manifest.documents('ledger_entries'):,} entries of {accounts:,} "
        f"accounts, to {directory} in {time.perf_counter() - begun:.1f} s."
    )


@group.command("verify", epilog=VERIFY_EXIT_CODES)
@_directory
def verify_backup(directory: Path) -> None:
    """Prove a copy and its ledger, without a database.

    Every file is compared with the manifest, every journal with the list of accounts, and
    the ledger is checked as `ledger verify` checks it.
    """
    begun = time.perf_counter()
    with _refusing():
        report = copy.prove(directory, Progress())
    _end(report, time.perf_counter() - begun)


@group.command("restore", epilog=VERIFY_EXIT_CODES)
@_directory
def restore_backup(directory: Path) -> None:
    """Put a copy into an empty database, and verify it there.

    Run it with an administrator's MONGO_URI. If it is interrupted, run it again. Until it
    is done, no process starts on the database.
    """
    begun = time.perf_counter()
    with _refusing():
        report = restore(mongo.database(), directory, Progress())
    click.echo("The copy is in the database, which can be used.")
    if not run.state(mongo.database()).is_up_to_date:
        click.echo("The schema is not up to date: see `flask --app wsgi db status`.")
    _end(report, time.perf_counter() - begun)


def _end(report: Report, seconds: float) -> None:
    print_report(report, seconds)
    sys.exit(0 if report.is_sound else 1)
