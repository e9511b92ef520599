"""Delivers the messages in the outbox to the SMTP server, each at least once.

Any number of deliverers may run at the same time, on any number of machines, because they
claim messages by leases. Each gunicorn worker runs one in a thread, and `flask mail deliver`
runs another.
"""

import hashlib
import math
import random
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog
from bson import ObjectId
from flask import Flask, current_app
from pymongo.errors import PyMongoError

from app import clock
from app.auth import resets
from app.auth import service as users
from app.auth.service import Recipient
from app.mail import digests, letters
from app.mail.rounds import Round, Rounds
from app.mail.smtp import MESSAGE_TIMEOUT_S, Connection, Mail, MessageFailed, ServerAway, mail
from app.mongo import Document
from app.outbox import repository as outbox
from app.outbox.messages import MessageKind
from app.policies import MailPolicy

log = structlog.get_logger(__name__)

# A round ends after this time, however slow the server is. It bounds how long security mail waits for its turn, and how
# much goes twice if the deliverer dies.
ROUND_S = 0.5
LEASE_S = 40.0
# With less of its lease left than this, a deliverer starts no further message, because another one might start it too.
LEASE_LEFT_MIN_S = MESSAGE_TIMEOUT_S + 10.0
IDLE_PAUSE_S = 1.0
ATTEMPTS_MAX = 12
BACKOFF_BASE_S = 8.0
# After this many failures in a row that may be the server's fault, the server counts as away.
GENERAL_FAILURES_MAX = 3
AWAY_PAUSE_BASE_S = 1.0
AWAY_PAUSE_MAX_S = 60.0
# A turn ends after this time, so that a worker that stops does not wait for the whole outbox.
TURN_S = 2.0
# Settings change only with a restart, so there is no hurry.
PAUSE_WITHOUT_SERVER_S = 3600.0


def backoff_s(attempts: int) -> float:
    """Return how long to wait after this many failed attempts.

    The time doubles from 8 s to over two hours. Up to half of it is subtracted at random, so
    that letters that failed together are not tried again together.
    """
    return _jittered(BACKOFF_BASE_S * 2.0 ** (attempts - 1))


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.5, 1)


class Deliverer:
    """Delivers mail until it is stopped."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._stopping = threading.Event()
        self._rounds = Rounds()
        # How many letters in a row failed for a reason that may be the server's.
        self._failures = 0
        # How often in a row a turn failed, and the event that was last logged about it.
        self._away = 0
        self._told: str | None = None

    def stop(self) -> None:
        """Make `run` and `deliver_due` end after the message that is being sent, if any."""
        self._stopping.set()

    def run(self) -> None:
        """Deliver due messages until stopped. Never raises; an obstacle is logged once."""
        while not self._stopping.is_set():
            self._stopping.wait(self.turn())

    def turn(self) -> float:
        """Deliver due messages for a while, and return after how many seconds to call this again. Never raises."""
        with self._app.app_context():
            if not self._has_server():
                return PAUSE_WITHOUT_SERVER_S
            try:
                sent = self.deliver_due(limit_s=TURN_S)
            except ServerAway as error:
                return self._note_away("mail_server_away", str(error))
            except PyMongoError as error:
                return self._note_away("mail_outbox_away", type(error).__name__)
            except Exception as error:  # noqa: BLE001 -- if a bug ended the thread, mail would silently stop
                return self._note_away("mail_bug", type(error).__name__, exc_info=error)
        self._note_return()
        return 0.0 if sent else IDLE_PAUSE_S

    def deliver_due(self, limit_s: float = math.inf) -> int:
        """Deliver all due messages, or as many as fit into `limit_s`, and return how many the server took.

        Raises ServerAway and PyMongoError. Needs an application context.
        """
        if not outbox.is_due(clock.now()):
            return 0
        settings: MailPolicy = current_app.config["MAIL_SETTINGS"]
        sent = 0
        deadline = time.monotonic() + limit_s
        with mail.connect() as connection:
            while not self._is_over(deadline):
                lease = _Lease()
                turn = self._rounds.claim(
                    lease.id, now=clock.now(), until=lease.until, letters_per_day=settings.letters_per_day
                )
                if not turn.found:
                    break
                sent += self._deliver_round(turn, lease, connection, min(deadline, time.monotonic() + ROUND_S))
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

    def _deliver_round(self, turn: Round, lease: "_Lease", connection: Connection, deadline: float) -> int:
        """Try each letter of the round once, and return how many messages were sent.

        Letters that are not tried, for lack of time or because the server went away, are given back.
        """
        sent: list[ObjectId] = []
        unsent: list[Sequence[Document]] = []
        tried = 0
        try:
            recipients = users.recipients({letter[0]["user"] for letter in turn.letters})
            for letter in turn.letters:
                if not connection.is_open:
                    connection.reopen()
                if self._is_over(deadline) or lease.is_short():
                    break
                tried += 1
                self._rounds.went(letter)
                gone = self._try(letter, recipients.get(letter[0]["user"]), lease, connection)
                sent += gone
                if not gone:
                    unsent.append(letter)
        finally:
            untried = turn.letters[tried:]
            # One write for all of the round. If it is lost, these messages are sent again.
            outbox.mark_sent(sent, lease.id, now=clock.now())
            outbox.release([message["_id"] for letter in untried for message in letter], lease.id)
            turn.uncount([*unsent, *untried])
        return len(sent)

    def _try(
        self, letter: Sequence[Document], recipient: Recipient | None, lease: "_Lease", connection: Connection
    ) -> list[ObjectId]:
        """Return which of the letter's messages were sent; raises ServerAway if too many letters in a row failed."""
        try:
            gone = _deliver(letter, recipient, lease, connection)
        except MessageFailed as error:
            _note_failure(letter, str(error), lease)
            self._failures += error.is_general
            # If the server was away a moment ago, one failure is enough.
            if self._failures >= (1 if self._away else GENERAL_FAILURES_MAX):
                self._failures = 0
                raise ServerAway(str(error)) from error
            return []
        if gone:
            self._failures = 0
            self._note_return()
        return gone


class _Lease:
    """A deliverer's claim on a round's messages, and how long it lasts."""

    def __init__(self) -> None:
        self.id = ObjectId()
        self.until = clock.now() + timedelta(seconds=LEASE_S)

    def is_short(self) -> bool:
        return self.until - clock.now() < timedelta(seconds=LEASE_LEFT_MIN_S)


def _deliver(
    letter: Sequence[Document], recipient: Recipient | None, lease: _Lease, connection: Connection
) -> list[ObjectId]:
    """Send one letter, and return which messages went with it.

    Messages that cannot be sent at all are given up or put off first. Raises MessageFailed if the rest was not sent.
    """
    worn_out = [message for message in letter if message["attempts"] > ATTEMPTS_MAX]
    _bury(worn_out, "Each deliverer that tried it died.", lease)
    letter = [message for message in letter if message not in worn_out]
    if recipient is None:
        _bury(letter, "The user does not exist.", lease)
        return []
    if letter and letter[0]["kind"] == MessageKind.PASSWORD_RESET:
        payload = letter[0]["payload"]
        if "token" not in payload or payload["expires_at"] <= clock.now():
            _bury(letter, "The token has expired.", lease)
            return []
        if not connection.is_private:
            raise MessageFailed("A reset token is sent only over an encrypted connection: set MAIL_USE_TLS.")
    letter = _without_unwritable(letter, lease)
    if not letter:
        return []
    try:
        sendable = _written(letter, recipient)
    except Exception as error:
        # A letter that cannot be written must not hold up the others.
        _tell_unwritable(letter, error)
        raise MessageFailed(f"It could not be written: {type(error).__name__}.") from error
    connection.send(sendable)
    return [message["_id"] for message in letter]


def _without_unwritable(letter: Sequence[Document], lease: _Lease) -> Sequence[Document]:
    """Return the messages that a digest can show, and note each other one as failed.

    A single message makes no digest, so it is returned as it is.
    """
    if len(letter) == 1:
        return letter
    good = []
    for message in letter:
        try:
            digests.row_of(message["kind"], message["payload"])
        except Exception as error:  # noqa: BLE001 -- whatever is wrong, the others go without this message
            _tell_unwritable([message], error)
            _note_failure([message], f"It could not be written: {type(error).__name__}.", lease)
        else:
            good.append(message)
    return good


def _written(messages: Sequence[Document], recipient: Recipient) -> Mail:
    first = messages[0]
    if len(messages) > 1:
        letter = digests.render(messages, reader=recipient.name)
        # The same messages always make the same id.
        together = hashlib.sha256(b"".join(message["_id"].binary for message in messages)).hexdigest()
        identity = f"{first['_id']}.{together[:16]}"
    else:
        payload = first["payload"]
        if first["kind"] == MessageKind.PASSWORD_RESET:
            token = resets.reset_token(payload["token"], policy=current_app.config["AUTH"])
            payload = {**payload, "token": token}
        letter = letters.render(first["kind"], payload, reader=recipient.name)
        identity = str(first["_id"])
    domain = current_app.config["MAIL_DEFAULT_SENDER"].rpartition("@")[2].strip("> ")
    return Mail(
        to=recipient.email,
        # The same at every attempt, so that mail programs can recognise a repeat.
        message_id=f"<{identity}@{domain}>",
        boundary=identity,
        subject=letter.subject,
        body=letter.text,
        html=letter.html,
        date=max(message["payload"]["at"] for message in messages).timestamp(),
    )


def _note_failure(letter: Sequence[Document], reason: str, lease: _Lease) -> None:
    last = [message for message in letter if message["attempts"] >= ATTEMPTS_MAX]
    _bury(last, reason, lease)
    later = [message for message in letter if message["attempts"] < ATTEMPTS_MAX]
    if not later:
        return
    # Messages that failed together are tried again together.
    attempts = max(message["attempts"] for message in later)
    outbox.mark_failed(
        [message["_id"] for message in later],
        lease.id,
        next_attempt_at=clock.now() + timedelta(seconds=backoff_s(attempts)),
        error=reason,
    )
    log.warning("mail_failed", message=str(later[0]["_id"]), messages=len(later), attempts=attempts, reason=reason)


def _bury(letter: Sequence[Document], reason: str, lease: _Lease) -> None:
    outbox.mark_dead([message["_id"] for message in letter], lease.id, error=reason)
    for message in letter:
        log.error("mail_dead", message=str(message["_id"]), kind=message["kind"], reason=reason)


def _tell_unwritable(letter: Sequence[Document], error: Exception) -> None:
    log.error(
        "mail_unwritable",
        message=str(letter[0]["_id"]),
        messages=len(letter),
        kind=letter[0]["kind"],
        exc_info=error,
    )
