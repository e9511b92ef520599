"""Mail through a real SMTP server that refuses, hangs, breaks off or is not there: none is lost, none is sent twice."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from pymongo.database import Database

from app import mongo
from app.auth.resets import reset_token
from app.mail import delivery, desk, smtp
from app.mail.delivery import Deliverer
from app.mail.mime import Letter
from app.mail.smtp import Mail, ServerAway, mail
from app.mongo import Document, leases
from app.outbox import messages
from app.outbox import repository as outbox
from local.processes import free_port
from tests.mail import NOW, SilentServer, SmtpServer, drop, fill, make_due, smtp_server, use
from tests.people import Bank

# What each time-out is cut to here is far below it.
GIVEN_UP_WITHIN = timedelta(seconds=smtp.CONNECT_TIMEOUT_S)


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


def test_a_pipeline_carries_mail_and_refusals_like_single_commands(
    mail_app: Flask, database: Database[Document]
) -> None:
    addresses = fill(database, 6)
    refused = {addresses[1]: "550 no such user", addresses[4]: "451 not now"}
    with smtp_server(pipelining=True) as server:
        server.on_recipient = lambda address: refused.get(address)

        assert use(mail_app, server.port).deliver_due() == 4

    assert sorted(received.recipient for received in server.received) == sorted(set(addresses) - refused.keys())
    assert all("Hello User" in received.text for received in server.received)
    waiting = database.outbox.find({"state": "PENDING"}).sort("_id", 1)
    assert [message["error"] for message in waiting] == list(refused.values())
    assert server.conversations == 1


def test_a_line_that_is_a_dot_does_not_end_the_mail(
    mail_app: Flask, database: Database[Document], server: SmtpServer
) -> None:
    (address,) = fill(database, 1)
    with mail_app.app_context():
        use(mail_app, server.port)
        with mail.connect() as connection:
            connection.send(
                Mail(
                    Letter("₹ and more " * 20, ".\n..\nthe end\n", "<p>.\n.</p>\n" + "long " * 300),
                    to=address,
                    identity="dots",
                    date=0,
                )
            )

    (received,) = server.received
    assert received.text.splitlines() == [".", "..", "the end"]
    assert received.html.rstrip().endswith("long")
    assert received.subject == "₹ and more " * 20


def test_workers_stand_in_only_while_no_deliverers_process_is_alive(
    mail_app: Flask, database: Database[Document], server: SmtpServer
) -> None:
    fill(database, 2)
    process = use(mail_app, server.port)
    worker = Deliverer(mail_app, stands_in=True)
    leases.give_sign(delivery.SIGN, timedelta(seconds=20))

    assert worker.turn() == delivery.STAND_IN_PAUSE_S
    assert server.received == []

    database.leases.update_one({"_id": delivery.SIGN}, {"$set": {"until": NOW}})
    assert worker.turn() == delivery.COLLECT_PAUSE_S
    assert len(server.received) == 2
    assert not leases.has_sign(delivery.SIGN), "A worker gives no sign."
    process.turn()
    assert leases.has_sign(delivery.SIGN)
    process.stop()
    process.run()
    assert not leases.has_sign(delivery.SIGN), "Who stops says so."


def test_a_process_that_does_not_reach_the_server_lets_the_workers_try(
    mail_app: Flask, database: Database[Document], server: SmtpServer
) -> None:
    fill(database, 1)
    use(mail_app, free_port())
    process = Deliverer(mail_app)
    process.turn()
    database.leases.update_one({"_id": delivery.SIGN}, {"$set": {"until": NOW}})

    process.turn()

    assert not leases.has_sign(delivery.SIGN)


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


def test_an_address_that_the_server_cannot_write_to_holds_up_nobody(
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
    begun = datetime.now(UTC)
    server.on_recipient = lambda address: reply if address == addresses[3] else None

    assert use(mail_app, server.port).deliver_due() == 9

    (waiting,) = database.outbox.find({"state": "PENDING"})
    assert (waiting["attempts"], waiting["error"]) == (1, reply)
    assert begun < waiting["next_attempt_at"] <= datetime.now(UTC) + timedelta(seconds=10)
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

    for attempt in range(1, desk.ATTEMPTS_MAX + 1):
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

    assert datetime.now(UTC) - begun < GIVEN_UP_WITHIN


def test_a_server_that_hangs_in_mid_message_is_given_up_soon(
    mail_app: Flask, database: Database[Document], server: SmtpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database, 1)
    monkeypatch.setattr(smtp, "MESSAGE_TIMEOUT_S", 0.3)
    let_go = threading.Event()
    server.on_recipient = lambda _: "451 later" if let_go.wait(60) else None
    begun = datetime.now(UTC)

    use(mail_app, server.port).deliver_due()

    assert datetime.now(UTC) - begun < GIVEN_UP_WITHIN
    let_go.set()
    assert database.outbox.count_documents({"state": "PENDING", "attempts": 1}) == 1


def test_a_letter_that_cannot_be_written_holds_up_nobody(
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

    token = reset_token("fr3sh", policy=mail_app.config["AUTH"])
    assert [(token in received.text) for received in server.received] == [False, True]
    assert not any("fr3sh" in received.text for received in server.received)
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
    mail_app: Flask, database: Database[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database, 1)
    port = free_port()
    deliverer = use(mail_app, port)
    told: list[str] = []
    monkeypatch.setattr(delivery.log, "warning", lambda event, **_: told.append(event))
    pauses = [deliverer.turn() for _ in range(9)]
    with smtp_server(port=port) as server:
        pauses.append(deliverer.turn())
        assert len(server.received) == 1

    assert told == ["mail_server_away", "mail_flows_again"]
    assert 10 < max(pauses) <= delivery.AWAY_PAUSE_MAX_S
    assert pauses[-1] == delivery.COLLECT_PAUSE_S
    assert deliverer.turn() == delivery.IDLE_PAUSE_S
