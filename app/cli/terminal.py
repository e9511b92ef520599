"""The output of the operator's commands: aligned text for people, JSON lines for scripts, and exit codes."""

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

from app import ledger, mongo
from app.account_numbers import AccountNumber, WrongCheckDigits
from app.acts import Act
from app.errors import DomainError
from app.fields import flat_messages, read_account, read_id
from app.mongo.readiness import NOT_ALLOWED, NotReady

EXIT_REFUSED = 1
EXIT_NOT_DONE = 3
EXIT_CODES = (
    "Exit codes: 0 done; 1 refused, the reason is on standard error; 2 wrong usage; "
    "3 not done, or not known whether it was done: the settings, the database or the output failed."
)
# How many records a command lists at most. A limit beyond 64 bits would be an error in MongoDB.
LIST_LENGTH_MAX = 1_000_000

Record = Mapping[str, Any]


class NotDone(click.ClickException):
    """The command cannot run because something is missing or does not work; the text says what."""

    exit_code = EXIT_NOT_DONE


class OperatorGroup(AppGroup):
    """A group of commands. Their help lists the exit codes, and a failure ends with one line instead of a traceback."""

    def command(self, *args: Any, **kwargs: Any) -> Any:
        return super().command(*args, **{"epilog": EXIT_CODES, **kwargs})

    def make_context(self, info_name: str | None, args: list[str], *more: Any, **extra: Any) -> click.Context:
        with one_line():
            for number, argument in enumerate(args, start=1):
                if not _is_text(argument):
                    raise click.UsageError(f"Argument {number} of `{info_name}` is not UTF-8.")
            return super().make_context(info_name, args, *more, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with one_line():
            return super().invoke(ctx)


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """If the code in this context fails, end the command with one line on standard error and an exit code."""
    try:
        yield
    except (click.ClickException, Exit):
        # Click prints these, with exit code 1 for a refusal and 2 for wrong usage.
        raise
    except DomainError as refusal:
        _end(f"{refusal.detail} [{refusal.code}]", EXIT_REFUSED if refusal.status < 500 else EXIT_NOT_DONE)
    except NotReady as error:
        _end(str(error))
    except PyMongoError as error:
        _end(database_says(error))
    except (Abort, KeyboardInterrupt, EOFError):
        _end("Interrupted.")
    except OSError as error:
        _discard_output()
        _end(f"The command could not read or write: {error.strerror or error}.")
    except Exception:  # noqa: BLE001 -- Python's own exit code is 1, which here means a refusal or faults
        _end(f"{traceback.format_exc()}This is a bug in Fincore.")


def _end(line: str, code: int = EXIT_NOT_DONE) -> None:
    with contextlib.suppress(OSError):
        click.echo(line, err=True)
    raise Exit(code) from None


def database_says(error: PyMongoError) -> str:
    """Return what is wrong with the database, without its address, which may contain a password."""
    if mongo.is_away(error):
        return "The database cannot be reached."
    if getattr(error, "code", None) in NOT_ALLOWED:
        return "The database refuses the user of MONGO_URI: the password is wrong, or rights are missing."
    # The driver's message ends with the server's whole reply, which is left out. Other errors show only their names,
    # because the text of a malformed MONGO_URI may contain its password.
    reason = str(error).partition(", full error")[0] if isinstance(error, OperationFailure) else type(error).__name__
    return f"The database cannot be used: {reason}. Check MONGO_URI."


def _discard_output() -> None:
    # Python writes buffered output when it ends. That would fail again and change the exit code.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_text(argument: str) -> bool:
    # Python decodes arguments that are not UTF-8 with lone surrogates.
    return not any("\udc80" <= char <= "\udcff" for char in argument)


class IdType(click.ParamType[ObjectId]):
    """An id on the command line."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = read_id(value)
        if found is None:
            self.fail("Not an id: ids are 24 hexadecimal digits.", param, ctx)
        return found


class AccountType(click.ParamType[Any]):
    """An account on the command line: its id or its number. `account_id` finds the id."""

    name = "account"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            found = read_account(value)
        except WrongCheckDigits as error:
            self.fail(str(error), param, ctx)
        if found is None:
            self.fail(
                "Not an account: give its number, FC and 14 digits, or its id, 24 hexadecimal digits.", param, ctx
            )
        return found


def account_id(named: ObjectId | AccountNumber) -> ObjectId:
    """Return the id of an account that the command line names by its id or number."""
    return ledger.ids_of([named])[named] if isinstance(named, AccountNumber) else named


reason_option = click.option("--reason", required=True, help="For the audit log.")
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line, as the API writes them."
)


def command_line_act(reason: str | None = None) -> Act:
    """Return the act for the audit log: who runs this command, on which machine and why."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        # In a container the user may have no name.
        name = str(os.getuid())
    return Act(f"cli:{name}", reason, address=socket.gethostname())


def checked(schema: Schema, values: Record) -> Any:
    """Return the values as the API's schema loads them; raises UsageError where the API would answer 422."""
    try:
        return schema.load(values)
    except ValidationError as error:
        messages = flat_messages(error.messages)
        raise click.UsageError("; ".join(f"{name}: {' '.join(texts)}" for name, texts in messages.items())) from None


def show(record: Record, *, as_json: bool) -> None:
    """Print one record, one line per field."""
    if as_json:
        click.echo(orjson.dumps(record))
        return
    width = max(len(name) for name in record)
    for name, value in record.items():
        click.echo(f"{name:<{width}}  {_text(value)}")


def show_table(records: Iterable[Record], columns: Sequence[str], *, as_json: bool, header: bool = True) -> None:
    """Print records, one line each. With `header`, the names of the columns come first."""
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
    return printable(orjson.dumps(value).decode() if isinstance(value, Mapping) else str(value))


def printable(text: str) -> str:
    """Return the text without characters that would act on a terminal."""
    # Users wrote much of this text. Escape sequences would act on the operator's terminal, and direction marks would
    # show text in another order.
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
