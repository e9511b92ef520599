"""The operator's commands: `flask --app wsgi …`."""

import click
from flask import Flask
from flask.cli import AppGroup

from app import mongo, mongo_schema
from app.admin import commands as admin
from app.cli_ledger import ledger
from app.notifications import commands as mail

db = AppGroup("db", help="The database's shape.")


def register(app: Flask) -> None:
    for group in (db, ledger, mail.group, *admin.GROUPS):
        app.cli.add_command(group)


@db.command("init")
def init() -> None:
    """Make collections, validators, indexes and the restricted role.

    Run it with an administrator's MONGO_URI, before the first start and after each
    update. It may run again at any time and leaves data as it is.
    """
    try:
        mongo_schema.ensure_schema(mongo.database())
    except mongo_schema.NotReady as error:
        raise click.ClickException(str(error)) from error
    name = mongo.database().name
    click.echo(
        f"The schema of database {name!r} is in place. Give the application's user the role {mongo_schema.ROLE!r}."
    )
