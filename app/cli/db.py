"""The operator's commands for the database's schema: `flask --app wsgi db …`."""

import click
from pymongo.errors import OperationFailure

from app import mongo
from app.cli.terminal import OperatorGroup
from app.mongo import readiness
from app.mongo.migrations import shape
from app.mongo.schema import ROLE

UNAUTHORIZED = 13
# docs/architecture.md, "When the database hangs".
BLOCK_LIFETIME_MAX_S = 10

group = OperatorGroup("db", help="The database's schema.")


@group.command("init")
def init() -> None:
    """Create collections, validators, indexes and the restricted role, and upgrade data.

    Run it with an administrator's MONGO_URI, before the first start and after each
    update. It may run again at any time. It converts data of earlier versions and
    leaves all other data as it is.
    """
    database = mongo.database()
    try:
        shared = shape.ensure_schema(database)
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        raise click.ClickException(
            "The user of MONGO_URI may not change the schema. Use an administrator's."
        ) from error
    click.echo(f"The schema of database {database.name!r} is in place. Give the application's user the role {ROLE!r}.")
    for address in shared:
        click.echo(
            f"Attention: the users {address.holder} and {address.other} have one and the same address. The first keeps "
            f"it. The address of {address.other} was left as it is, and they cannot log in with it: decide whose it is."
        )
    lifetime_s = readiness.block_lifetime_s(database.client)
    if lifetime_s is not None and lifetime_s > BLOCK_LIFETIME_MAX_S:
        click.echo(
            f"Advice: if a client disappears, the server keeps its open transaction for {lifetime_s} s, and the "
            f"accounts in it stay locked. Set transactionLifetimeLimitSeconds to {BLOCK_LIFETIME_MAX_S} or less."
        )
