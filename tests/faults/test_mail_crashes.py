"""Mail while processes die and servers come and go: every letter arrives, once."""

import os
import signal
import sys
import threading
import time
from collections import Counter
from typing import Any

import pytest
from bson import ObjectId
from flask import Flask
from pymongo.database import Database

from app import ledger
from app.ledger.commands import Command
from app.mail.delivery import ROUND_S
from app.mongo import Document
from config import ROOT
from local.processes import LOOPBACK, holds_within
from tests import prepared
from tests.clients import OverHttp
from tests.commands import transfer
from tests.mail import SmtpServer, fill, make_due, use
from tests.people import Bank, Person
from tests.server import JWT_SECRET, running_server, workers_of

# In several blocks, whose letters take the deliverers many rounds.
TRANSFERS = 300
TRANSFERS_TIMEOUT_S = 200.0  # about 8 on a machine that has nothing else to do
AMOUNT = 1
WAIT_S = 60.0


def payment(payer: Person, from_account: str, to_account: str, *, key: str) -> Command:
    return transfer(ObjectId(payer.id), ObjectId(from_account), ObjectId(to_account), AMOUNT, key=key)


def post_transfers(payer: Person, from_account: str, to_account: str, count: int) -> None:
    for start in range(0, count, 100):
        ledger.post(
            [
                payment(payer, from_account, to_account, key=f"transfer-{number}")
                for number in range(start, min(start + 100, count))
            ]
        )


@pytest.mark.timeout(300)
def test_hundreds_of_transfers_with_the_server_down_then_up_all_arrive_once(
    bank: Bank, database: Database[Document], mongo_uri: str
) -> None:
    server = SmtpServer()
    with running_server(mongo_uri, MAIL_SERVER=LOOPBACK, MAIL_PORT=str(server.port)):
        payer, from_account = bank.customer(TRANSFERS)
        _, to_account = bank.customer()
        post_transfers(payer, from_account, to_account, TRANSFERS)
        documents = database.outbox.count_documents({})
        assert database.outbox.count_documents({"state": "PENDING", "attempts": 0}) == documents
        server.start()
        try:
            # Also two welcomes, two accounts opened, and the payer's funds.
            received = server.await_mail(2 * TRANSFERS + 5, TRANSFERS_TIMEOUT_S)
            assert holds_within(30, lambda: database.outbox.count_documents({"state": "SENT"}) == documents)
        finally:
            server.stop()

    assert set(server.ids().values()) == {1}
    to_payer = [mail for mail in received if mail.recipient == payer.user["email"] and "You sent" in mail.subject]
    assert len(to_payer) == TRANSFERS
    balances = {line for mail in to_payer for line in mail.text.splitlines() if line.startswith("Your balance")}
    assert len(balances) == TRANSFERS, "Each tells the balance after its own transfer."


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
        assert holds_within(WAIT_S, lambda: len(workers_of(port)) == 2)
        killed = workers_of(port)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        server.start()
        try:
            received = server.await_mail(2 + 2 + 1 + 2)
        finally:
            server.stop()

    assert set(server.ids().values()) == {1}
    assert {mail.subject for mail in received if mail.recipient == payee.user["email"]} >= {"You received ₹4.00"}


def start_deliverer(mongo_uri: str, server: SmtpServer) -> prepared.Popen:
    environment = {
        **os.environ,
        "ENV_FILE": os.devnull,
        "MONGO_URI": mongo_uri,
        "JWT_SECRET": JWT_SECRET,
        "LOG_LEVEL": "CRITICAL",
        "MAIL_SERVER": LOOPBACK,
        "MAIL_PORT": str(server.port),
    }
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "mail", "deliver"]
    return prepared.Popen(command, cwd=ROOT, env=environment)


@pytest.mark.parametrize("is_refused", [False, True], ids=["", "the first letter is refused"])
@pytest.mark.parametrize(
    ("letter", "is_noted"), [(1, False), (4, False), (4, True)], ids=["claimed", "some are sent", "one is noted"]
)
def test_a_block_survives_the_death_of_its_deliverer_at_each_step(
    letter: int,
    is_noted: bool,
    is_refused: bool,
    mail_app: Flask,
    bank: Bank,
    database: Database[Document],
    mongo_uri: str,
    server: SmtpServer,
) -> None:
    """It dies while the mail server has the block's so many-th letter, and before the server answers."""
    payer, from_account = bank.customer(100)
    payees = [bank.customer() for _ in range(5)]
    database.outbox.delete_many({})
    ledger.post([payment(payer, from_account, account, key=f"to-{account}") for _, account in payees])
    reached, let_go = threading.Event(), threading.Event()
    arrived: list[str] = []

    def on_data(_server: object, envelope: Any) -> str | None:
        arrived.append(envelope.rcpt_tos[0])
        if len(arrived) == letter:
            reached.set()
            let_go.wait(WAIT_S)
            return "451 too late"
        if len(arrived) == 1 and is_noted:
            # So that the round is over, and what became of this letter is noted.
            time.sleep(ROUND_S)
        return "451 later" if len(arrived) == 1 and is_refused else None

    server.on_data = on_data
    process = start_deliverer(mongo_uri, server)
    try:
        assert reached.wait(WAIT_S)
    finally:
        process.kill()
        process.wait()
    let_go.set()
    server.on_data = lambda _server, _envelope: None
    (block,) = database.outbox.find({"kind": "block"})
    assert block["state"] == "PENDING"
    assert not is_noted or len(block["told"]) == 1
    make_due(database)

    use(mail_app, server.port).deliver_due()

    letters = Counter(received.recipient for received in server.received)
    assert letters.keys() == {payer.user["email"], *(payee.user["email"] for payee, _ in payees)}
    assert not is_noted or letters[arrived[0]] == 1, "What was noted is not sent again."
    assert len({received.id for received in server.received}) == 6, "What comes twice is recognised by its id."
    assert database.outbox.count_documents({"state": "SENT"}) == database.outbox.count_documents({})


def test_mail_survives_the_death_of_its_deliverer_in_mid_sending(
    mail_app: Flask, database: Database[Document], mongo_uri: str, server: SmtpServer
) -> None:
    fill(database, 3)
    reached, let_go = threading.Event(), threading.Event()

    def hang(_server: object, _envelope: object) -> str:
        reached.set()
        let_go.wait(WAIT_S)
        return "451 too late"

    server.on_data = hang
    process = start_deliverer(mongo_uri, server)
    try:
        assert reached.wait(WAIT_S)
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
        assert begun.wait(WAIT_S)

    sent = database.outbox.count_documents({"state": "SENT"})
    assert sent == len(server.received)
    assert database.outbox.count_documents({"state": "PENDING", "lease": {"$exists": False}}) == 300 - sent
