"""Each reader's choice decides which letters go, and when: at once, in a digest, or not at all. None is lost."""

import html
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from flask import Flask
from hypothesis import given, settings
from hypothesis import strategies as st
from pymongo.database import Database

from app import clock, ledger
from app.account_numbers import grouped
from app.auth.preferences import Frequency
from app.mail import rounds
from app.mail.choices import next_digest
from app.mail.delivery import Deliverer
from app.mail.desk import Desk
from app.mongo import Document
from app.outbox import repository as outbox
from tests.commands import transfer
from tests.faults.test_mail_crashes import WAIT_S, start_deliverer
from tests.mail import NOW, Received, SmtpServer, use
from tests.people import Bank
from tests.threads import at_once

PATH = "/api/auth/me/notifications"


class Payments:
    """Asha pays Ben, whose choices matter. Letters about how they became customers have gone."""

    def __init__(self, app: Flask, bank: Bank, database: Database[Document], server: SmtpServer) -> None:
        self.bank, self.database, self.server = bank, database, server
        self.asha, self.source = bank.customer(100_000)
        self.ben, self.target = bank.customer()
        self.deliverer = use(app, server.port)
        self.deliverer.deliver_due()
        server.received.clear()

    def choose(self, **kinds: str) -> None:
        chosen = {name.replace("_", ".", 1): frequency for name, frequency in kinds.items()}
        answer = self.ben.put(PATH, {"kinds": chosen})
        assert answer.status == 200, answer.content

    def pay(self, amount: int = 100, **more: Any) -> None:
        assert self.asha.transfer(self.source, self.target, amount, **more).status == 201

    def pay_in_blocks(self, count: int) -> None:
        for amount in range(1, count + 1):
            self.pay(amount)
            self.deliverer.deliver_due()

    def to_ben(self) -> list[Received]:
        return [received for received in self.server.received if received.recipient == self.ben.user["email"]]

    def waiting(self) -> list[Document]:
        return list(self.database.outbox.find({"state": "PENDING"}).sort("_id", 1))

    def let_digests_be_due(self) -> None:
        past = {"next_attempt_at": NOW, "digest_at": NOW}
        self.database.outbox.update_many({"state": "PENDING", "digest_at": {"$exists": True}}, {"$set": past})


@pytest.fixture
def payments(mail_app: Flask, bank: Bank, database: Database[Document], server: SmtpServer) -> Payments:
    return Payments(mail_app, bank, database, server)


def test_what_is_off_is_not_told_and_nothing_of_it_waits(payments: Payments) -> None:
    payments.choose(money_received="off")
    payments.pay()

    assert payments.deliverer.deliver_due() == 1

    assert [received.recipient for received in payments.server.received] == [payments.asha.user["email"]]
    assert payments.waiting() == []


def test_what_is_daily_comes_in_one_letter_with_amounts_and_numbers(payments: Payments) -> None:
    payments.choose(money_received="daily")
    payments.pay_in_blocks(3)

    assert payments.to_ben() == []
    kept = payments.waiting()
    digest_at = next_digest(Frequency.DAILY, datetime.now(UTC))
    assert {(document["next_attempt_at"], document["deferred"]) for document in kept} == {(digest_at, True)}
    assert {document["attempts"] for document in kept} == {0}
    payments.let_digests_be_due()

    assert payments.deliverer.deliver_due() == 3

    (letter,) = payments.to_ben()
    assert letter.subject == "3 transactions on your accounts"
    for part in (letter.text, html.unescape(letter.html)):
        assert "You chose to be told of it together" in " ".join(part.split())
        assert grouped(payments.asha.number_of(payments.source)) in part
        assert grouped(payments.ben.number_of(payments.target)) in part
        assert all(amount in part for amount in ("₹0.01", "₹0.02", "₹0.03", "₹0.06"))
    assert payments.deliverer.deliver_due() == 0
    assert payments.waiting() == []


def test_a_digest_goes_at_its_hour_and_not_before(payments: Payments, monkeypatch: pytest.MonkeyPatch) -> None:
    payments.choose(money_received="weekly")
    payments.pay()
    payments.deliverer.deliver_due()
    (kept,) = payments.waiting()

    monkeypatch.setattr(clock, "now", lambda: kept["digest_at"] - timedelta(seconds=1))
    assert payments.deliverer.deliver_due() == 0
    monkeypatch.setattr(clock, "now", lambda: kept["digest_at"])
    assert payments.deliverer.deliver_due() == 1

    (digest,) = payments.to_ben()
    assert (digest.subject, digest.message["Date"].datetime) == ("You received ₹1.00", kept["digest_at"])
    # Nothing happened since, so there is nothing to tell.
    monkeypatch.setattr(clock, "now", lambda: kept["digest_at"] + timedelta(days=7))
    assert payments.deliverer.deliver_due() == 0


def test_a_digest_of_more_than_a_round_can_claim_comes_in_several_letters_and_all_of_it(
    payments: Payments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "MESSAGES_MAX", 2)
    payments.choose(money_received="daily")
    payments.pay_in_blocks(5)
    payments.let_digests_be_due()

    payments.deliverer.deliver_due()

    together = "2 transactions on your accounts"
    assert [received.subject for received in payments.to_ben()] == [together, together, "You received ₹0.05"]
    assert payments.waiting() == []


@pytest.mark.parametrize(
    ("choice", "letters"), [("each", ["2 transactions on your accounts"]), ("off", []), ("daily", []), ("weekly", [])]
)
def test_a_new_choice_decides_about_what_waits_for_a_digest(
    payments: Payments, choice: str, letters: list[str]
) -> None:
    payments.choose(money_received="weekly")
    payments.pay_in_blocks(2)

    payments.choose(money_received=choice)
    payments.deliverer.deliver_due()

    assert [received.subject for received in payments.to_ben()] == letters
    digests = {document["digest_at"] for document in payments.waiting()}
    is_kept = choice in ("daily", "weekly")
    assert digests == ({next_digest(Frequency(choice), datetime.now(UTC))} if is_kept else set())
    assert {document["attempts"] for document in payments.waiting()} <= {0}


def test_who_gets_digests_is_told_of_security_at_once(payments: Payments) -> None:
    stored = {f"letters.{kind.replace('.', '_')}": "off" for kind in payments.ben.get(PATH).body["kinds"]}
    # The API refuses it.
    payments.database.users.update_one({"_id": ObjectId(payments.ben.id)}, {"$set": stored})
    payments.pay()
    path = f"/api/admin/accounts/{payments.target}/status"
    assert payments.bank.system.patch(path, {"status": "FROZEN", "reason": "check"}).status == 200

    payments.deliverer.deliver_due()

    assert [received.subject for received in payments.to_ben()] == ["Your account is frozen"]


def test_both_sides_of_a_payment_to_oneself_are_told_once_each_though_they_go_apart(payments: Payments) -> None:
    payments.choose(money_received="weekly", money_sent="daily")
    savings = payments.ben.open_account()
    payments.bank.fund(payments.target, 1_000)
    payments.deliverer.deliver_due()
    payments.server.received.clear()
    payments.database.outbox.update_many({"state": "PENDING"}, {"$set": {"state": "SENT"}})
    user, source, target = ObjectId(payments.ben.id), ObjectId(payments.target), ObjectId(savings)
    ledger.post([transfer(user, source, target, 100 + number) for number in range(2)])
    payments.deliverer.deliver_due()
    daily, weekly = sorted(payments.waiting(), key=lambda document: document["news"][0]["subjects"])[:2]
    assert daily["digest_at"] != weekly["digest_at"] or datetime.now(UTC).weekday() in (6, 0)

    for document in payments.waiting():
        due = {"next_attempt_at": NOW, "digest_at": NOW}
        payments.database.outbox.update_one({"_id": document["_id"]}, {"$set": due})
        payments.deliverer.deliver_due()

    texts = [received.text for received in payments.to_ben()]
    assert [text.count("Sent to") for text in texts].count(2) == 1
    assert [text.count("Received from") for text in texts].count(2) == 1
    assert not any("Between your accounts" in text for text in texts)


def test_a_letter_that_was_refused_is_decided_about_again(payments: Payments) -> None:
    hold = {"fromAccount": payments.source, "toAccount": payments.target, "amount": 7, "idempotencyKey": "hold"}
    payments.server.on_recipient = lambda _: "451 later"
    user, source, target = (ObjectId(id_) for id_ in (payments.asha.id, payments.source, payments.target))
    ledger.post([transfer(user, source, target, 5), transfer(user, source, target, 6)])
    payments.asha.post("/api/transactions/hold", hold)
    payments.deliverer.deliver_due()
    payments.server.on_recipient = lambda _: None

    payments.choose(money_received="off", hold_placed="daily")
    payments.database.outbox.update_many({"state": "PENDING"}, {"$set": {"next_attempt_at": NOW}})
    payments.deliverer.deliver_due()

    assert payments.to_ben() == []
    (kept,) = (document for document in payments.waiting() if document["user"] == ObjectId(payments.ben.id))
    assert kept["kind"] == "hold_placed"
    payments.let_digests_be_due()
    payments.deliverer.deliver_due()
    assert len(payments.to_ben()) == 1
    assert payments.waiting() == []


def test_the_opening_of_an_account_is_kept_with_the_rest(payments: Payments) -> None:
    payments.choose(account_opened="daily", money_received="daily")
    payments.ben.open_account(name="Holidays")
    payments.pay_in_blocks(1)
    payments.let_digests_be_due()

    assert payments.deliverer.deliver_due() == 2

    assert [received.subject for received in payments.to_ben()] == ["2 events on your accounts"]


def test_a_digest_goes_to_the_address_of_its_hour_and_to_nobody_who_is_gone(payments: Payments) -> None:
    payments.choose(money_received="daily")
    payments.pay_in_blocks(1)
    users = payments.database.users
    users.update_one({"_id": ObjectId(payments.ben.id)}, {"$set": {"email": "ben-moved@fincore.example"}})
    payments.let_digests_be_due()
    assert payments.deliverer.deliver_due() == 1
    assert payments.server.received[-1].recipient == "ben-moved@fincore.example"

    payments.pay_in_blocks(1)
    users.delete_one({"_id": ObjectId(payments.ben.id)})
    payments.let_digests_be_due()
    sent = len(payments.server.received)
    assert payments.deliverer.deliver_due() == 0

    assert len(payments.server.received) == sent
    assert payments.database.outbox.distinct("error", {"state": "DEAD"}) == ["The user does not exist."]


def test_of_two_deliverers_one_sends_a_digest_and_all_of_it(payments: Payments, mail_app: Flask) -> None:
    payments.choose(money_received="daily")
    payments.pay_in_blocks(12)
    payments.let_digests_be_due()
    deliverers = [Deliverer(mail_app) for _ in range(2)]

    def deliver(deliverer: Deliverer) -> int:
        with mail_app.app_context():
            return deliverer.deliver_due()

    assert sorted(at_once([lambda each=each: deliver(each) for each in deliverers])) == [0, 12]  # type: ignore[misc]

    assert [received.subject for received in payments.to_ben()] == ["12 transactions on your accounts"]


def test_documents_that_belong_together_are_claimed_by_one(payments: Payments) -> None:
    payments.choose(money_received="daily")
    payments.pay_in_blocks(20)
    payments.let_digests_be_due()
    ids = [document["_id"] for document in payments.waiting()]
    now = datetime.now(UTC)

    def claim() -> int:
        return len(outbox.claim_together(ids, ObjectId(), now=now, until=now + timedelta(seconds=40)))

    assert sorted(at_once([claim] * 4)) == [0, 0, 0, 20]


def test_who_dies_before_the_note_keeps_nothing_twice(payments: Payments, mail_app: Flask) -> None:
    payments.choose(money_received="daily")
    payments.pay()
    # It has decided, and dies before it writes that down. Its lease is over at once.
    Desk(until=NOW).take_in(datetime.now(UTC), readers_wanted=1, bundles=True)
    assert [document["kind"] for document in payments.waiting()] == ["block"]

    payments.deliverer.deliver_due()

    (kept,) = payments.waiting()
    assert kept["user"] == ObjectId(payments.ben.id)


def test_a_digest_survives_the_death_of_its_deliverer_and_is_recognised_if_it_comes_twice(
    payments: Payments, mongo_uri: str
) -> None:
    payments.choose(money_received="daily")
    payments.pay_in_blocks(3)
    payments.let_digests_be_due()
    payments.server.received.clear()
    reached, let_go = threading.Event(), threading.Event()

    def on_data(_server: object, _envelope: object) -> None:
        # The server takes it, but the deliverer does not live to hear so.
        reached.set()
        let_go.wait(WAIT_S)

    payments.server.on_data = on_data
    process = start_deliverer(mongo_uri, payments.server)
    try:
        assert reached.wait(WAIT_S)
    finally:
        process.kill()
        process.wait()
    let_go.set()
    payments.server.await_mail(1)
    payments.server.on_data = lambda _server, _envelope: None
    assert len(payments.waiting()) == 3
    payments.let_digests_be_due()

    payments.deliverer.deliver_due()

    first, second = payments.to_ben()
    assert first.id == second.id
    assert first.text == second.text
    assert payments.waiting() == []


FREQUENCIES = st.sampled_from([frequency.value for frequency in Frequency])
STEPS = st.one_of(
    st.tuples(st.just("pay"), st.integers(1, 3)),
    st.tuples(st.just("choose"), FREQUENCIES),
    st.tuples(st.just("deliver"), st.booleans()),
)


def test_each_movement_is_in_one_letter_unless_its_kind_is_off(payments: Payments) -> None:
    @settings(max_examples=8)
    @given(st.lists(STEPS, min_size=3, max_size=8))
    def try_out(steps: list[tuple[str, Any]]) -> None:
        payments.server.received.clear()
        payments.database.letter_counts.delete_many({})
        payments.choose(money_received="each")
        known = {document["_id"] for document in payments.database.transactions.find({}, ["_id"])}
        choices = {"each"}
        for step, value in steps:
            if step == "pay":
                user, source, target = (ObjectId(id_) for id_ in (payments.asha.id, payments.source, payments.target))
                ledger.post([transfer(user, source, target, 1) for _ in range(value)])
            elif step == "choose":
                choices.add(value)
                payments.choose(money_received=value)
            else:
                payments.deliverer.deliver_due()
                if value:
                    payments.let_digests_be_due()
        payments.deliverer.deliver_due()
        payments.let_digests_be_due()
        payments.deliverer.deliver_due()

        paid = {document["_id"] for document in payments.database.transactions.find({}, ["_id"])} - known
        texts = [received.text for received in payments.to_ben()]
        told = [id_ for text in texts for id_ in paid if str(id_) in text]
        assert len(told) == len(set(told))
        assert set(told) == paid or "off" in choices
        assert payments.waiting() == []

    try_out()
