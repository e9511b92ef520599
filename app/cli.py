"""The operator's commands: `flask --app wsgi …`."""

import click
from flask import Flask
from pymongo.errors import OperationFailure

from app import mongo, mongo_schema
from app.admin import commands as admin
from app.admin.terminal import OperatorGroup
from app.cli_ledger import ledger
from app.notifications import commands as mail

# docs/architecture.md, "When the database hangs".
BLOCK_LIFETIME_MAX_S = 10

db = OperatorGroup("db", help="The database's shape.")


def register(app: Flask) -> None:
    for group in (db, ledger, mail.group, *admin.GROUPS):
        app.cli.add_command(group)


@db.command("init")
def init() -> None:
    """Make collections, validators, indexes and the restricted role.

    Run it with an administrator's MONGO_URI, before the first start and after each
    update. It may run again at any time and leaves data as it is.
    """
    database = mongo.database()
    try:
        mongo_schema.ensure_schema(database)
    except mongo_schema.NotReady as error:
        raise click.ClickException(str(error)) from error
    except OperationFailure as error:
        if error.code not in mongo_schema.NOT_ALLOWED:
            raise
        raise click.ClickException(
            "The user of MONGO_URI may not shape the database, or the password is wrong. Use an administrator's."
        ) from error
    click.echo(
        f"The schema of database {database.name!r} is in place. "
        f"Give the application's user the role {mongo_schema.ROLE!r}."
    )
    lifetime_s = mongo_schema.block_lifetime_s(database.client)
    if lifetime_s is not None and lifetime_s > BLOCK_LIFETIME_MAX_S:
        click.echo(
            f"Advice: the server keeps the blocks of clients that went away for {lifetime_s} s, and their accounts are "
            f"busy so long. Set transactionLifetimeLimitSeconds to {BLOCK_LIFETIME_MAX_S} or less."
        )
