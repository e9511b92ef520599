"""Delivers the messages in the outbox to the SMTP server, each at least once.

Any number of deliverers may run at the same time, on any number of machines, because they
claim messages by leases. `flask mail deliver --loop` runs one. Each gunicorn worker has one
in a thread as a stand-in, which delivers only while no such process gives a sign of life. So
mail goes out even if nobody started one.
"""

import contextlib
import hashlib
import math
import threading
import time
from datetime import timedelta
from typing import Any

import structlog
from flask import Flask, current_app
from pymongo.errors import PyMongoError

from app import clock
from app.auth import resets, unsubscribing
from app.auth import service as users
from app.auth.service import Recipient
from app.mail import digests, letters, links
from app.mail.catalogues import Catalogue, catalogue
from app.mail.choices import type_of
from app.mail.desk import ATTEMPTS_MAX, LEASE_S, Desk, jittered, reason_of, tell_unwritable
from app.mail.digests import Occasion
from app.mail.rounds import Parcels, Rounds
from app.mail.smtp import Connection, Mail, MessageFailed, ServerAway, mail
from app.mongo import leases
from app.outbox import repository as outbox
from app.outbox.messages import MessageKind, OutboxMessage
from app.settings.policies import MailPolicy
from app.telemetry import spans

log = structlog.get_logger(__name__)

# A round ends after this time, however slow the server is. This bounds how long security mail waits for its turn, and
# how much mail goes twice if the deliverer dies.
ROUND_S = 0.5
IDLE_PAUSE_S = 1.0
# The pause after a turn that reached all due messages. Messages that come meanwhile cost one round together, and share
# letters if there are many.
COLLECT_PAUSE_S = 2.0
# After this many failures in a row that may be the server's fault, the server counts as away.
GENERAL_FAILURES_MAX = 3
AWAY_PAUSE_BASE_S = 1.0
AWAY_PAUSE_MAX_S = 60.0
# A turn ends after this time, so that a worker that stops does not wait for the whole outbox.
TURN_S = 2.0
# How often the process of a deliverer gives a sign of life, and how long it counts as alive after one.
SIGN_EVERY_S = 5.0
SIGN_LASTS = timedelta(seconds=20)
SIGN = "mail_deliverer"
# How often stand-ins look for such a sign.
STAND_IN_PAUSE_S = 3.0
# Settings only change with a restart, so there is no hurry.
PAUSE_WITHOUT_SERVER_S = 3600.0


class Deliverer:
    """Delivers mail until it is stopped. A stand-in delivers only while no process of a deliverer is alive."""

    def __init__(self, app: Flask, *, stands_in: bool = False) -> None:
        self._app = app
        self._stands_in = stands_in
        self._sign_at = -math.inf
        self._has_more = False
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
        with self._app.app_context(), contextlib.suppress(PyMongoError):
            leases.give_sign(SIGN, timedelta())

    def turn(self) -> float:
        """Deliver due messages for a while, and return after how many seconds to call this again. Never raises."""
        with self._app.app_context():
            if not self._has_server():
                return PAUSE_WITHOUT_SERVER_S
            try:
                if self._stands_in and leases.has_sign(SIGN):
                    return STAND_IN_PAUSE_S
                self._give_sign()
                sent = self.deliver_due(limit_s=TURN_S, is_turn=True)
            except ServerAway as error:
                return self._note_away("mail_server_away", str(error))
            except PyMongoError as error:
                return self._note_away("mail_outbox_away", type(error).__name__)
            except Exception as error:  # noqa: BLE001 -- if a bug ended the thread, mail would silently stop
                return self._note_away("mail_bug", type(error).__name__, exc_info=error)
        self._note_return()
        if self._has_more:
            return 0.0
        return COLLECT_PAUSE_S if sent else IDLE_PAUSE_S

    def deliver_due(self, limit_s: float = math.inf, *, is_turn: bool = False) -> int:
        """Deliver all due messages, or as many as fit into `limit_s`, and return how many the server took.

        A turn (`is_turn`) ends once a round has reached all that was due, even if more became due meanwhile. Raises
        ServerAway and PyMongoError. Needs an application context.
        """
        self._has_more = False
        if not outbox.is_due(clock.now()):
            return 0
        sent = 0
        deadline = time.monotonic() + limit_s
        with mail.connect() as connection:
            self._has_more = True
            while self._has_more and not self._is_over(deadline):
                desk = Desk(until=clock.now() + timedelta(seconds=LEASE_S))
                try:
                    while self._has_more and not self._is_over(deadline) and not desk.is_short():
                        gone, found, is_full = self._deliver_round(desk, connection, deadline)
                        sent += gone
                        self._has_more = is_full if is_turn else found
                finally:
                    desk.give_back()
        return sent

    def _give_sign(self) -> None:
        # No sign of life while the mail server is away, because other deliverers may reach it.
        if not self._stands_in and not self._away and time.monotonic() - self._sign_at > SIGN_EVERY_S:
            leases.give_sign(SIGN, SIGN_LASTS)
            self._sign_at = time.monotonic()

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
        return jittered(min(AWAY_PAUSE_MAX_S, AWAY_PAUSE_BASE_S * 2.0 ** min(self._away - 1, 16)))

    def _deliver_round(self, desk: Desk, connection: Connection, deadline: float) -> tuple[int, bool, bool]:
        """Try each letter of a round once.

        Return how many messages were sent, whether there was anything to do, and whether there is probably more.

        Letters that are not tried, because the time is over or the server went away, are given back or stay on the
        desk.
        """
        settings: MailPolicy = current_app.config["MAIL_SETTINGS"]
        turn = self._rounds.claim(
            desk,
            now=clock.now(),
            letters_per_day=settings.letters_per_day,
            letters_per_minute=settings.letters_per_minute,
        )
        deadline = min(deadline, time.monotonic() + ROUND_S)
        sent = tried = 0
        unsent: list[Parcels] = []
        try:
            recipients = users.recipients({letter[0].reader for letter in turn.letters})
            for letter in turn.letters:
                if not connection.is_open:
                    connection.reopen()
                # One letter is tried however long the claim took. Otherwise a claim that takes longer than a turn
                # would be repeated for ever, and nothing would go.
                if self._stopping.is_set() or desk.is_short() or (tried and self._is_over(deadline)):
                    break
                tried += 1
                self._rounds.went(letter)
                gone = self._try(letter, recipients.get(letter[0].reader), desk, connection)
                sent += gone
                if not gone:
                    unsent.append(letter)
        finally:
            untried = turn.letters[tried:]
            # One write for all of the round. If it is lost, these messages are sent again.
            desk.note(clock.now())
            desk.release(untried)
            turn.uncount([*unsent, *untried])
            self._rounds.ended(tried)
        return sent, turn.found, turn.is_full or bool(untried)

    def _try(self, letter: Parcels, recipient: Recipient | None, desk: Desk, connection: Connection) -> int:
        """Return how many messages were sent; raises ServerAway if too many letters in a row failed."""
        letter = _sendable(letter, recipient, desk)
        if not letter or recipient is None:
            return 0
        try:
            with spans.span("letter") as span:
                if span is not None:
                    span.set_attribute("fincore.messages", sum(len(parcel.messages) for parcel in letter))
                _send(letter, recipient, connection)
        except MessageFailed as error:
            desk.failed(letter, str(error))
            self._failures += error.is_general
            # If the server was away a moment ago, one failure is enough.
            if self._failures >= (1 if self._away else GENERAL_FAILURES_MAX):
                self._failures = 0
                raise ServerAway(str(error)) from error
            return 0
        desk.sent(letter)
        self._failures = 0
        self._note_return()
        return sum(len(parcel.messages) for parcel in letter)


def _sendable(letter: Parcels, recipient: Recipient | None, desk: Desk) -> Parcels:
    """Return the letter without messages that cannot be sent at all. Those are given up or put off."""
    worn_out = [parcel for parcel in letter if not parcel.is_of_block and parcel.attempts > ATTEMPTS_MAX]
    if worn_out:
        desk.buried(worn_out, "Each deliverer that tried it died.")
        letter = [parcel for parcel in letter if parcel not in worn_out]
    if not letter:
        return []
    if recipient is None:
        desk.buried(letter, "The user does not exist.")
        return []
    first = letter[0].messages[0]
    if first.kind == MessageKind.PASSWORD_RESET and (
        "token" not in first.payload or first.payload["expires_at"] <= clock.now()
    ):
        desk.buried(letter, "The token has expired.")
        return []
    if sum(len(parcel.messages) for parcel in letter) == 1:
        return letter
    texts = catalogue(recipient.preferences.language)
    for parcel in letter:
        bad = [(message, error) for message in parcel.messages if (error := _row_error(message, texts)) is not None]
        if bad:
            desk.split_off(parcel, bad)
    return [parcel for parcel in letter if parcel.messages]


def _row_error(message: OutboxMessage, texts: Catalogue) -> Exception | None:
    """Return why a digest cannot show the message, or None if it can."""
    try:
        digests.row_of(message.kind, message.payload, texts)
    except Exception as error:  # noqa: BLE001 -- whatever is wrong, the others go without this message
        return error
    return None


def _send(letter: Parcels, recipient: Recipient, connection: Connection) -> None:
    """Send one letter; raises MessageFailed."""
    first = letter[0].messages[0]
    if first.kind == MessageKind.PASSWORD_RESET and not connection.is_private:
        raise MessageFailed("A reset token is sent only over an encrypted connection: set MAIL_USE_TLS.")
    try:
        mail_to_send = _written(letter, recipient)
    except Exception as error:
        # A letter that cannot be written must not hold up the others.
        tell_unwritable(letter[0].document["_id"], error, kind=first.kind)
        raise MessageFailed(reason_of(error)) from error
    connection.send(mail_to_send)


def _written(parcels: Parcels, recipient: Recipient) -> Mail:
    told = [message for parcel in parcels for message in parcel.messages]
    identities = [identity for parcel in parcels for identity in parcel.identities()]
    (identity, *_) = identities
    kinds = [type_of(message) for message in told]
    token = unsubscribing.token_for(parcels[0].reader, kinds, current_app.config["AUTH"].secrets)
    public_url = current_app.config["PUBLIC_URL"]
    off_url = links.turning_off(token, public_url=public_url)
    for_reader: dict[str, Any] = {
        "reader": recipient.name,
        "language": recipient.preferences.language,
        "public_url": public_url,
        "off_url": off_url,
    }
    if len(told) > 1:
        letter = digests.render(told, occasion=_occasion_of(parcels), **for_reader)
        # The same messages always have the same id, in whatever order their documents were found.
        identities.sort()
        identity = f"{identities[0]}.{hashlib.sha256(''.join(identities).encode()).hexdigest()[:16]}"
    else:
        payload = told[0].payload
        if told[0].kind == MessageKind.PASSWORD_RESET:
            payload = {**payload, "token": resets.reset_token(payload["token"], policy=current_app.config["AUTH"])}
        letter = letters.render(told[0].kind, payload, **for_reader)
    moments = [message.payload["at"] for message in told]
    # A digest has the time at which it is due. With the time of its last movement, it would be sorted among older mail.
    moments += [at for parcel in parcels if (at := parcel.digest_at) is not None and at <= clock.now()]
    # The identity is the same at every attempt, so that mail programs can recognise a repeat.
    return Mail(letter, to=recipient.email, identity=identity, date=max(moments).timestamp(), off_url=off_url)


def _occasion_of(parcels: Parcels) -> Occasion:
    if any(parcel.is_kept for parcel in parcels):
        return Occasion.CHOSEN
    return Occasion.DEFERRED if any(parcel.document.get("deferred") for parcel in parcels) else Occasion.TOGETHER
