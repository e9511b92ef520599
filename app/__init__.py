"""Fincore: a small bank behind an HTTP API, with a ledger whose correctness can be verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from config import Config

__version__ = "0.1.0"


def create_app(config: Config | None = None) -> Flask:
    """Return the application; raises ConfigError if the settings are wrong. By default the environment has them."""
    # Imported here, so that code that needs a single module, such as the ledger's rules, does not load all of them.
    import config as settings
    from app import audit, cli, ledger, mongo
    from app.accounts.routes import bp as accounts
    from app.admin.routes import bp as admin
    from app.auth import tokens
    from app.auth.roles import roles_of
    from app.auth.routes import bp as auth
    from app.events import service as event_service
    from app.events.routes import bp as events
    from app.http import requests
    from app.http.api import api
    from app.http.application import Application
    from app.http.routing import Numbers
    from app.ledger import numbers
    from app.ledger.proof import signatures
    from app.mail.delivery import Deliverer
    from app.mail.smtp import mail
    from app.mongo import pools
    from app.operations.routes import bp as pages
    from app.operations.routes import service as operations
    from app.outbox import repository as outbox
    from app.payees.routes import bp as payees
    from app.runtime import heavy
    from app.runtime.background import Background, Task
    from app.statements.press import press
    from app.statements.routes import bp as statements
    from app.telemetry import logs, spans
    from app.transactions import service as transaction_service
    from app.transactions.routes import bp as transactions
    from app.web.routes import bp as web
    from app.web.routes import session
    from app.webhooks import service as webhook_service
    from app.webhooks.dispatch import Dispatcher
    from app.webhooks.routes import bp as webhooks

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
    event_service.configure(config.work)
    webhook_service.configure(config.webhooks, bank_secrets=config.auth.secrets)
    mongo.connect(config.mongo)
    press.configure(config.mongo)
    ledger.configure(config.ledger, witnesses=(audit.record_acts, outbox.tell), roles=roles_of)
    requests.register(app, config.http, Numbers(numbers.ids_of, numbers.ahead))
    tokens.configure(app, config.auth)
    mail.configure(app, config.mail)
    api.init_app(app)
    for blueprint in (
        auth,
        accounts,
        payees,
        transactions,
        statements,
        events,
        webhooks,
        admin,
        operations,
        session,
    ):
        api.register_blueprint(blueprint)
    app.register_blueprint(pages)
    app.register_blueprint(web)
    cli.register(app)
    dispatcher = Dispatcher(stands_in=True)
    tasks = [
        Task("expired_holds", transaction_service.release_expired_holds),
        Task("events", event_service.place_events),
        Task("connection_counts", pools.watch.note),
        Task("webhooks", dispatcher.turn, dispatcher.close),
    ]
    if config.mail.in_workers:
        tasks.append(Task("mail", Deliverer(app, stands_in=True).turn))
    app.extensions["background"] = Background(tasks, is_outage=mongo.is_away)
    return app
