"""The operator's commands for mail: `flask --app wsgi mail …`."""

import os
import signal
import threading
from datetime import datetime, timedelta
from itertools import islice

import click
from bson import ObjectId
from flask import current_app

import config
from app import clock
from app.cli.terminal import NotDone, OperatorGroup
from app.fields import read_id, rfc3339
from app.mail.delivery import SIGN, Deliverer
from app.mail.smtp import ServerAway, mail
from app.mongo import leases
from app.outbox import completeness
from app.outbox import repository as outbox
from app.outbox.messages import MessageState
from app.settings.policies import MailPolicy
from app.telemetry import files
from app.webhooks import dispatch
from app.webhooks.dispatch import Dispatcher

DEAD_SHOWN_MAX = 20
UNTOLD_SHOWN_MAX = 20
# Sent messages are deleted after 30 days.
DAYS_MAX = 29
# Requests go first.
NICENESS = 10
LOOP_RUNS = "`flask mail deliver --loop`, which runs"
NO_LOOP = "no `flask mail deliver --loop` runs"
WORKERS_DO = f"the workers, because {NO_LOOP}"

group = OperatorGroup("mail", help="Deliver mail to users, and see what waits.")


@group.command("deliver")
@click.option("--loop", is_flag=True, help="Go on until Ctrl-C or SIGTERM, and call webhooks too.")
def deliver(loop: bool) -> None:
    """Deliver the mail that is due. Any number of deliverers may run at the same time.

    With --loop it also calls webhooks, whether or not there is a mail server. It uses only spare processor time, and
    the workers leave mail and webhooks to it.
    """
    deliverer = Deliverer(current_app._get_current_object())  # type: ignore[attr-defined] # only the proxy has it
    if loop:
        _deliver_on(deliverer)
        return
    _require_server()
    try:
        click.echo(f"Sent {deliverer.deliver_due()}.")
    except ServerAway as error:
        raise NotDone(f"The mail server takes no mail: {error}") from error


def _deliver_on(deliverer: Deliverer) -> None:
    """Deliver mail and call webhooks until a signal comes. Without a mail server the log says so, and mail waits."""
    dispatcher = Dispatcher()

    def stop(*_: object) -> None:
        deliverer.stop()
        dispatcher.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    os.nice(NICENESS)
    counts = config.load_server().metrics_dir
    if counts is not None:
        files.sweep(counts, present_only=True)
    webhooks = threading.Thread(target=dispatcher.run, name="webhooks")
    webhooks.start()
    deliverer.run()
    dispatcher.close()
    webhooks.join()


@group.command("status")
def status() -> None:
    """Show the settings, whether the server answers, and which mail is waiting or dead."""
    _tell_settings()
    click.echo(f"Webhooks: called by {_who_calls_webhooks()}")
    now = clock.now()
    waiting = outbox.find_oldest(MessageState.PENDING, 1, is_deferred=False)
    put_off = outbox.count(MessageState.PENDING, is_deferred=True)
    click.echo(f"Waiting: {outbox.count(MessageState.PENDING)}")
    for message in waiting:
        since = rfc3339(message["_id"].generation_time)
        error = f", last error: {message['error']}" if "error" in message else ""
        click.echo(f"  the oldest since {since}, {message['attempts']} attempts{error}")
    if put_off:
        click.echo(f"  {put_off} of them put off until a digest goes")
    click.echo(f"Sent within 24 hours: {outbox.count_sent_since(now - timedelta(days=1))}")
    click.echo(f"Dead: {outbox.count(MessageState.DEAD)}")
    for message in outbox.find_oldest(MessageState.DEAD, DEAD_SHOWN_MAX):
        click.echo(f"  {message['_id']} {message['kind']} after {message['attempts']} attempts: {message['error']}")


@group.command("verify")
@click.option("--days", type=click.IntRange(1, DAYS_MAX), default=1, show_default=True, help="How far to look back.")
def verify(days: int) -> None:
    """Check that the outbox reports all events of the ledger. Registrations and passwords are not checked."""
    # Ids have whole seconds, and may come from a host whose clock is ahead.
    until = clock.now() + clock.LEEWAY
    found = list(islice(completeness.untold(until - timedelta(days=days), until), UNTOLD_SHOWN_MAX + 1))
    for trace in found[:UNTOLD_SHOWN_MAX]:
        click.echo(f"Nothing tells of {trace.type} on {trace.subject}")
    if found:
        more = "more than " if len(found) > UNTOLD_SHOWN_MAX else ""
        number = min(len(found), UNTOLD_SHOWN_MAX)
        raise click.ClickException(f"The outbox lacks {more}{number}: somebody deleted documents.")
    click.echo(f"The outbox tells of all that happened in {days} {'day' if days == 1 else 'days'}.")


@group.command("retry")
@click.argument("message_id", metavar="ID", required=False)
@click.option("--dead", is_flag=True, help="All dead messages.")
def retry(message_id: str | None, dead: bool) -> None:
    """Make a message, or all dead ones, due at once, with its attempts counted from zero."""
    if dead == (message_id is not None):
        raise click.UsageError("Give either the ID of a message or --dead.")
    now = clock.now()
    if message_id is None:
        click.echo(f"Due again: {outbox.revive({'state': MessageState.DEAD.value}, now=now)}.")
    else:
        _retry_one(read_id(message_id), now)


def _retry_one(message_id: ObjectId | None, now: datetime) -> None:
    if message_id is None or outbox.find_message(message_id) is None:
        raise click.ClickException("There is no such message; `flask mail status` lists the dead ones.")
    if not outbox.revive({"_id": message_id}, now=now):
        raise click.ClickException("The message was sent already, or is on its way.")
    click.echo("Due again: 1.")


def _tell_settings() -> None:
    settings = _settings()
    if settings.problem is not None:
        click.echo(f"Settings: wrong. {settings.problem} Mail waits in the outbox.")
        return
    if settings.server is None:
        click.echo("Settings: MAIL_SERVER is not set. Mail waits in the outbox.")
        return
    encryption = "TLS" if settings.use_ssl else "STARTTLS" if settings.use_tls else "no encryption"
    login = f"as {settings.user}" if settings.user else "without a login"
    click.echo(f"Server: {settings.server}, port {settings.port}, {encryption}, {login}")
    click.echo(f"Sender: {settings.sender}")
    click.echo(f"Delivery: {_who_delivers(settings)}")
    try:
        with mail.connect() as connection:
            connection.check()
        click.echo("The server takes mail.")
    except ServerAway as error:
        click.echo(f"The server takes no mail: {error}")


def _who_delivers(settings: MailPolicy) -> str:
    if leases.has_sign(SIGN):
        return LOOP_RUNS
    return WORKERS_DO if settings.in_workers else f"nobody: {NO_LOOP}, and MAIL_DELIVERY is off"


def _who_calls_webhooks() -> str:
    return LOOP_RUNS if leases.has_sign(dispatch.SIGN) else WORKERS_DO


def _require_server() -> None:
    settings = _settings()
    if settings.problem is not None:
        raise NotDone(f"The mail settings are wrong. {settings.problem}")
    if settings.server is None:
        raise NotDone("MAIL_SERVER is not set.")


def _settings() -> MailPolicy:
    settings: MailPolicy = current_app.config["MAIL_SETTINGS"]
    return settings
