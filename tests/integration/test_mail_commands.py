"""The operator's commands for mail: `flask mail …`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from bson import ObjectId
from flask import Flask
from pymongo.database import Database

from app import mongo
from app.mail.desk import ATTEMPTS_MAX
from app.mail.smtp import mail
from app.mongo import Document
from app.outbox import completeness, messages
from app.outbox import repository as outbox
from app.settings.policies import MailPolicy
from app.webhooks.dispatch import SIGN
from config import ROOT, Config
from local.processes import LOOPBACK, free_port, holds_within
from tests import prepared
from tests.hooks import allow, made
from tests.mail import smtp_server
from tests.people import SYSTEM_EMAIL, Bank
from tests.receiver import receiving
from tests.server import JWT_SECRET, START_TIMEOUT_S

NOW = datetime(2026, 11, 22, 16, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _settings_return(app: Flask, config: Config) -> Iterator[None]:
    yield
    mail.configure(app, config.mail)


def use(app: Flask, **settings: object) -> None:
    mail.configure(app, MailPolicy(**settings))  # type: ignore[arg-type]


def run(app: Flask, *arguments: str, code: int = 0) -> str:
    result = app.test_cli_runner().invoke(args=["mail", *arguments])
    assert result.exit_code == code, result.output
    return result.output


def fill(database: Database[Document]) -> ObjectId:
    """Put one message into the outbox and return its id."""
    user = database.users.find_one({"email": SYSTEM_EMAIL})
    assert user is not None
    mongo.atomically(lambda session: outbox.insert([messages.password_changed(user, NOW)], session))
    (newest,) = database.outbox.find().sort("_id", -1).limit(1)
    return newest["_id"]  # type: ignore[no-any-return]


def test_deliver_sends_what_is_due_and_says_how_much(app: Flask, database: Database[Document]) -> None:
    fill(database)
    with smtp_server() as server:
        use(app, server=LOOPBACK, port=server.port)

        assert run(app, "deliver") == "Sent 1.\n"
        assert run(app, "deliver") == "Sent 0.\n"

    assert [received.recipient for received in server.received] == [SYSTEM_EMAIL]


@contextmanager
def delivering_on(mongo_uri: str, **settings: str) -> Iterator[int]:
    """Run `mail deliver --loop`, yield its process id, and insist that it ends well when it is asked to stop."""
    environment = {**os.environ, "ENV_FILE": os.devnull, "MONGO_URI": mongo_uri, "JWT_SECRET": JWT_SECRET}
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "mail", "deliver", "--loop"]
    process = prepared.Popen(command, cwd=ROOT, env={**environment, **settings})
    try:
        yield process.pid
    finally:
        process.terminate()
        assert process.wait(60) == 0


def test_deliver_in_a_loop_goes_on_until_it_is_asked_to_stop(database: Database[Document], mongo_uri: str) -> None:
    with (
        smtp_server() as server,
        delivering_on(mongo_uri, MAIL_SERVER=LOOPBACK, MAIL_PORT=str(server.port)),
    ):
        for count in (1, 2):
            fill(database)
            server.await_mail(count)


def test_deliver_in_a_loop_calls_webhooks_also_without_a_mail_server(
    app: Flask, bank: Bank, database: Database[Document], mongo_uri: str
) -> None:
    allow(LOOPBACK)
    person = bank.register()
    with receiving() as receiver, delivering_on(mongo_uri, WEBHOOK_ALLOW=LOOPBACK) as pid:

        def gives_sign() -> bool:
            found = database.leases.find_one({"_id": SIGN}) or {"holder": ""}
            return f" {pid} " in found["holder"]

        assert holds_within(START_TIMEOUT_S, gives_sign)
        assert "Webhooks: called by `flask mail deliver --loop`, which runs\n" in run(app, "status")
        webhook, _ = made(person, receiver.url)
        person.post(f"/api/webhooks/{webhook}/ping")
        assert holds_within(START_TIMEOUT_S, lambda: bool(receiver.received))
    allow()


def test_deliver_says_what_is_in_the_way(app: Flask, database: Database[Document]) -> None:
    fill(database)

    use(app)
    assert "MAIL_SERVER is not set" in run(app, "deliver", code=3)
    use(app, problem="MAIL_PORT: Not a valid integer.")
    assert "MAIL_PORT" in run(app, "deliver", code=3)
    use(app, server=LOOPBACK, port=free_port())
    assert "takes no mail: ConnectionRefusedError" in run(app, "deliver", code=3)


def test_status_tells_settings_server_and_what_waits(app: Flask, database: Database[Document]) -> None:
    fill(database)
    with smtp_server() as server:
        use(app, server=LOOPBACK, port=server.port)
        output = run(app, "status")
        assert "The server takes mail." in output
        assert "Waiting: 1\n" in output
        run(app, "deliver")
        assert "Waiting: 0\nSent within 24 hours: 1\nDead: 0\n" in run(app, "status")


def test_status_tells_wrong_settings_and_a_server_that_is_not_there(app: Flask, database: Database[Document]) -> None:
    use(app, problem="EMAIL_USER and EMAIL_PASS belong together, and only one of them is set.")
    assert "EMAIL_PASS belong together" in run(app, "status")
    use(app)
    assert "MAIL_SERVER is not set" in run(app, "status")
    use(app, server=LOOPBACK, port=free_port())
    assert "The server takes no mail: ConnectionRefusedError" in run(app, "status")


def test_status_shows_no_password_and_no_addresses(app: Flask, database: Database[Document]) -> None:
    fill(database)
    use(app, server=LOOPBACK, port=free_port(), user="bank", password="geheim", use_tls=True)

    output = run(app, "status")

    assert "geheim" not in output
    assert SYSTEM_EMAIL not in output


def test_retry_revives_one_dead_message_or_all(app: Flask, database: Database[Document]) -> None:
    message_id = fill(database)
    dead = {"$set": {"state": "DEAD", "error": "554 rejected", "attempts": ATTEMPTS_MAX}}
    database.outbox.update_one({"_id": message_id}, dead)
    assert f"  {message_id} password_changed after 12 attempts: 554 rejected" in run(app, "status")

    assert run(app, "retry", str(message_id)) == "Due again: 1.\n"
    assert database.outbox.count_documents({"state": "PENDING", "attempts": 0}) == 1

    database.outbox.update_one({"_id": message_id}, dead)
    assert run(app, "retry", "--dead") == "Due again: 1.\n"
    assert run(app, "retry", "--dead") == "Due again: 0.\n"


def test_retry_refuses_what_it_cannot_do(app: Flask, database: Database[Document]) -> None:
    message_id = fill(database)
    database.outbox.update_one({"_id": message_id}, {"$set": {"state": "SENT", "sent_at": NOW}})

    assert "was sent already" in run(app, "retry", str(message_id), code=1)
    assert "no such message" in run(app, "retry", str(ObjectId()), code=1)
    assert "no such message" in run(app, "retry", "nonsense", code=1)
    assert "either the ID" in run(app, "retry", code=2)
    assert "either the ID" in run(app, "retry", str(message_id), "--dead", code=2)


def test_verify_names_what_a_deleted_document_told_of(
    app: Flask, bank: Bank, database: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    # In a few long steps, because it is looked at once for each document, and most hours have nothing in them.
    monkeypatch.setattr(completeness, "STEP", timedelta(hours=12))
    payer, from_account = bank.customer(1_000)
    _, to_account = bank.customer()
    body = {"fromAccount": from_account, "toAccount": to_account, "amount": 100}
    paid = payer.transfer(from_account, to_account, 100).body["transaction"]["id"]
    payer.transfer(from_account, to_account, 5_000)
    hold = payer.post("/api/transactions/hold", {**body, "idempotencyKey": "h"}).body["transaction"]["id"]
    bank.system.post(f"/api/transactions/{hold}/void", {"idempotencyKey": "v", "reason": "Because"})
    bank.system.patch(f"/api/admin/accounts/{to_account}/status", {"status": "FROZEN", "reason": "Because"})
    assert run(app, "verify") == "The outbox tells of all that happened in 1 day.\n"

    kept = list(database.outbox.find())
    for document in kept:
        if document["kind"] in ("welcome", "password_changed"):
            continue
        database.outbox.delete_one({"_id": document["_id"]})
        said = run(app, "verify", "--days", "2", code=1)
        assert "The outbox lacks 1: somebody deleted documents." in said
        subject = document["news"][0]["subjects"][0] if "news" in document else document["payload"]["account"]
        assert str(subject) in said
        database.outbox.insert_one(document)
    assert sum("news" in document for document in kept) >= 6
    assert paid in str(kept)
    assert "all that happened" in run(app, "verify")
