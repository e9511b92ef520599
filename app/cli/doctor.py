"""`flask --app wsgi doctor`: says what is wrong with an installation, even if the bank refuses to start."""

import sys
from dataclasses import asdict

import click
import orjson

from app.cli.checkups import Finding, State, examine
from app.cli.terminal import one_line, printable

DOCTOR_EXIT_CODES = "Exit codes: 0 no faults; 1 faults; 2 wrong usage; 3 not done."
_WIDTH = max(map(len, State))


@click.command("doctor", epilog=DOCTOR_EXIT_CODES)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per finding and line.")
def doctor(as_json: bool) -> None:
    """Check the settings, the database, the rights, the clock, mail and disks, and say what to do.

    It changes nothing, and may run at any time. With the application's own MONGO_URI it shows what
    the bank itself can do; with an administrator's, it also compares indexes and validators.
    """
    has_faults = False
    with one_line():
        for finding in examine():
            has_faults |= finding.state is State.FAULT
            click.echo(orjson.dumps(asdict(finding)) if as_json else _text(finding))
    sys.exit(1 if has_faults else 0)


def _text(finding: Finding) -> str:
    line = f"{finding.state:<{_WIDTH}}  {finding.subject}: {printable(finding.found)}"
    return line if finding.advice is None else f"{line}\n{'':<{_WIDTH}}  -> {printable(finding.advice)}"
