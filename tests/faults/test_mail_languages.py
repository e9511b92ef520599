"""Every letter, in its reader's language, as it comes out of a real SMTP conversation."""

import html
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import Int64, ObjectId
from flask import Flask
from pymongo.database import Database

from app import mongo
from app.auth import resets
from app.auth.languages import Language
from app.mail import letters
from app.mail.smtp import mail
from app.mongo import Document
from app.outbox import repository as outbox
from app.outbox.messages import OutboxMessage
from app.settings.policies import MailPolicy
from local.processes import LOOPBACK
from tests.letters import ACCOUNT, AT, FORMS
from tests.mail import SmtpServer, fill, use

NAME = "अशोक Rao"


def reader(database: Database[Document], language: str | None) -> ObjectId:
    """Make a user who chose this language, or none, with nothing to be told yet."""
    fill(database, 1)
    database.outbox.delete_many({})
    chosen = {} if language is None else {"language": language}
    user = database.users.find_one_and_update({"name": "User 0"}, {"$set": {"name": NAME, **chosen}})
    assert user is not None
    return ObjectId(user["_id"])


def tell(told: Sequence[OutboxMessage]) -> None:
    mongo.atomically(lambda session: outbox.insert(told, session))


def as_stored(payload: dict[str, Any]) -> dict[str, Any]:
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=30)
    stored = {name: Int64(value) if type(value) is int else value for name, value in payload.items()}
    return {**stored, "expires_at": soon} if "token" in stored else stored


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


@pytest.mark.parametrize("language", Language)
def test_every_letter_arrives_as_it_was_written(
    mail_app: Flask, database: Database[Document], server: SmtpServer, language: Language
) -> None:
    user = reader(database, language)
    told = [OutboxMessage(kind, user, as_stored(payload)) for kind, payload in FORMS]
    tell(told)
    deliverer = use(mail_app, server.port)
    mail.configure(mail_app, MailPolicy(server=LOOPBACK, port=server.port, letters_per_day=0))

    assert deliverer.deliver_due() == len(told)

    received = {each.id.partition("@")[0].lstrip("<"): each for each in server.received}
    for message, document in zip(told, database.outbox.find().sort("_id", 1), strict=True):
        arrived, payload = received[str(document["_id"])], message.payload
        if "token" in payload:
            payload = {**payload, "token": resets.reset_token(payload["token"], policy=mail_app.config["AUTH"])}
        letter = letters.render(message.kind, payload, reader=NAME, language=language)
        assert arrived.subject == letter.subject
        assert lines(arrived.text) == lines(letter.text)
        assert lines(html.unescape(arrived.html)) == lines(html.unescape(letter.html))
        assert arrived.content.isascii(), "Each server takes it."
        assert max(map(len, arrived.content.split(b"\r\n"))) <= 998


@pytest.mark.parametrize(
    ("language", "subject"),
    [
        (None, "2 events on your accounts"),
        (Language.ENGLISH, "2 events on your accounts"),
        (Language.HINDI, "आपके खातों में 2 गतिविधियाँ"),
    ],
)
def test_a_digest_is_in_its_readers_language(
    mail_app: Flask, database: Database[Document], server: SmtpServer, language: Language | None, subject: str
) -> None:
    user = reader(database, language)
    tell([OutboxMessage("account_opened", user, {**ACCOUNT, "account": ObjectId()}) for _ in range(2)])

    use(mail_app, server.port).deliver_due()

    assert [received.subject for received in server.received] == [subject]
    assert NAME in server.received[0].text


def test_a_letter_is_in_the_language_that_its_reader_wants_when_it_is_sent(
    mail_app: Flask, database: Database[Document], server: SmtpServer
) -> None:
    user = reader(database, Language.ENGLISH)
    tell([OutboxMessage("welcome", user, {"at": AT})])
    database.users.update_one({"_id": user}, {"$set": {"language": Language.HINDI.value}})

    use(mail_app, server.port).deliver_due()

    assert [received.subject for received in server.received] == ["Fincore में आपका स्वागत है"]
