"""Mail takes turns: no reader delays another, a fault affects only its own letter, and no reader is flooded."""

import html
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from bson import ObjectId
from flask import Flask
from pymongo.database import Database

from app import clock, mongo
from app.account_numbers import new_number
from app.mail import delivery, desk, rounds, smtp
from app.mail.smtp import MESSAGE_TIMEOUT_S, mail
from app.mongo import Document
from app.outbox import facts, letter_counts, messages
from app.outbox import repository as outbox
from app.outbox.letter_counts import Share
from app.settings.policies import MailPolicy
from local.processes import LOOPBACK
from tests.mail import NOW, SmtpServer, fill, make_due, use
from tests.people import Bank

SLOW_S = 0.15
HOSTILE = ("=?utf-8?q??=@example.org", "=?utf-8?b?=2c@example.org", "=?utf-8?q?ceo=40bank.example=2C_x?=@evil.example")


def sent_to(server: SmtpServer, address: str) -> list[str]:
    return [received.subject for received in server.received if received.recipient == address]


def slowly(_server: object, _envelope: object) -> None:
    time.sleep(SLOW_S)


def opened(reader: ObjectId, at: datetime = NOW) -> messages.OutboxMessage:
    return messages.account_opened(
        {"_id": ObjectId(), "number": new_number(), "user": reader, "name": None, "currency": "INR", "created_at": at}
    )


def tell_one_by_one(reader: ObjectId, count: int) -> None:
    for _ in range(count):
        mongo.atomically(lambda session: outbox.insert([opened(reader)], session))


def user_of(database: Database[Document], address: str) -> Document:
    user = database.users.find_one({"email": address})
    assert user is not None
    return user


def test_addresses_that_look_like_encoded_words_get_their_own_mail_and_delay_nobody(
    mail_app: Flask, database: Database[Document], server: SmtpServer
) -> None:
    addresses = fill(database, 20)
    for address, hostile in zip(addresses, HOSTILE, strict=False):
        database.users.update_one({"email": address}, {"$set": {"email": hostile}})

    assert use(mail_app, server.port).deliver_due() == 20

    assert {received.recipient for received in server.received} >= set(addresses[3:])
    domains = [received.recipient.rpartition("@")[2] for received in server.received]
    assert domains.count("evil.example") == 1
    raw = next(received.content for received in server.received if received.recipient.endswith("@evil.example"))
    assert b'To: "=?utf-8?q?ceo=40bank.example=2C_x?="@evil.example\r\n' in raw


def test_an_address_that_cannot_stand_in_a_mail_is_that_messages_failure_alone(
    mail_app: Flask, database: Database[Document], server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = fill(database, 3)
    database.users.update_one({"email": addresses[0]}, {"$set": {"email": "a\r\nBcc: x@evil.example"}})
    told: list[str] = []
    monkeypatch.setattr(desk.log, "warning", lambda event, **more: told.append(f"{event} {more['message']}"))

    assert use(mail_app, server.port).deliver_due() == 2

    (waiting,) = database.outbox.find({"state": "PENDING"})
    assert waiting["attempts"] == 1
    assert told == [f"mail_failed {waiting['_id']}"]


def test_a_message_whose_deliverers_die_is_tried_alone_and_dead_in_the_end(
    mail_app: Flask, database: Database[Document], server: SmtpServer
) -> None:
    fill(database, 3)
    poison = database.outbox.find_one()
    assert poison is not None
    with mail_app.app_context():
        for claim in range(desk.ATTEMPTS_MAX):
            # Each of these deliverers dies of it: nothing is settled.
            turn = rounds.Rounds().claim(desk.Desk(until=NOW), now=datetime.now(UTC), letters_per_day=50)
            assert len(turn.letters) == (3 if claim < desk.LOST_MAX else 1)
            if claim == desk.LOST_MAX:
                others = {"_id": {"$ne": poison["_id"]}}
                database.outbox.update_many(others, {"$set": {"state": "SENT"}})
    use(mail_app, server.port).deliver_due()

    dead = database.outbox.find_one({"_id": poison["_id"]})
    assert dead is not None
    assert (dead["state"], dead["error"]) == ("DEAD", "Each deliverer that tried it died.")


def test_a_reset_overtakes_what_one_busy_user_has_waiting(
    mail_app: Flask, database: Database[Document], server: SmtpServer
) -> None:
    busy, other = (user_of(database, address) for address in fill(database, 2))
    database.outbox.delete_many({})
    tell_one_by_one(busy["_id"], 30)
    server.on_data = slowly
    mail.configure(mail_app, MailPolicy(server=LOOPBACK, port=server.port, letters_per_day=0))
    deliverer = delivery.Deliverer(mail_app)
    thread = threading.Thread(target=lambda: [deliverer.turn() for _ in range(2)])
    thread.start()
    server.await_mail(2)
    reset = messages.password_reset(other, "seed", at=NOW, expires_at=datetime.now(UTC) + timedelta(minutes=30))
    mongo.atomically(lambda session: outbox.insert([reset], session))
    before = len(server.received)
    thread.join()

    place = [received.recipient for received in server.received].index(other["email"])
    # What was under way when it came, and one round at most.
    assert place <= before + 2 * delivery.ROUND_S / SLOW_S


def test_a_frozen_account_is_told_before_all_that_waits_and_beyond_all_limits(
    mail_app: Flask, database: Database[Document], bank: Bank, server: SmtpServer
) -> None:
    payer, from_account = bank.customer(100)
    payee, to_account = bank.customer()
    mail.configure(mail_app, MailPolicy(server=LOOPBACK, port=server.port, letters_per_day=1))
    delivery.Deliverer(mail_app).deliver_due()
    server.received.clear()
    for _ in range(3):
        payer.transfer(from_account, to_account, 10)
    freeze = {"status": "FROZEN", "reason": "check"}
    assert bank.system.patch(f"/api/admin/accounts/{to_account}/status", freeze).status == 200

    delivery.Deliverer(mail_app).deliver_due()

    assert [received.subject for received in server.received] == ["Your account is frozen"]
    (block,) = database.outbox.find({"urgent": True, "kind": "block"})
    assert block["state"] == "SENT"
    assert payee.user["email"] == server.received[0].recipient


def test_readers_take_turns(mail_app: Flask, database: Database[Document], server: SmtpServer) -> None:
    busy, *others = (user_of(database, address) for address in fill(database, 4))
    database.outbox.delete_many({})
    tell_one_by_one(busy["_id"], 60)
    for other in others:
        tell_one_by_one(other["_id"], 2)
    mail.configure(mail_app, MailPolicy(server=LOOPBACK, port=server.port, letters_per_day=0))

    delivery.Deliverer(mail_app).deliver_due()

    order = [received.recipient for received in server.received]
    assert len(order) == 66
    assert all(address["email"] in order[:4] for address in (busy, *others))
    assert order[8:] == [busy["email"]] * 58


def test_a_batch_is_one_letter_to_each_reader(
    mail_app: Flask, database: Database[Document], bank: Bank, server: SmtpServer
) -> None:
    payer, from_account = bank.customer(100_000)
    payee, to_account = bank.customer()
    deliverer = use(mail_app, server.port)
    deliverer.deliver_due()
    server.received.clear()
    items = [
        {"fromAccount": from_account, "toAccount": to_account, "amount": 100 + number, "description": f"No. {number}"}
        for number in range(30)
    ]
    answer = payer.post("/api/transactions/batch", {"idempotencyKey": "b1", "transfers": items})
    assert answer.status in (200, 201), answer.body

    assert deliverer.deliver_due() == 60

    assert sorted(received.recipient for received in server.received) == sorted(
        [payer.user["email"], payee.user["email"]]
    )
    for received in server.received:
        assert received.subject == "30 transactions on your accounts"
        for part in (received.text, html.unescape(received.html)):
            assert all(f"No. {number}" in part for number in range(30))
            assert "₹34.35" in part, "The sum."
            for transaction in database.transactions.find({"kind": "TRANSFER"}):
                assert str(transaction["_id"]) in part


def test_beyond_a_days_letters_the_rest_of_the_day_is_one_digest(
    mail_app: Flask, database: Database[Document], server: SmtpServer
) -> None:
    (address,) = fill(database, 1)
    reader = user_of(database, address)
    mail.configure(mail_app, MailPolicy(server=LOOPBACK, port=server.port, letters_per_day=3))
    deliverer = delivery.Deliverer(mail_app)
    for _ in range(8):
        tell_one_by_one(reader["_id"], 1)
        deliverer.deliver_due()
    mongo.atomically(lambda session: outbox.insert([messages.password_changed(reader, NOW)], session))
    deliverer.deliver_due()

    assert sent_to(server, address) == [
        "Welcome to Fincore", *["Your INR account is open"] * 3, "Your password was changed"
    ]  # fmt: skip
    waiting = list(database.outbox.find({"state": "PENDING"}))
    assert len(waiting) == 5
    now = datetime.now(UTC)
    assert all(now < message["next_attempt_at"] <= now + timedelta(days=1) for message in waiting)

    database.letter_counts.delete_many({})
    make_due(database)
    assert deliverer.deliver_due() == 5
    assert sent_to(server, address)[-1] == "5 events on your accounts"
    assert len(server.received) == 6


def test_beyond_a_minutes_letters_the_rest_is_one_digest_a_minute_later(
    mail_app: Flask, database: Database[Document], server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (address,) = fill(database, 1)
    reader = user_of(database, address)
    minute = datetime.now(UTC).replace(hour=12, minute=30, second=59, microsecond=0)
    monkeypatch.setattr(clock, "now", lambda: minute)
    policy = MailPolicy(server=LOOPBACK, port=server.port, letters_per_day=50, letters_per_minute=2)
    mail.configure(mail_app, policy)
    deliverer = delivery.Deliverer(mail_app)
    for _ in range(5):
        tell_one_by_one(reader["_id"], 1)
        deliverer.deliver_due()
    mongo.atomically(lambda session: outbox.insert([messages.password_changed(reader, NOW)], session))
    deliverer.deliver_due()

    opened_one = "Your INR account is open"
    assert sent_to(server, address) == ["Welcome to Fincore", opened_one, opened_one, "Your password was changed"]
    next_minute = minute + timedelta(seconds=1)
    waiting = list(database.outbox.find({"state": "PENDING"}))
    assert {(message["next_attempt_at"], message["deferred"]) for message in waiting} == {(next_minute, True)}
    monkeypatch.setattr(clock, "now", lambda: next_minute)
    assert deliverer.deliver_due() == 3
    assert sent_to(server, address)[-1] == "3 events on your accounts"


def test_the_longer_of_two_limits_that_are_reached_decides_when_the_rest_goes(
    database: Database[Document],
) -> None:
    noon = datetime(2026, 11, 22, 12, 0, 30, tzinfo=UTC)
    windows = letter_counts.windows_of(noon, letters_per_day=5, letters_per_minute=2)
    reader, other = ObjectId(), ObjectId()

    first = letter_counts.reserve_letters({reader: 4, other: 1}, windows)
    later = [window for window in windows if window.letters_max == 5]
    letter_counts.reserve_letters({reader: 3}, later)
    last = letter_counts.reserve_letters({reader: 1}, windows)

    assert first == {reader: Share(2, noon.replace(minute=1, second=0)), other: Share(1)}
    assert last == {reader: Share(0, datetime(2026, 11, 23, tzinfo=UTC))}
    counts = {document["_id"]: document["count"] for document in database.letter_counts.find()}
    assert counts[f"{reader}/2026-11-22"] == 5
    assert counts[f"{reader}/2026-11-22T12:00"] == 2


def test_a_letter_that_did_not_go_is_not_counted(
    mail_app: Flask, database: Database[Document], server: SmtpServer
) -> None:
    (address,) = fill(database, 1)
    reader = user_of(database, address)
    server.on_recipient = lambda _: "451 later"
    tell_one_by_one(reader["_id"], 1)
    deliverer = use(mail_app, server.port)
    deliverer.deliver_due()

    counts = list(database.letter_counts.find())
    assert [count["count"] for count in counts] == [0, 0], "For the day and for the minute."


def test_one_unwritable_message_does_not_keep_the_others_of_its_digest(
    mail_app: Flask, database: Database[Document], server: SmtpServer
) -> None:
    (address,) = fill(database, 1)
    reader = user_of(database, address)
    mongo.atomically(lambda session: outbox.insert([opened(reader["_id"]) for _ in range(5)], session))
    bad = database.outbox.find_one({"kind": "account_opened"})
    assert bad is not None
    database.outbox.update_one({"_id": bad["_id"]}, {"$set": {"kind": "of_a_newer_version"}})

    assert use(mail_app, server.port).deliver_due() == 1 + 4

    assert sent_to(server, address) == ["Welcome to Fincore", "4 events on your accounts"]
    assert database.outbox.count_documents({"_id": bad["_id"], "state": "PENDING", "attempts": 1}) == 1


def test_a_claim_that_takes_longer_than_a_turn_does_not_keep_mail_back_for_ever(
    mail_app: Flask, database: Database[Document], server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (address,) = fill(database, 1)
    deliverer, elapsed, work_out = use(mail_app, server.port), [0.0], facts.work_out

    def work_out_slowly(found: list[Document]) -> dict[ObjectId, facts.Told]:
        elapsed[0] += 2 * delivery.TURN_S
        return work_out(found)

    monkeypatch.setattr(facts, "work_out", work_out_slowly)
    monkeypatch.setattr(delivery, "time", SimpleNamespace(monotonic=lambda: elapsed[0]))

    assert deliverer.deliver_due(limit_s=delivery.TURN_S, is_turn=True) == 1
    assert sent_to(server, address) == ["Welcome to Fincore"]


class ChattyServer:
    """Says `250-…` for ever, a line now and then, instead of an answer."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._socket = socket.create_server((LOOPBACK, 0))
        self.port: int = self._socket.getsockname()[1]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return
        with connection:
            try:
                connection.sendall(b"220 hello\r\n")
                while not self._over.wait(self._pause_s):
                    connection.sendall(b"250-more\r\n")
            except OSError:
                return

    def close(self) -> None:
        self._over.set()
        self._socket.close()
        self._thread.join()


def test_a_server_that_talks_on_and_on_is_given_up_soon(
    mail_app: Flask, database: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database, 1)
    monkeypatch.setattr(smtp, "MESSAGE_TIMEOUT_S", 0.6)
    server = ChattyServer(0.1)
    begun = time.monotonic()
    try:
        with pytest.raises(smtp.ServerAway):
            use(mail_app, server.port).deliver_due()
        assert time.monotonic() - begun < MESSAGE_TIMEOUT_S
    finally:
        server.close()


def test_a_reset_token_does_not_go_over_a_connection_that_others_can_read(
    mail_app: Flask, database: Database[Document], server: SmtpServer
) -> None:
    (address,) = fill(database, 1)
    expires_at = datetime.now(UTC) + timedelta(minutes=30)
    reset = messages.password_reset(user_of(database, address), "seed", at=NOW, expires_at=expires_at)
    mongo.atomically(lambda session: outbox.insert([reset], session))
    mail.configure(mail_app, MailPolicy(server=LOOPBACK, port=server.port, secrets_in_clear=False))

    assert delivery.Deliverer(mail_app).deliver_due() == 1

    assert sent_to(server, address) == ["Welcome to Fincore"]
    assert "encrypted" in str(database.outbox.find_one({"kind": "password_reset", "state": "PENDING"}))
