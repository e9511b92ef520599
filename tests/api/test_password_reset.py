"""A forgotten password: a mail with a token that works once, for half an hour, and ends every session."""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from flask import Flask
from pymongo.database import Database

from app.mail.delivery import Deliverer
from app.mail.smtp import mail
from app.mongo import Document
from app.settings.policies import MailPolicy
from config import Config
from local.processes import LOOPBACK
from tests.clients import Answer
from tests.mail import Received, smtp_server
from tests.people import PASSWORD, Bank, Caller

NEW_PASSWORD = "another long enough one"
# Delivers what the outbox holds and returns all mail to this address since the test began.
Mailbox = Callable[[str], list[Received]]


@pytest.fixture
def mailbox(app: Flask, config: Config, database: Database[Document]) -> Iterator[Mailbox]:
    with smtp_server() as server, app.app_context():
        mail.configure(app, MailPolicy(server=LOOPBACK, port=server.port))

        def open_mailbox(address: str) -> list[Received]:
            Deliverer(app).deliver_due()
            return [received for received in server.received if received.recipient == address]

        yield open_mailbox
        mail.configure(app, config.mail)


def forgot(bank: Bank, email: str) -> Answer:
    return bank.anonymous.post("/api/auth/password/forgot", {"email": email})


def reset(bank: Bank, token: str, password: str = NEW_PASSWORD) -> Answer:
    return bank.anonymous.post("/api/auth/password/reset", {"token": token, "newPassword": password})


def token_in(letter: Received) -> str:
    lines = [line.split() for line in letter.text.splitlines()]
    return next(words[-1] for words in lines if words and len(words[-1]) == 43)


def request_token(bank: Bank, mailbox: Mailbox, email: str) -> str:
    assert forgot(bank, email).status == 202
    return token_in(mailbox(email)[-1])


def test_the_mailed_token_sets_a_new_password_and_ends_every_session(bank: Bank, mailbox: Mailbox) -> None:
    person = bank.register()
    email = person.user["email"]
    assert reset(bank, request_token(bank, mailbox, email)).status == 200
    assert person.get("/api/auth/me").code == "token_revoked"
    assert Caller(bank.client, person.refresh_token).post("/api/auth/refresh").code == "token_revoked"
    login = bank.anonymous.post("/api/auth/login", {"email": email, "password": PASSWORD})
    assert login.code == "invalid_credentials"
    assert bank.log_in(email, NEW_PASSWORD).get("/api/auth/me").status == 200
    assert [letter.subject for letter in mailbox(email)][-1] == "Your password was changed"


def test_a_change_of_the_password_is_told_by_mail(bank: Bank, mailbox: Mailbox) -> None:
    person = bank.register()
    change = {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}
    assert person.call("PUT", "/api/auth/password", change).status == 200
    assert mailbox(person.user["email"])[-1].subject == "Your password was changed"


def test_a_token_works_once(bank: Bank, mailbox: Mailbox) -> None:
    token = request_token(bank, mailbox, bank.register().user["email"])
    assert reset(bank, token).status == 200
    assert reset(bank, token, PASSWORD).code == "reset_token_invalid"


def test_of_many_resets_at_the_same_moment_one_succeeds(bank: Bank, mailbox: Mailbox) -> None:
    email = bank.register().user["email"]
    token = request_token(bank, mailbox, email)
    choices = [f"{NEW_PASSWORD} {number}" for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda password: reset(bank, token, password), choices))
    assert sorted(answer.status for answer in answers) == [200] + [422] * 5
    winner = next(choice for choice, answer in zip(choices, answers, strict=True) if answer.status == 200)
    assert bank.log_in(email, winner)


def test_no_second_mail_goes_out_while_a_token_is_young(
    bank: Bank, mailbox: Mailbox, database: Database[Document]
) -> None:
    email = bank.register().user["email"]
    first = request_token(bank, mailbox, email)
    assert (forgot(bank, email).status, len(mailbox(email))) == (202, 2), "The welcome and one token."
    age_tokens(database, timedelta(minutes=11))
    second = request_token(bank, mailbox, email)
    assert second != first
    assert reset(bank, first).status == 200, "Nobody voids a token by asking for another."
    assert reset(bank, second).code == "reset_token_invalid", "A reset voids them all."


def test_requests_for_a_token_at_the_same_moment_send_one_mail(live_bank: Bank, database: Database[Document]) -> None:
    email = live_bank.register().user["email"]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: forgot(live_bank, email), range(6)))
    assert {answer.status for answer in answers} == {202}
    assert database.outbox.count_documents({"kind": "password_reset"}) == 1


@pytest.mark.parametrize(
    ("age", "code"), [(timedelta(minutes=30), None), (timedelta(minutes=31), "reset_token_invalid")]
)
def test_a_token_is_void_after_half_an_hour_and_what_clocks_may_differ(
    bank: Bank, mailbox: Mailbox, database: Database[Document], age: timedelta, code: str | None
) -> None:
    token = request_token(bank, mailbox, bank.register().user["email"])
    age_tokens(database, age)
    assert reset(bank, f" {token}\r\n").code == code


def age_tokens(database: Database[Document], age: timedelta) -> None:
    """Let every reset token be so much older."""
    milliseconds = age // timedelta(milliseconds=1)
    database.password_resets.update_many({}, [{"$set": {"expires_at": {"$subtract": ["$expires_at", milliseconds]}}}])


def test_a_change_of_the_password_voids_the_token(bank: Bank, mailbox: Mailbox) -> None:
    person = bank.register()
    token = request_token(bank, mailbox, person.user["email"])
    person.call("PUT", "/api/auth/password", {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD})
    assert reset(bank, token).code == "reset_token_invalid"


def test_a_refused_password_does_not_spend_the_token(bank: Bank, mailbox: Mailbox) -> None:
    token = request_token(bank, mailbox, bank.register().user["email"])
    assert reset(bank, token, "password123").code == "validation_failed"
    assert reset(bank, token).status == 200


def test_the_database_never_has_the_token(bank: Bank, mailbox: Mailbox, database: Database[Document]) -> None:
    email = bank.register().user["email"]
    forgot(bank, email)
    before = _everything(database)
    token = token_in(mailbox(email)[-1])
    assert token not in before
    assert token not in _everything(database)
    assert hashlib.sha256(token.encode()).hexdigest() in before


def test_nobody_is_told_whether_an_address_is_registered(
    bank: Bank, mailbox: Mailbox, database: Database[Document]
) -> None:
    known, unknown = forgot(bank, bank.register().user["email"]), forgot(bank, "nobody@fincore.example")
    assert (known.status, known.body) == (unknown.status, unknown.body) == (202, known.body)
    assert mailbox("nobody@fincore.example") == []
    assert {row["user"] for row in database.password_resets.find({"user": None})} == {None}


@pytest.mark.parametrize("token", ["", "x", "x" * 43, "ü" * 1_000, "\0"])
def test_a_made_up_token_is_refused(bank: Bank, token: str) -> None:
    assert reset(bank, token).code == "reset_token_invalid"


def test_a_reset_opens_the_way_back_in_for_an_owner_whom_guesses_keep_out(
    bank: Bank, mailbox: Mailbox, database: Database[Document]
) -> None:
    email = bank.register().user["email"]
    for _ in range(8):
        bank.anonymous.post("/api/auth/login", {"email": email, "password": "not the password"})
    assert database.login_failures.count_documents({"_id": {"$regex": "^account:"}}) == 1
    reset(bank, request_token(bank, mailbox, email))
    assert database.login_failures.count_documents({"_id": {"$regex": "^account:"}}) == 0


def _everything(database: Database[Document]) -> str:
    return "\n".join(str(list(database[name].find({}))) for name in database.list_collection_names())
