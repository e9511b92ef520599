"""The operator's commands: `flask --app wsgi …`, one module per subject."""

from flask import Flask

from app.cli import accounts, audit, backup, db, ledger, mail, transactions, users
from app.cli.doctor import doctor


def register(app: Flask) -> None:
    for module in (db, backup, ledger, mail, users, accounts, transactions, audit):
        app.cli.add_command(module.group)
    app.cli.add_command(doctor)


def infirmary() -> Flask:
    """Return an application that has only the command `doctor`, for settings with which the bank refuses to start."""
    app = Flask(__name__)
    app.cli.add_command(doctor)
    return app
