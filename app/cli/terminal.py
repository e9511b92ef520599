"""How the operator's commands speak: aligned text for people, JSON lines for scripts, and exit codes."""

import os
import pwd
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
import orjson
from bson import ObjectId
from flask.cli import AppGroup
from marshmallow import Schema, ValidationError
from pymongo.errors import PyMongoError

from app import mongo
from app.acts import Act
from app.errors import DomainError
from app.fields import flat_messages, read_id
from app.mongo.schema import NotReady

EXIT_REFUSED = 1
EXIT_UNAVAILABLE = 3
EXIT_CODES = (
    "Exit codes: 0 done; 1 refused, the reason is on standard error; 2 wrong usage; "
    "3 the database is away or busy, so that it is not known whether it was done."
)

Record = Mapping[str, Any]


class OperatorGroup(AppGroup):
    """Commands whose help names the exit codes, and that end with them instead of a traceback."""

    def command(self, *args: Any, **kwargs: Any) -> Any:
        return super().command(*args, **{"epilog": EXIT_CODES, **kwargs})

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DomainError as refusal:
            click.echo(f"{refusal.detail} [{refusal.code}]", err=True)
            ctx.exit(EXIT_REFUSED if refusal.status < 500 else EXIT_UNAVAILABLE)
        except NotReady as error:
            click.echo(str(error), err=True)
            ctx.exit(EXIT_UNAVAILABLE)
        except PyMongoError as error:
            if not mongo.is_away(error):
                raise
            click.echo("The database can not be reached.", err=True)
            ctx.exit(EXIT_UNAVAILABLE)


class IdType(click.ParamType[ObjectId]):
    """An id on the command line."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = read_id(value)
        if found is None:
            self.fail("Not an id: ids are 24 hexadecimal digits.", param, ctx)
        return found


reason_option = click.option("--reason", required=True, help="For the audit log.")
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line, as the API writes them.")


def command_line_act(reason: str | None = None) -> Act:
    """Return what the audit log keeps of who runs this command, where and why."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # A container may run us as a user that has no name there.
        name = str(os.getuid())
    return Act(f"cli:{name}", reason, address=socket.gethostname())


def checked(schema: Schema, values: Record) -> Any:
    """Return the values as the API's schema loads them; what the API would refuse with 422 is wrong usage here."""
    try:
        return schema.load(values)
    except ValidationError as error:
        messages = flat_messages(error.messages)
        raise click.UsageError("; ".join(f"{name}: {' '.join(texts)}" for name, texts in messages.items())) from None


def show(record: Record, *, as_json: bool) -> None:
    """Print one record: a line for each of its fields."""
    if as_json:
        click.echo(orjson.dumps(record))
        return
    width = max(len(name) for name in record)
    for name, value in record.items():
        click.echo(f"{name:<{width}}  {_text(value)}")


def show_table(records: Iterable[Record], columns: Sequence[str], *, as_json: bool, header: bool = True) -> None:
    """Print records: a line for each, below the names of the columns if `header`."""
    if as_json:
        for record in records:
            click.echo(orjson.dumps(record))
        return
    lines = [[_text(record.get(name)) for name in columns] for record in records]
    if header:
        lines.insert(0, list(columns))
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    for line in lines:
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _text(value: Any) -> str:
    if value is None:
        return "-"
    text = orjson.dumps(value).decode() if isinstance(value, Mapping) else str(value)
    # Much of it was written by people who are not the operator. Escape sequences would act on the terminal, and marks
    # of direction show one thing for another.
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
