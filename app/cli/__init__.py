"""The operator's commands: `flask --app wsgi …`, one module per subject."""

from flask import Flask

from app.cli import accounts, audit, backup, db, ledger, mail, transactions, users


def register(app: Flask) -> None:
    for module in (db, backup, ledger, mail, users, accounts, transactions, audit):
        app.cli.add_command(module.group)
