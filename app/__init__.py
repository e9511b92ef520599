"""Fincore: a small bank behind an HTTP API, with a ledger whose correctness can be verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.runtime.background import Task
    from config import Config

__version__ = "0.1.0"


def create_app(config: Config | None = None) -> Flask:
    """Return the application; raises ConfigError if the settings are wrong. They default to the environment's."""
    # All modules are imported in functions here, so that code that needs only one, such as the ledger's rules, does not
    # load the others.
    import config as settings
    from app import audit, cli, ledger, mongo
    from app.auth import tokens
    from app.auth.roles import roles_of
    from app.events import service as events
    from app.http import requests
    from app.http.application import Application
    from app.http.routing import Numbers
    from app.ledger import numbers
    from app.ledger.proof import signatures
    from app.mail.smtp import mail
    from app.outbox import repository as outbox
    from app.runtime import heavy
    from app.runtime.background import Background
    from app.statements.press import press
    from app.telemetry import logs, spans
    from app.webhooks import service as webhooks

    config = config or settings.load()
    app = Application(__name__, static_folder=None)
    app.config.update(
        DEFAULT_CURRENCY=config.default_currency,
        METRICS_TOKEN=config.metrics_token,
        PUBLIC_URL=config.public_url,
        RECEIPT_KEY=signatures.load_key(config.receipt_key) if config.receipt_key else None,
        API_TITLE="Fincore",
        API_VERSION=__version__,
        OPENAPI_VERSION="3.1.0",
    )
    logs.configure(config.log_level)
    spans.configure(config.traces.url, service_name=config.traces.service_name, version=__version__)
    heavy.configure(config.work)
    events.configure(config.work)
    webhooks.configure(config.webhooks, bank_secrets=config.auth.secrets)
    mongo.connect(config.mongo)
    press.configure(config.mongo)
    ledger.configure(config.ledger, witnesses=(audit.record_acts, outbox.tell), roles=roles_of)
    requests.register(app, config.http, Numbers(numbers.ids_of, numbers.ahead))
    tokens.configure(app, config.auth)
    mail.configure(app, config.mail)
    _register_routes(app)
    cli.register(app)
    app.extensions["background"] = Background(_tasks(app, config), is_outage=mongo.is_away)
    return app


def _register_routes(app: Flask) -> None:
    from app.accounts.routes import bp as accounts
    from app.admin.routes import bp as admin
    from app.auth.routes import bp as auth
    from app.events.routes import bp as events
    from app.http.api import api
    from app.operations.routes import bp as pages
    from app.operations.routes import service as operations
    from app.payees.routes import bp as payees
    from app.statements.routes import bp as statements
    from app.transactions.routes import bp as transactions
    from app.web.routes import bp as web
    from app.web.routes import session
    from app.webhooks.routes import bp as webhooks

    api.init_app(app)
    # In the order in which the API's description lists them.
    described = (
        auth, accounts, payees, transactions, statements, events, webhooks, admin, operations, session,
    )  # fmt: skip
    for blueprint in described:
        api.register_blueprint(blueprint)
    app.register_blueprint(pages)
    app.register_blueprint(web)


def _tasks(app: Flask, config: Config) -> list[Task]:
    """Return what each worker does without being asked by a request."""
    from app.events import service as events
    from app.mail.delivery import Deliverer
    from app.mongo import pools
    from app.runtime.background import Task
    from app.transactions import service as transactions
    from app.webhooks.dispatch import Dispatcher

    dispatcher = Dispatcher(stands_in=True)
    tasks = [
        Task("expired_holds", transactions.release_expired_holds),
        Task("events", events.place_events),
        Task("connection_counts", pools.watch.note),
        Task("webhooks", dispatcher.turn, dispatcher.close),
    ]
    if config.mail.in_workers:
        tasks.append(Task("mail", Deliverer(app, stands_in=True).turn))
    return tasks
