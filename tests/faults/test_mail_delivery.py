"""Mail through a real SMTP server that refuses, hangs, breaks off or is not there: none is lost, none is sent twice."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bson import ObjectId
from flask import Flask
from pymongo.database import Database

from app import ledger, mongo
from app.extensions import mail
from app.ledger.commands import Transfer
from app.ledger.records import TransactionKind
from app.mongo import Document
from app.notifications import delivery, messages, outbox, smtp
from app.notifications.delivery import Deliverer
from app.notifications.smtp import ServerAway
from app.processes import LOOPBACK, free_port, holds_within
from config import ROOT, Config, MailConfig
from tests.mail import SilentServer, SmtpServer, drop, smtp_server
from tests.server import JWT_SECRET, running_server
from tests.support import Bank, OverHttp, Person

NOW = datetime(2026, 11, 22, 16, tzinfo=UTC)
TRANSFERS = 1_000
TRANSFERS_TIMEOUT_S = 90.0
AMOUNT = 1


@pytest.fixture
def server() -> Iterator[SmtpServer]:
    with smtp_server() as server:
        yield server


@pytest.fixture
def mail_app(app: Flask, config: Config, database: Database[Document]) -> Iterator[Flask]:
    """The bank with an application context and mail settings that a test sets with `use`."""
    with app.app_context():
        yield app
    mail.configure(app, config.mail)


def use(app: Flask, port: int) -> Deliverer:
    mail.configure(app, MailConfig(server=LOOPBACK, port=port, sender="Fincore <bank@fincore.example>"))
    return Deliverer(app)


def fill(database: Database[Document], count: int) -> list[str]:
    """Put a welcome to each of so many users into the outbox, in order, and return their addresses."""
    users = [
        {
            "_id": ObjectId(),
            "name": f"User {number}",
            "email": f"user-{number}@fincore.example",
            "password_hash": "none",
            "role": "USER",
            "created_at": NOW,
        }
        for number in range(count)
    ]
    database.users.insert_many(users)
    mongo.atomically(lambda session: outbox.insert([messages.welcome(user) for user in users], session))
    return [str(user["email"]) for user in users]


def make_due(database: Database[Document]) -> None:
    """Let all the time pass that unsent messages wait for, leases included."""
    database.outbox.update_many({"state": "PENDING"}, {"$set": {"next_attempt_at": NOW}})


def test_mail_arrives_complete_and_names_its_outbox_message(
    mail_app: Flask, database: Database[Document], server: SmtpServer
) -> None:
    (address,) = fill(database, 1)

    assert use(mail_app, server.port).deliver_due() == 1

    (received,) = server.received
    (message,) = database.outbox.find()
    assert received.recipient == address
    assert received.id == f"<{message['_id']}@fincore.example>"
    assert received.message["From"] == "Fincore <bank@fincore.example>"
    assert received.message["To"] == "user-0@fincore.example"
    assert received.message["Date"].datetime == NOW
    assert received.subject == "Welcome to Fincore"
    assert "Hello User 0," in received.text
    assert "<h1" in received.html
    assert (message["state"], message["attempts"]) == ("SENT", 1)


def test_a_batch_shares_one_conversation(mail_app: Flask, database: Database[Document], server: SmtpServer) -> None:
    fill(database, 120)

    assert use(mail_app, server.port).deliver_due() == 120

    assert server.conversations == 1


def test_names_and_addresses_of_every_script_get_their_mail(
    mail_app: Flask, database: Database[Document], server: SmtpServer
) -> None:
    fill(database, 4)
    people = [
        ('Müller, "Jörg" <x@y>', "joerg@fincore.example"),
        ("अशोक " * 20, "jörg@fincore.example"),
        ("अशोक", "asha@bücher.example"),
        ("A" * 100, "a@fincore.example"),
    ]
    for (name, email), number in zip(people, range(4), strict=True):
        database.users.update_one({"name": f"User {number}"}, {"$set": {"name": name, "email": email}})

    use(mail_app, server.port).deliver_due()

    assert [received.recipient for received in server.received] == [
        "joerg@fincore.example", "jörg@fincore.example", "asha@xn--bcher-kva.example", "a@fincore.example",
    ]  # fmt: skip
    assert all(
        f"Hello {name.strip()}" in received.text for (name, _), received in zip(people, server.received, strict=True)
    )


def test_the_longest_texts_fit_the_lines_of_smtp(
    mail_app: Flask, database: Database[Document], bank: Bank, server: SmtpServer
) -> None:
    payer, from_account = bank.customer(1_000)
    _, to_account = bank.customer()
    for description in ("&" * 200, "₹" * 200, "<" * 200):
        assert payer.transfer(from_account, to_account, 1, description=description).status == 201

    use(mail_app, server.port).deliver_due()

    assert database.outbox.count_documents({"state": "PENDING"}) == 0
    texts = [received.text for received in server.received if received.subject == "You sent ₹0.01"]
    assert [("&" * 200 in text, "₹" * 200 in text, "<" * 200 in text) for text in texts] == [
        (True, False, False), (False, True, False), (False, False, True),
    ]  # fmt: skip


def test_an_address_that_the_server_can_not_write_to_holds_up_nobody(
    mail_app: Flask, database: Database[Document]
) -> None:
    _, other = fill(database, 2)
    database.users.update_one({"name": "User 0"}, {"$set": {"email": "jörg@fincore.example"}})
    with smtp_server(smtputf8=False) as server:
        use(mail_app, server.port).deliver_due()

    assert [received.recipient for received in server.received] == [other]
    assert "SMTPUTF8" in str(database.outbox.find_one({"state": "PENDING"}))


@pytest.mark.parametrize("reply", ["550 no such user", "451 not now"])
def test_a_refused_recipient_waits_and_holds_up_nobody(
    mail_app: Flask, database: Database[Document], server: SmtpServer, reply: str
) -> None:
    addresses = fill(database, 10)
    server.on_recipient = lambda address: reply if address == addresses[3] else None

    assert use(mail_app, server.port).deliver_due() == 9

    (waiting,) = database.outbox.find({"state": "PENDING"})
    assert (waiting["attempts"], waiting["error"]) == (1, reply)
    wait_s = (waiting["next_attempt_at"] - datetime.now(UTC)).total_seconds()
    assert 0 < wait_s <= 10
    server.on_recipient = lambda _: None
    make_due(database)
    use(mail_app, server.port).deliver_due()
    assert set(server.ids().values()) == {1}
    assert len(server.received) == 10


def test_a_message_is_dead_after_twelve_attempts_and_an_operator_can_revive_it(
    mail_app: Flask, database: Database[Document], server: SmtpServer
) -> None:
    fill(database, 1)
    server.on_data = lambda _server, _envelope: "554 rejected"
    deliverer = use(mail_app, server.port)

    for attempt in range(1, delivery.ATTEMPTS_MAX + 1):
        assert database.outbox.count_documents({"state": "PENDING", "attempts": attempt - 1}) == 1
        deliverer.deliver_due()
        make_due(database)
    (dead,) = database.outbox.find()
    assert (dead["state"], dead["attempts"], dead["error"]) == ("DEAD", 12, "554 rejected")

    server.on_data = lambda _server, _envelope: None
    assert deliverer.deliver_due() == 0
    assert outbox.revive({"state": "DEAD"}, now=NOW) == 1
    assert deliverer.deliver_due() == 1


def test_a_connection_dropped_in_mid_message_costs_that_message_one_attempt(
    mail_app: Flask, database: Database[Document], server: SmtpServer
) -> None:
    fill(database, 10)
    dropped: list[str] = []

    def drop_the_third(smtp_server: object, envelope: object) -> str | None:
        if len(server.received) == 2 and not dropped:
            dropped.append("once")
            return drop(smtp_server, envelope)  # type: ignore[arg-type]
        return None

    server.on_data = drop_the_third

    assert use(mail_app, server.port).deliver_due() == 9
    assert server.conversations == 2
    assert database.outbox.count_documents({"state": "PENDING", "attempts": 1}) == 1
    make_due(database)
    use(mail_app, server.port).deliver_due()
    assert set(server.ids().values()) == {1}
    assert len(server.received) == 10


def test_a_server_that_always_drops_does_not_burn_everybodys_attempts(
    mail_app: Flask, database: Database[Document], server: SmtpServer
) -> None:
    fill(database, 100)
    server.on_data = drop

    with pytest.raises(ServerAway):
        use(mail_app, server.port).deliver_due()

    assert database.outbox.count_documents({"attempts": {"$gt": 0}}) == delivery.GENERAL_FAILURES_MAX
    assert outbox.is_due(datetime.now(UTC)), "What was not tried waits for nobody."


def test_a_server_that_is_not_there_costs_no_message_an_attempt(mail_app: Flask, database: Database[Document]) -> None:
    fill(database, 5)

    with pytest.raises(ServerAway):
        use(mail_app, free_port()).deliver_due()

    assert database.outbox.count_documents({"state": "PENDING", "attempts": 0, "lease": {"$exists": False}}) == 5


def test_a_server_that_never_answers_is_given_up_soon(
    mail_app: Flask, database: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database, 1)
    monkeypatch.setattr(smtp, "CONNECT_TIMEOUT_S", 0.3)
    silent = SilentServer()
    begun = datetime.now(UTC)
    try:
        with pytest.raises(ServerAway):
            use(mail_app, silent.port).deliver_due()
    finally:
        silent.close()

    assert datetime.now(UTC) - begun < timedelta(seconds=5)


def test_a_server_that_hangs_in_mid_message_is_given_up_soon(
    mail_app: Flask, database: Database[Document], server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database, 1)
    monkeypatch.setattr(smtp, "MESSAGE_TIMEOUT_S", 0.3)
    let_go = threading.Event()
    server.on_recipient = lambda _: "451 later" if let_go.wait(10) else None
    begun = datetime.now(UTC)

    use(mail_app, server.port).deliver_due()

    assert datetime.now(UTC) - begun < timedelta(seconds=5)
    let_go.set()
    assert database.outbox.count_documents({"state": "PENDING", "attempts": 1}) == 1


def test_a_letter_that_can_not_be_written_holds_up_nobody(
    mail_app: Flask, database: Database[Document], server: SmtpServer
) -> None:
    fill(database, 5)
    (first, *_) = database.outbox.find().sort("_id", 1)
    database.outbox.update_one({"_id": first["_id"]}, {"$set": {"kind": "of_a_newer_version"}})

    assert use(mail_app, server.port).deliver_due() == 4
    assert database.outbox.count_documents({"_id": first["_id"], "state": "PENDING", "attempts": 1}) == 1


def test_an_expired_reset_token_is_not_sent(mail_app: Flask, database: Database[Document], server: SmtpServer) -> None:
    fill(database, 1)
    (user,) = database.users.find({"name": "User 0"})
    reset = messages.password_reset(user, "s3cret", at=NOW, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    fresh = messages.password_reset(user, "fr3sh", at=NOW, expires_at=datetime.now(UTC) + timedelta(minutes=30))
    mongo.atomically(lambda session: outbox.insert([reset, fresh], session))

    use(mail_app, server.port).deliver_due()

    assert [("fr3sh" in received.text) for received in server.received] == [False, True]
    assert "s3cret" not in str(list(database.outbox.find()))


def test_deliverers_side_by_side_send_nothing_twice(
    mail_app: Flask, database: Database[Document], server: SmtpServer
) -> None:
    fill(database, 400)
    use(mail_app, server.port)

    def deliver() -> None:
        with mail_app.app_context():
            while outbox.is_due(datetime.now(UTC)):
                Deliverer(mail_app).deliver_due()

    threads = [threading.Thread(target=deliver) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(server.received) == 400
    assert set(server.ids().values()) == {1}


def test_a_deliverer_tells_once_that_the_server_is_away_and_once_that_it_is_back(
    mail_app: Flask, database: Database[Document], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    fill(database, 1)
    port = free_port()
    deliverer = use(mail_app, port)
    told: list[str] = []
    delivery.log.warning, original = lambda event, **_: told.append(event), delivery.log.warning
    try:
        pauses = [deliverer._turn() for _ in range(9)]
        with smtp_server(port=port) as server:
            pauses.append(deliverer._turn())
            assert len(server.received) == 1
    finally:
        delivery.log.warning = original

    assert told == ["mail_server_away", "mail_flows_again"]
    assert 10 < max(pauses) <= delivery.AWAY_PAUSE_MAX_S
    assert pauses[-1] == delivery.IDLE_PAUSE_S


def post_transfers(payer: Person, from_account: str, to_account: str, count: int) -> None:
    for start in range(0, count, 100):
        ledger.post(
            [
                Transfer(
                    id=ObjectId(),
                    user=ObjectId(payer.id),
                    idempotency_key=f"transfer-{number}",
                    fingerprint={"idempotencyKey": "x"},
                    kind=TransactionKind.TRANSFER,
                    from_account=ObjectId(from_account),
                    to_account=ObjectId(to_account),
                    amount=AMOUNT,
                )
                for number in range(start, min(start + 100, count))
            ]
        )


def test_a_thousand_transfers_with_the_server_down_then_up_all_arrive_once(
    bank: Bank, database: Database[Document], mongo_uri: str
) -> None:
    server = SmtpServer()
    with running_server(mongo_uri, MAIL_SERVER=LOOPBACK, MAIL_PORT=str(server.port)):
        payer, from_account = bank.customer(TRANSFERS)
        _, to_account = bank.customer()
        post_transfers(payer, from_account, to_account, TRANSFERS)
        expected = database.outbox.count_documents({})
        assert expected == 2 * TRANSFERS + 5
        assert database.outbox.count_documents({"state": "PENDING", "attempts": 0}) == expected
        server.start()
        try:
            received = server.await_mail(expected, TRANSFERS_TIMEOUT_S)
            assert holds_within(5, lambda: database.outbox.count_documents({"state": "SENT"}) == expected)
        finally:
            server.stop()

    assert set(server.ids().values()) == {1}
    to_payer = [mail for mail in received if mail.recipient == payer.user["email"] and "You sent" in mail.subject]
    assert len(to_payer) == TRANSFERS
    balances = {line for mail in to_payer for line in mail.text.splitlines() if line.startswith("Your balance")}
    assert len(balances) == TRANSFERS, "Each tells the balance after its own transfer."


def worker_pids(port: int) -> list[int]:
    """Return the workers of the gunicorn that `running_server` started on this port."""
    gunicorns: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"PORT={port}".encode() in (process / "environ").read_bytes().split(b"\0"):
                gunicorns[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    return [pid for pid, parent in gunicorns.items() if parent in gunicorns]


def test_mail_survives_the_death_of_its_workers_between_commit_and_sending(
    database: Database[Document], mongo_uri: str
) -> None:
    server = SmtpServer()
    with running_server(mongo_uri, MAIL_SERVER=LOOPBACK, MAIL_PORT=str(server.port)) as port:
        client = OverHttp(port)
        bank = Bank(client)
        payer, from_account = bank.customer(1_000)
        payee, to_account = bank.customer()
        assert payer.transfer(from_account, to_account, 400).status == 201
        client.close()
        killed = worker_pids(port)
        assert len(killed) == 2
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        server.start()
        try:
            received = server.await_mail(database.outbox.count_documents({}))
        finally:
            server.stop()

    assert set(server.ids().values()) == {1}
    assert {mail.subject for mail in received if mail.recipient == payee.user["email"]} >= {"You received ₹4.00"}


def test_mail_survives_the_death_of_its_deliverer_in_mid_sending(
    mail_app: Flask, database: Database[Document], mongo_uri: str, server: SmtpServer
) -> None:
    fill(database, 3)
    reached, let_go = threading.Event(), threading.Event()

    def hang(_server: object, _envelope: object) -> str:
        reached.set()
        let_go.wait(20)
        return "451 too late"

    server.on_data = hang
    environment = {
        **os.environ,
        "ENV_FILE": os.devnull,
        "MONGO_URI": mongo_uri,
        "JWT_SECRET": JWT_SECRET,
        "MAIL_SERVER": LOOPBACK,
        "MAIL_PORT": str(server.port),
    }
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "mail", "deliver"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    try:
        assert reached.wait(20)
    finally:
        process.kill()
        process.wait()
    let_go.set()
    server.on_data = lambda _server, _envelope: None

    deliverer = use(mail_app, server.port)
    assert deliverer.deliver_due() == 0, "The dead deliverer's lease still holds."
    make_due(database)
    assert deliverer.deliver_due() == 3
    assert set(server.ids().values()) == {1}


def test_a_stopping_server_leaves_no_message_behind_and_none_half_sent(
    database: Database[Document], mongo_uri: str, server: SmtpServer
) -> None:
    begun = threading.Event()
    server.on_data = lambda _server, _envelope: begun.set()
    with running_server(mongo_uri, MAIL_SERVER=LOOPBACK, MAIL_PORT=str(server.port)):
        fill(database, 300)
        assert begun.wait(20)

    sent = database.outbox.count_documents({"state": "SENT"})
    assert sent == len(server.received)
    assert database.outbox.count_documents({"state": "PENDING", "lease": {"$exists": False}}) == 300 - sent
