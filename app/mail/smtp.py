"""Flask-Mail, made fit for a bank: every wait ends, TLS proves who the server is, and a lost server says so.

Out of the box it waits for ever for a silent server, and encrypts towards anybody.
"""

import smtplib
import ssl
import time
from email.charset import QP, Charset
from email.mime.base import MIMEBase
from email.mime.text import MIMEText
from email.policy import SMTPUTF8
from email.utils import parseaddr
from typing import Any

import flask_mail
from flask import Flask, current_app

from app.policies import MailPolicy

CONNECT_TIMEOUT_S = 10.0
# For the whole conversation about one message. A deliverer's lease is longer.
MESSAGE_TIMEOUT_S = 15.0
STARVED_TIMEOUT_S = 0.05

_SHORT_LINES = Charset("utf-8")
_SHORT_LINES.body_encoding = QP


class ServerAway(Exception):
    """The SMTP server can not be reached, breaks off, or wants no mail from us at all; the text says how."""


class MessageFailed(Exception):
    """The server did not take this message; the text says why.

    `is_general` tells that the next message may well fare the same: the connection
    broke, or it was the sender that the server refused.
    """

    def __init__(self, reason: str, *, is_general: bool = False) -> None:
        super().__init__(reason)
        self.is_general = is_general


class Connection(flask_mail.Connection):
    """A conversation with the configured server. Opening it raises ServerAway."""

    mail: Any
    host: smtplib.SMTP | None

    @property
    def is_open(self) -> bool:
        return self.host is not None and self.host.sock is not None

    def configure_host(self) -> smtplib.SMTP:
        try:
            return self._open()
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise ServerAway(_told(error)) from error

    def reopen(self) -> None:
        """Connect anew; raises ServerAway."""
        self.close()
        self.host = self.configure_host()

    def check(self) -> None:
        """Ask whether the server would take mail from our sender; raises ServerAway if not."""
        try:
            host = self._ready_host()
            code, reply = host.mail(parseaddr(self.mail.default_sender)[1])
            host.rset()
        except (OSError, smtplib.SMTPException) as error:
            raise ServerAway(_told(error)) from error
        if code != 250:
            raise ServerAway(f"{code} {_text(reply)}")

    def send(self, message: flask_mail.Message, envelope_from: Any = None) -> None:
        """Hand a `Mail` over; raises MessageFailed, after which `is_open` tells whether there is still a connection."""
        assert isinstance(message, Mail)
        host = self._ready_host()
        try:
            sender = parseaddr(str(envelope_from or message.sender))[1]
            host.sendmail(sender, message.to_address, message.as_bytes(), message.extensions(host))
        except (OSError, smtplib.SMTPException, ValueError) as error:
            self._begin_anew()
            is_general = not self.is_open or isinstance(error, smtplib.SMTPSenderRefused)
            raise MessageFailed(_told(error), is_general=is_general) from error
        flask_mail.email_dispatched.send(current_app._get_current_object(), message=message)  # type: ignore[attr-defined]

    def close(self) -> None:
        """Hang up without a word."""
        if self.host is not None:
            self.host.close()

    def __exit__(self, *_: object) -> None:
        if self.is_open:
            try:
                self._ready_host().quit()
            except (OSError, smtplib.SMTPException):
                self.close()

    def _begin_anew(self) -> None:
        # Where the server stands after a refusal depends on the command it refused.
        if self.is_open:
            try:
                self._ready_host().rset()
            except (OSError, smtplib.SMTPException):
                self.close()

    def _ready_host(self) -> "_BoundedSmtp":
        assert isinstance(self.host, _BoundedSmtp)
        self.host.allow(MESSAGE_TIMEOUT_S)
        return self.host

    def _open(self) -> smtplib.SMTP:
        tls = ssl.create_default_context() if self.mail.use_ssl or self.mail.use_tls else None
        server, port = self.mail.server, self.mail.port
        host: _BoundedSmtp
        if self.mail.use_ssl:
            host = _BoundedSmtpOverTls(server, port, timeout=CONNECT_TIMEOUT_S, context=tls)
        else:
            host = _BoundedSmtp(server, port, timeout=CONNECT_TIMEOUT_S)
        try:
            host.allow(MESSAGE_TIMEOUT_S)
            if self.mail.use_tls:
                host.starttls(context=tls)
            host.ehlo_or_helo_if_needed()
            if self.mail.username and self.mail.password:
                host.login(self.mail.username, self.mail.password)
        except BaseException:
            host.close()
            raise
        return host


class Mailer(flask_mail.Mail):
    """The extension."""

    def configure(self, app: Flask, mail: MailPolicy) -> None:
        """Bind the extension with these settings."""
        app.config.update(
            MAIL_SETTINGS=mail,
            MAIL_SERVER=mail.server,
            MAIL_PORT=mail.port,
            MAIL_USE_TLS=mail.use_tls,
            MAIL_USE_SSL=mail.use_ssl,
            MAIL_USERNAME=mail.user,
            MAIL_PASSWORD=mail.password,
            MAIL_DEFAULT_SENDER=mail.sender,
            MAIL_SUPPRESS_SEND=False,
        )
        self.init_app(app)

    def connect(self) -> Connection:
        return Connection(current_app.extensions["mail"])


class Mail(flask_mail.Message):
    """A mail to one recipient, whose address may be in any script."""

    def __init__(self, *, to: str, message_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.to_address = _with_ascii_domain(to)
        self.msgId = message_id

    def extensions(self, host: smtplib.SMTP) -> list[str]:
        """Return what the address asks of the server beyond the ordinary; raises MessageFailed if it lacks that."""
        if self.to_address.isascii():
            return []
        if not host.has_extn("smtputf8"):
            raise MessageFailed("The server takes no mail for an address in this script (SMTPUTF8).")
        return ["SMTPUTF8", "BODY=8BITMIME"]

    def _mimetext(self, text: str | None, subtype: str = "plain") -> MIMEText:
        # As it stands, a long line of markup would be refused: SMTP ends at 998 bytes.
        return MIMEText(text or "", subtype, _SHORT_LINES)  # type: ignore[arg-type]

    def _message(self) -> MIMEBase:
        # Flask-Mail would fail on an address in another script than ASCII.
        message: MIMEBase = super()._message()
        if not self.to_address.isascii():
            message.policy = SMTPUTF8
        del message["To"]
        message["To"] = self.to_address
        message["Auto-Submitted"] = "auto-generated"
        return message


class _BoundedSmtp(smtplib.SMTP):
    """smtplib, with one deadline over all that is said, instead of one for each line."""

    _deadline = 0.0

    def allow(self, seconds: float) -> None:
        """Give what is said from now on this long in all."""
        self._deadline = time.monotonic() + seconds

    def send(self, s: Any) -> None:
        self._limit()
        super().send(s)

    def getreply(self) -> tuple[int, bytes]:
        self._limit()
        return super().getreply()

    def _limit(self) -> None:
        if self._deadline and self.sock is not None:
            self.sock.settimeout(max(self._deadline - time.monotonic(), STARVED_TIMEOUT_S))


class _BoundedSmtpOverTls(_BoundedSmtp, smtplib.SMTP_SSL):
    pass


def _with_ascii_domain(address: str) -> str:
    local, _, domain = address.rpartition("@")
    return f"{local}@{domain.encode('idna').decode()}"


def _told(error: BaseException) -> str:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code, reply = next(iter(error.recipients.values()))
        return f"{code} {_text(reply)}"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"{error.smtp_code} {_text(error.smtp_error)}"
    return f"{type(error).__name__}: {error}"


def _text(reply: bytes | str) -> str:
    return reply.decode(errors="replace") if isinstance(reply, bytes) else reply


mail = Mailer()
