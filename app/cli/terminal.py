"""How the operator's commands speak: aligned text for people, JSON lines for scripts, and exit codes."""

import contextlib
import os
import pwd
import socket
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import click
import orjson
from bson import ObjectId
from click.exceptions import Abort, Exit
from flask.cli import AppGroup
from marshmallow import Schema, ValidationError
from pymongo.errors import OperationFailure, PyMongoError

from app import mongo
from app.acts import Act
from app.errors import DomainError
from app.fields import flat_messages, read_id
from app.mongo.schema import NOT_ALLOWED, NotReady

EXIT_REFUSED = 1
EXIT_NOT_DONE = 3
EXIT_CODES = (
    "Exit codes: 0 done; 1 refused, the reason is on standard error; 2 wrong usage; "
    "3 not done, or not known whether it was done: the settings, the database or the output failed."
)
# Of what can be listed at once. MongoDB takes no number that needs more than 64 bits.
LIST_LENGTH_MAX = 1_000_000

Record = Mapping[str, Any]


class NotDone(click.ClickException):
    """What the command needs is not there; the text says what."""

    exit_code = EXIT_NOT_DONE


class OperatorGroup(AppGroup):
    """Commands whose help names the exit codes, and that end with one of them and one line instead of a traceback."""

    def command(self, *args: Any, **kwargs: Any) -> Any:
        return super().command(*args, **{"epilog": EXIT_CODES, **kwargs})

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> click.Context:
        with _one_line():
            for number, argument in enumerate(args, start=1):
                if not _is_text(argument):
                    raise click.UsageError(f"Argument {number} of `{info_name}` is not UTF-8.")
            return super().make_context(info_name, args, *more, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _one_line():
            return super().invoke(ctx)


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """End the command with one line on standard error and its exit code if what is done here fails."""
    try:
        yield
    except (click.ClickException, Exit):
        # Click says the rest, with 1 for a refusal and 2 for wrong usage.
        raise
    except DomainError as refusal:
        _end(f"{refusal.detail} [{refusal.code}]", EXIT_REFUSED if refusal.status < 500 else EXIT_NOT_DONE)
    except NotReady as error:
        _end(str(error))
    except PyMongoError as error:
        _end(_database_says(error))
    except (Abort, KeyboardInterrupt, EOFError):
        _end("Interrupted.")
    except OSError as error:
        _discard_output()
        _end(f"What the command reads or writes failed: {error.strerror or error}.")
    except Exception:  # noqa: BLE001 -- by default Python's exit code is 1, which here means a refusal or a fault
        _end(f"{traceback.format_exc()}This is a bug in Fincore.")


def _end(line: str, code: int = EXIT_NOT_DONE) -> None:
    with contextlib.suppress(OSError):
        click.echo(line, err=True)
    raise Exit(code) from None


def _database_says(error: PyMongoError) -> str:
    if mongo.is_away(error):
        return "The database can not be reached."
    if getattr(error, "code", None) in NOT_ALLOWED:
        return "The database refuses the user of MONGO_URI: the password is wrong, or rights are missing."
    # What follows in the driver's message is the whole reply. What a URI could not be read for may be its password.
    reason = str(error).partition(", full error")[0] if isinstance(error, OperationFailure) else type(error).__name__
    return f"The database can not be used: {reason}. Check MONGO_URI."


def _discard_output() -> None:
    # What is still buffered would fail again when Python ends, and change the exit code.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_text(argument: str) -> bool:
    # Python carries bytes that are not UTF-8 through as lone surrogates.
    return not any("\udc80" <= char <= "\udcff" for char in argument)


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
