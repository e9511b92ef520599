"""One document is for all readers of a block: whatever happens on the way, each gets each message, once."""

from datetime import UTC, datetime, timedelta

import pytest
from bson import Int64, ObjectId
from flask import Flask
from pymongo.database import Database

from app import ledger
from app.mail import delivery, desk, digests
from app.mail.catalogues import Catalogue
from app.mail.delivery import Deliverer
from app.mail.smtp import ServerAway, mail
from app.mongo import Document
from app.settings.policies import MailPolicy
from local.processes import LOOPBACK
from tests.commands import transfer
from tests.mail import NOW, SmtpServer, drop, make_due, told, use
from tests.people import Bank


class Payments:
    """A payer with several payees, and a block that pays each of them."""

    def __init__(self, bank: Bank, database: Database[Document], payees: int) -> None:
        self.database = database
        self.payer, self.source = bank.customer(100_000)
        found = [bank.customer() for _ in range(payees)]
        self.payees = [person.user["email"] for person, _ in found]
        self.accounts = [ObjectId(account) for _, account in found]
        database.outbox.delete_many({})

    @property
    def readers(self) -> list[str]:
        return [self.payer.user["email"], *self.payees]

    def post(self, times: int = 1) -> Document:
        """Post one block and return its document."""
        user, source = ObjectId(self.payer.id), ObjectId(self.source)
        ledger.post([transfer(user, source, account, 100) for account in self.accounts for _ in range(times)])
        return self.block()

    def block(self) -> Document:
        (block,) = self.database.outbox.find({"kind": "block"}).sort("_id", -1).limit(1)
        return block

    def others(self) -> list[Document]:
        return list(self.database.outbox.find({"kind": {"$ne": "block"}}).sort("_id", 1))


@pytest.fixture
def payments(bank: Bank, database: Database[Document]) -> Payments:
    return Payments(bank, database, 4)


def recipients(server: SmtpServer) -> list[str]:
    return sorted(received.recipient for received in server.received)


def one_by_one(app: Flask, server: SmtpServer) -> Deliverer:
    mail.configure(app, MailPolicy(server=LOOPBACK, port=server.port, letters_per_day=0))
    return Deliverer(app)


def test_a_block_is_told_with_one_document_and_one_note(
    mail_app: Flask, payments: Payments, server: SmtpServer
) -> None:
    payments.post()

    assert use(mail_app, server.port).deliver_due() == 8

    assert recipients(server) == sorted(payments.readers)
    assert payments.block()["state"] == "SENT"
    assert not {"lease", "told", "lost", "was_due_at"} & payments.block().keys()
    assert payments.others() == []


def test_only_what_failed_gets_a_document_of_its_own(mail_app: Flask, payments: Payments, server: SmtpServer) -> None:
    payments.post()
    server.on_recipient = lambda address: "451 later" if address == payments.payees[1] else None
    deliverer = use(mail_app, server.port)
    begun = datetime.now(UTC)

    assert deliverer.deliver_due() == 7

    assert payments.block()["state"] == "SENT"
    (waiting,) = payments.others()
    assert (waiting["kind"], waiting["state"], waiting["attempts"]) == ("money_received", "PENDING", 1)
    assert waiting["error"] == "451 later"
    assert begun < waiting["next_attempt_at"] <= datetime.now(UTC) + timedelta(seconds=10)
    server.on_recipient = lambda _: None
    make_due(payments.database)
    assert deliverer.deliver_due() == 1
    assert recipients(server) == sorted(payments.readers)


def test_what_fails_for_ever_is_dead_after_twelve_attempts_and_can_be_revived(
    mail_app: Flask, payments: Payments, server: SmtpServer
) -> None:
    payments.post(times=3)
    server.on_recipient = lambda address: "550 unknown" if address == payments.payees[1] else None
    deliverer = use(mail_app, server.port)

    for _ in range(desk.ATTEMPTS_MAX):
        deliverer.deliver_due()
        make_due(payments.database)

    (dead,) = payments.others()
    assert (dead["kind"], dead["state"], dead["attempts"]) == ("digest", "DEAD", 12)
    assert deliverer.deliver_due() == 0
    server.on_recipient = lambda _: None
    assert mail_app.test_cli_runner().invoke(args=["mail", "retry", str(dead["_id"])]).output == "Due again: 1.\n"
    assert deliverer.deliver_due() == 3
    assert server.received[-1].subject == "3 transactions on your accounts"


def test_who_owns_both_accounts_gets_each_message_once_whatever_fails(
    mail_app: Flask, bank: Bank, database: Database[Document], server: SmtpServer
) -> None:
    asha, first = bank.customer(1_000)
    second = asha.post("/api/accounts/create", {"currency": "INR"}).body["account"]["id"]
    database.outbox.delete_many({})
    assert asha.transfer(first, second, 100).status == 201
    answers = iter(["451 later"])
    server.on_data = lambda _server, _envelope: next(answers, None)
    deliverer = one_by_one(mail_app, server)

    deliverer.deliver_due()
    make_due(database)
    deliverer.deliver_due()

    assert sorted(received.subject for received in server.received) == ["You received ₹1.00", "You sent ₹1.00"]


def test_a_deliverer_that_stops_in_mid_block_leaves_who_is_still_to_be_told(
    mail_app: Flask, payments: Payments, server: SmtpServer
) -> None:
    posted = payments.post()
    deliverer = use(mail_app, server.port)
    server.on_data = lambda _server, _envelope: deliverer.stop() if len(server.received) == 2 else None

    deliverer.deliver_due()

    block = payments.block()
    assert len(block["told"]) == 3
    assert (block["state"], block["attempts"]) == ("PENDING", 0)
    assert block["next_attempt_at"] == posted["next_attempt_at"], "It keeps its place."
    assert "lease" not in block
    use(mail_app, server.port).deliver_due()
    assert recipients(server) == sorted(payments.readers)
    assert set(server.ids().values()) == {1}


def test_a_server_that_goes_away_in_mid_block_gets_the_rest_later(
    mail_app: Flask, payments: Payments, server: SmtpServer
) -> None:
    payments.post()
    server.on_data = lambda smtp, envelope: drop(smtp, envelope) if server.received else None
    deliverer = use(mail_app, server.port)

    with pytest.raises(ServerAway):
        deliverer.deliver_due()

    # Those that failed wait on their own, what was not tried stays with the block.
    assert len(payments.others()) == delivery.GENERAL_FAILURES_MAX
    assert payments.block()["state"] == "PENDING"
    server.on_data = lambda _server, _envelope: None
    make_due(payments.database)
    deliverer.deliver_due()
    assert recipients(server) == sorted(payments.readers)
    assert payments.block()["state"] == "SENT"


def test_a_block_whose_deliverers_die_is_divided_and_only_the_deadly_part_dies(
    mail_app: Flask, payments: Payments, server: SmtpServer
) -> None:
    payments.post()
    with mail_app.app_context():
        for _ in range(desk.LOST_MAX):
            # Each of these deliverers dies of it, with a lease that is over at once.
            desk.Desk(until=NOW).take_in(datetime.now(UTC), readers_wanted=1, bundles=True)
    assert payments.block()["attempts"] == 2

    deliverer = use(mail_app, server.port)
    deliverer.deliver_due()

    assert payments.block()["state"] == "SENT"
    assert recipients(server) == sorted(payments.readers)
    assert {document["attempts"] for document in payments.others()} == {3}, "Each was tried on its own."


def test_who_lost_the_lease_of_a_block_writes_nothing_about_it(
    mail_app: Flask, payments: Payments, server: SmtpServer
) -> None:
    payments.post()
    slow, quick = desk.Desk(until=NOW), desk.Desk(until=datetime.now(UTC) + timedelta(seconds=40))
    for each in (slow, quick):
        each.take_in(datetime.now(UTC), readers_wanted=1, bundles=True)
    before = payments.block()

    slow.failed(slow.parcels(ObjectId(payments.payer.id)), "too late")
    slow.sent(slow.parcels(next(iter(slow.readers()))))
    slow.give_back()

    assert payments.block() == before
    assert payments.others() == []


def test_beyond_a_days_letters_what_blocks_tell_waits_for_one_digest(
    mail_app: Flask, bank: Bank, database: Database[Document], server: SmtpServer
) -> None:
    payments = Payments(bank, database, 1)
    mail.configure(mail_app, MailPolicy(server=LOOPBACK, port=server.port, letters_per_day=2))
    deliverer = Deliverer(mail_app)

    for _ in range(6):
        payments.post(times=2)
        deliverer.deliver_due()

    assert len(server.received) == 4, "Two to each reader."
    assert database.outbox.count_documents({"kind": "block", "state": "SENT"}) == 6
    waiting = payments.others()
    assert {(document["state"], document["deferred"]) for document in waiting} == {("PENDING", True)}
    now = datetime.now(UTC)
    assert all(now < document["next_attempt_at"] <= now + timedelta(days=1) for document in waiting)

    database.letter_counts.delete_many({})
    make_due(database)
    assert deliverer.deliver_due() == 16
    assert [received.subject for received in server.received[4:]] == ["8 transactions on your accounts"] * 2
    assert "You got many letters in a short time" in server.received[-1].text.replace("\n", " ")


def test_one_unwritable_message_of_a_block_waits_alone(
    mail_app: Flask, payments: Payments, server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    payments.post(times=2)
    (bad, *_) = payments.block()["news"][0]["subjects"]
    written = digests.row_of

    def row_of(kind: str, payload: Document, texts: Catalogue) -> digests.Row:
        if payload["transaction"] == bad:
            raise ValueError("a bug")
        return written(kind, payload, texts)

    monkeypatch.setattr(digests, "row_of", row_of)

    assert use(mail_app, server.port).deliver_due() == 7 + 7

    waiting = payments.others()
    assert {document["news"][0]["subjects"][0] for document in waiting} == {bad}
    assert [document["kind"] for document in waiting] == ["money_sent", "money_received"]
    assert {document["attempts"] for document in waiting} == {1}
    assert payments.block()["state"] == "SENT"


def test_news_of_what_the_ledger_does_not_have_waits_alone_and_is_dead_in_the_end(
    mail_app: Flask, payments: Payments, server: SmtpServer
) -> None:
    payments.post()
    (gone, *_) = payments.block()["news"][0]["subjects"]
    payments.database.transactions.delete_one({"_id": gone})
    first = payments.block()["_id"]
    deliverer = use(mail_app, server.port)

    assert deliverer.deliver_due() == 3 + 3

    for _ in range(desk.ATTEMPTS_MAX):
        make_due(payments.database)
        deliverer.deliver_due()
    dead = payments.database.outbox.find_one({"state": "DEAD"})
    assert dead is not None
    assert dead["news"] == [{"event": "moved", "subjects": [gone]}]
    assert dead["attempts"] == desk.ATTEMPTS_MAX
    assert "KeyError" in dead["error"]
    assert payments.database.outbox.count_documents({"news.subjects": gone, "kind": "block"}) == 2
    assert payments.database.outbox.count_documents({"_id": first, "state": "SENT"}) == 1


def test_what_cannot_be_told_leaves_a_block_once_even_if_the_rest_takes_several_rounds(
    mail_app: Flask, payments: Payments, server: SmtpServer
) -> None:
    payments.post()
    (gone, *_) = payments.block()["news"][0]["subjects"]
    payments.database.transactions.delete_one({"_id": gone})
    first = payments.block()["_id"]
    for _ in range(3):
        deliverer = use(mail_app, server.port)
        server.on_data = lambda _server, _envelope, deliverer=deliverer: deliverer.stop()  # type: ignore[misc]
        deliverer.deliver_due()

    server.on_data = lambda _server, _envelope: None
    use(mail_app, server.port).deliver_due()

    assert payments.database.outbox.count_documents({"_id": first, "state": "SENT"}) == 1
    assert payments.database.outbox.count_documents({"news.subjects": gone}) == 2
    assert len(server.received) == 4
    assert set(server.ids().values()) == {1}


def test_a_digest_that_is_tried_again_goes_without_what_cannot_be_written(
    mail_app: Flask, payments: Payments, server: SmtpServer
) -> None:
    payments.post(times=2)
    server.on_recipient = lambda _: "451 later"
    deliverer = use(mail_app, server.port)
    deliverer.deliver_due()
    (gone, *_) = payments.block()["news"][0]["subjects"]
    payments.database.transactions.delete_one({"_id": gone})
    make_due(payments.database)
    server.on_recipient = lambda _: None

    assert deliverer.deliver_due() == 7 + 7

    waiting = list(payments.database.outbox.find({"state": "PENDING"}))
    assert [document["news"][0]["subjects"] for document in waiting] == [[gone], [gone]]
    assert {document["attempts"] for document in waiting} == {2}


def test_a_block_that_tells_nobody_is_done_at_once(mail_app: Flask, payments: Payments, server: SmtpServer) -> None:
    payments.post()
    payments.database.outbox.update_one(
        {"kind": "block"}, {"$set": {"told": [payments.payer.id, *map(str, readers_of(payments))]}}
    )

    assert use(mail_app, server.port).deliver_due() == 0

    assert payments.block()["state"] == "SENT"


def readers_of(payments: Payments) -> set[ObjectId]:
    return {message.user for message in told(payments.database)}


def test_single_messages_of_version_1_and_blocks_come_in_turn(
    mail_app: Flask, payments: Payments, server: SmtpServer
) -> None:
    payments.post()
    payload = {
        "at": NOW, "account": ObjectId(payments.source), "is_payer": False, "transaction": ObjectId(),
        "transaction_kind": "FUNDING", "amount": Int64(5), "currency": "INR", "balance": Int64(5),
        "available": Int64(5),
    }  # fmt: skip
    payments.database.outbox.insert_one(
        {
            "kind": "money_received",
            "user": ObjectId(payments.payer.id),
            "payload": payload,
            "state": "PENDING",
            "attempts": 0,
            "next_attempt_at": NOW,
        }
    )

    assert use(mail_app, server.port).deliver_due() == 9

    to_payer = [received.subject for received in server.received if received.recipient == payments.readers[0]]
    assert to_payer == ["You received ₹0.05", "4 transactions on your accounts"]


def test_a_reader_with_much_on_the_desk_does_not_delay_who_comes_later(
    mail_app: Flask, bank: Bank, database: Database[Document], server: SmtpServer
) -> None:
    busy, other = Payments(bank, database, 1), Payments(bank, database, 1)
    busy.post(times=100)
    busy.post(times=20)
    other.post()

    one_by_one(mail_app, server).deliver_due()

    order = [received.recipient for received in server.received]
    assert len(order) == 242
    assert max(order.index(address) for address in other.readers) < 4
