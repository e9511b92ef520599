"""Delivery: what the outbox holds goes to the SMTP server, at least once each.

Any number of deliverers may run at the same time, on any number of machines:
they claim messages by leases. One runs in a thread of each gunicorn worker, and
`flask mail deliver` is another.
"""

import math
import random
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from bson import ObjectId
from flask import Flask, current_app
from pymongo.errors import PyMongoError

from app.auth import resets
from app.auth import service as users
from app.auth.service import Recipient
from app.clock import whole_milliseconds
from app.mail import letters
from app.mail.smtp import MESSAGE_TIMEOUT_S, Connection, Mail, MessageFailed, ServerAway, mail
from app.mongo import Document
from app.outbox import repository as outbox
from app.outbox.messages import MessageKind
from app.policies import MailPolicy

log = structlog.get_logger(__name__)

BATCH_SIZE_MAX = 50
LEASE_S = 40.0
# With less of its lease left than this, a deliverer does not begin with a message that another might begin with too.
LEASE_LEFT_MIN_S = MESSAGE_TIMEOUT_S + 10.0
IDLE_PAUSE_S = 1.0
ATTEMPTS_MAX = 12
BACKOFF_BASE_S = 8.0
# So many failures in a row that may not be the messages' own are taken for the server's.
GENERAL_FAILURES_MAX = 3
AWAY_PAUSE_BASE_S = 1.0
AWAY_PAUSE_MAX_S = 60.0
# After so long a turn ends, so that a worker that is to end need not wait for the whole outbox.
TURN_S = 2.0
# Settings change with a new start only.
PAUSE_WITHOUT_SERVER_S = 3600.0


def backoff_s(attempts: int) -> float:
    """Return how long to wait after so many failed attempts: doubling from 8 s to over two hours, less up to a half of
    it by chance, so that what failed together is not tried again together."""
    return _jittered(BACKOFF_BASE_S * 2.0 ** (attempts - 1))


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.5, 1)


class Deliverer:
    """Delivers until it is stopped."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._stopping = threading.Event()
        # How often in a row the server, or the database, was away, and what the log says of it.
        self._away = 0
        self._told: str | None = None

    def stop(self) -> None:
        """Have `run` and `deliver_due` end soon: after the message that is on its way, if any."""
        self._stopping.set()

    def run(self) -> None:
        """Deliver what is due, and what becomes due, until stopped. Never raises; tells once what is in the way."""
        while not self._stopping.is_set():
            self._stopping.wait(self.turn())

    def turn(self) -> float:
        """Deliver what is due, for a while, and return in how many seconds to call this again. Never raises."""
        with self._app.app_context():
            if not self._has_server():
                return PAUSE_WITHOUT_SERVER_S
            try:
                sent = self.deliver_due(limit_s=TURN_S)
            except ServerAway as error:
                return self._note_away("mail_server_away", str(error))
            except PyMongoError as error:
                return self._note_away("mail_outbox_away", type(error).__name__)
            except Exception as error:  # noqa: BLE001 -- a thread that died of a bug would lose mail in silence
                return self._note_away("mail_bug", type(error).__name__, exc_info=error)
        self._note_return()
        return 0.0 if sent else IDLE_PAUSE_S

    def deliver_due(self, limit_s: float = math.inf) -> int:
        """Deliver all that is due, or as much as fits into `limit_s`, and return how many messages the server took.

        Raises ServerAway and PyMongoError. Needs an application context.
        """
        if not outbox.is_due(_now()):
            return 0
        sent = 0
        deadline = time.monotonic() + limit_s
        with mail.connect() as connection:
            while not self._is_over(deadline):
                lease = _Lease()
                batch = lease.claim()
                if not batch:
                    break
                sent += self._deliver_batch(batch, lease, connection, deadline)
        return sent

    def _is_over(self, deadline: float) -> bool:
        return self._stopping.is_set() or time.monotonic() >= deadline

    def _has_server(self) -> bool:
        settings: MailPolicy = current_app.config["MAIL_SETTINGS"]
        if settings.problem is not None:
            log.error("mail_settings_wrong", problem=settings.problem)
        elif settings.server is None:
            log.warning("mail_waits", reason="MAIL_SERVER is not set: mail stays in the outbox.")
        return settings.problem is None and settings.server is not None

    def _note_return(self) -> None:
        if self._away:
            log.warning("mail_flows_again", failures=self._away)
            self._away, self._told = 0, None

    def _note_away(self, event: str, reason: str, **more: Any) -> float:
        self._away += 1
        if event != self._told:
            log.warning(event, reason=reason, **more)
            self._told = event
        return _jittered(min(AWAY_PAUSE_MAX_S, AWAY_PAUSE_BASE_S * 2.0 ** min(self._away - 1, 16)))

    def _deliver_batch(
        self, batch: Sequence[Document], lease: "_Lease", connection: Connection, deadline: float
    ) -> int:
        """Try each message of the batch once; what is not tried is given back, also when the server goes away."""
        untried = {message["_id"] for message in batch}
        sent = failures = 0
        try:
            recipients = users.recipients({message["user"] for message in batch})
            for message in batch:
                if not connection.is_open:
                    connection.reopen()
                if self._is_over(deadline) or lease.is_short():
                    break
                untried.remove(message["_id"])
                try:
                    if _deliver(message, recipients.get(message["user"]), lease, connection):
                        sent += 1
                        failures = 0
                        self._note_return()
                except MessageFailed as error:
                    _note_failure(message, str(error), lease)
                    failures += error.is_general
                    # A server that was away a moment ago is doubted at once.
                    if failures >= (1 if self._away else GENERAL_FAILURES_MAX):
                        raise ServerAway(str(error)) from error
        finally:
            if untried:
                outbox.release(untried, lease.id, now=_now())
        return sent


class _Lease:
    """A deliverer's claim on a batch of messages, and how long it lasts."""

    def __init__(self) -> None:
        self.id = ObjectId()
        self._until = _now() + timedelta(seconds=LEASE_S)

    def claim(self) -> list[Document]:
        return outbox.claim(self.id, now=_now(), until=self._until, size_max=BATCH_SIZE_MAX)

    def is_short(self) -> bool:
        return self._until - _now() < timedelta(seconds=LEASE_LEFT_MIN_S)


def _deliver(message: Document, recipient: Recipient | None, lease: _Lease, connection: Connection) -> bool:
    """Send one message and note it; returns whether it was sent. Raises MessageFailed."""
    payload = message["payload"]
    if recipient is None:
        _bury(message, "The user does not exist.", lease)
        return False
    if message["kind"] == MessageKind.PASSWORD_RESET and ("token" not in payload or payload["expires_at"] <= _now()):
        _bury(message, "The token has expired.", lease)
        return False
    try:
        sendable = _rendered(message, recipient)
    except Exception as error:
        # One letter that can not be written must not keep the others.
        log.error("mail_unwritable", message=str(message["_id"]), kind=message["kind"], exc_info=error)
        raise MessageFailed(f"It could not be written: {type(error).__name__}.") from error
    connection.send(sendable)
    outbox.mark_sent(message["_id"], lease.id, now=_now())
    return True


def _rendered(message: Document, recipient: Recipient) -> Mail:
    payload = message["payload"]
    if message["kind"] == MessageKind.PASSWORD_RESET:
        token = resets.reset_token(payload["token"], policy=current_app.config["AUTH"])
        payload = {**payload, "token": token}
    letter = letters.render(message["kind"], payload, reader=recipient.name)
    domain = current_app.config["MAIL_DEFAULT_SENDER"].rpartition("@")[2].strip("> ")
    return Mail(
        to=recipient.email,
        # The same at every attempt, so that a repeat can be told from news.
        message_id=f"<{message['_id']}@{domain}>",
        subject=letter.subject,
        body=letter.text,
        html=letter.html,
        date=message["payload"]["at"].timestamp(),
    )


def _note_failure(message: Document, reason: str, lease: _Lease) -> None:
    attempts = message["attempts"] + 1
    if attempts >= ATTEMPTS_MAX:
        _bury(message, reason, lease)
        return
    next_attempt_at = _now() + timedelta(seconds=backoff_s(attempts))
    outbox.mark_failed(message["_id"], lease.id, next_attempt_at=next_attempt_at, error=reason)


def _bury(message: Document, reason: str, lease: _Lease) -> None:
    outbox.mark_dead(message["_id"], lease.id, error=reason)
    log.error("mail_dead", message=str(message["_id"]), kind=message["kind"])


def _now() -> datetime:
    return whole_milliseconds(datetime.now(UTC))
