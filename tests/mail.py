"""A real SMTP server that can misbehave, and the mails that it received."""

import asyncio
import email
import email.policy
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage, Message
from email.parser import BytesHeaderParser
from functools import cached_property
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from bson import ObjectId
from flask import Flask
from pymongo.database import Database

from app import mongo
from app.mail.delivery import Deliverer
from app.mail.smtp import mail
from app.mongo import Document
from app.outbox import facts, messages
from app.outbox import repository as outbox
from app.outbox.messages import OutboxMessage
from app.settings.policies import MailPolicy
from local.processes import LOOPBACK, free_port, holds_within

ARRIVAL_TIMEOUT_S = 30.0
NOW = datetime(2026, 11, 22, 16, tzinfo=UTC)


@dataclass(frozen=True)
class Received:
    """A mail as it came in."""

    recipient: str
    content: bytes

    @cached_property
    def message(self) -> EmailMessage:
        return email.message_from_bytes(self.content, policy=email.policy.default)

    @property
    def id(self) -> str:
        return str(BytesHeaderParser().parsebytes(self.content)["Message-ID"])

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    @property
    def text(self) -> str:
        return self._part("plain")

    @property
    def html(self) -> str:
        return self._part("html")

    def _part(self, kind: str) -> str:
        # Without parsing the headers as `message` does, which takes far longer: some tests look at thousands of mails.
        (part,) = (each for each in self._outline.walk() if each.get_content_type() == f"text/{kind}")
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        return content.decode(str(part.get_content_charset("utf-8")))

    @cached_property
    def _outline(self) -> Message:
        return email.message_from_bytes(self.content)


TURNS = 20


class _Controller(Controller):
    """Also ends the conversations that are under way when it stops."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._conversations: list[SMTP] = []

    def factory(self) -> SMTP:
        server: SMTP = super().factory()  # type: ignore[no-untyped-call] # the library has no types there
        self._conversations.append(server)
        return server

    def stop(self, no_assert: bool = False) -> None:
        asyncio.run_coroutine_threadsafe(self._end_all(), self.loop).result()
        super().stop(no_assert)

    async def _end_all(self) -> None:
        # Nobody else may come from here on, because nobody would end that conversation.
        if self.server is not None:
            self.server.close()
        # A client that has just connected gets a conversation in one of the loop's next turns.
        for _ in range(TURNS):
            await asyncio.sleep(0)
        for each in self._conversations:
            if isinstance(each.transport, asyncio.Transport):
                each.transport.abort()
        # The loop closes their sockets in its next turns.
        for _ in range(TURNS):
            await asyncio.sleep(0)


class SmtpServer:
    """Takes mail on a port of its own, unless told to do otherwise.

    `on_recipient` and `on_data` may return an SMTP reply of their own, or drop the connection.
    """

    def __init__(self, port: int | None = None, *, smtputf8: bool = True, pipelining: bool = False) -> None:
        self.port = port or free_port()
        self.received: list[Received] = []
        self.conversations = 0
        self.on_recipient: Callable[[str], str | None] = lambda _: None
        self.on_data: Callable[[SMTP, Envelope], str | None] = lambda _server, _envelope: None
        self._smtputf8 = smtputf8
        self._pipelining = pipelining
        self._controller: _Controller | None = None

    def start(self) -> None:
        self._controller = _Controller(self, LOOPBACK, self.port, enable_SMTPUTF8=self._smtputf8)
        self._controller.start()

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def await_mail(self, count: int, timeout_s: float = ARRIVAL_TIMEOUT_S) -> list[Received]:
        """Wait until this many mails have arrived, and return all that have."""
        assert holds_within(timeout_s, lambda: len(self.received) >= count), f"{len(self.received)} of {count} arrived."
        return list(self.received)

    def ids(self) -> Counter[str]:
        return Counter(received.id for received in self.received)

    async def handle_EHLO(  # noqa: N802 -- aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.conversations += 1
        session.host_name = hostname
        # The library takes commands in a pipeline, but does not say so.
        return [*responses[:-1], "250-PIPELINING", responses[-1]] if self._pipelining else responses

    async def handle_RCPT(  # noqa: N802 -- aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: Any
    ) -> str:
        refusal = self.on_recipient(address)
        if refusal is None:
            envelope.rcpt_tos.append(address)
        return refusal or "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 -- as above
        refusal = self.on_data(server, envelope)
        if refusal is not None:
            return refusal
        content = envelope.original_content
        assert content is not None
        self.received += [Received(recipient, content) for recipient in envelope.rcpt_tos]
        return "250 OK"


@contextmanager
def smtp_server(**options: Any) -> Iterator[SmtpServer]:
    server = SmtpServer(**options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def drop(server: SMTP, envelope: Envelope) -> str:
    """Break the connection off when the mail has come in, before saying so."""
    assert isinstance(server.transport, asyncio.Transport)
    server.transport.abort()
    return "250 nobody hears this"


class SilentServer:
    """Takes connections and never says a word."""

    def __init__(self) -> None:
        self._socket = socket.create_server((LOOPBACK, free_port()))
        self.port: int = self._socket.getsockname()[1]

    def close(self) -> None:
        self._socket.close()


def use(app: Flask, port: int) -> Deliverer:
    mail.configure(app, MailPolicy(server=LOOPBACK, port=port, sender="Fincore <bank@fincore.example>"))
    return Deliverer(app)


def fill(database: Database[Document], count: int) -> list[str]:
    """Put a welcome to each of this many users into the outbox, in order, and return their addresses."""
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


def told(database: Database[Document]) -> list[OutboxMessage]:
    """Return all messages that the outbox stands for, in the order in which they were written."""
    documents = list(database.outbox.find().sort("_id", 1))
    by_document = facts.work_out(documents)
    return [message for document in documents for message in by_document[document["_id"]].messages]


def make_due(database: Database[Document]) -> None:
    """Let all waiting times of unsent messages pass, including leases."""
    database.outbox.update_many({"state": "PENDING"}, {"$set": {"next_attempt_at": NOW}})
