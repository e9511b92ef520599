"""Flask-Mail with time limits and verified TLS. A lost server raises ServerAway.

Flask-Mail itself waits for ever for a silent server, and does not check its certificate.
"""

import io
import smtplib
import ssl
import time
from collections.abc import Sequence
from email.utils import parseaddr
from functools import lru_cache
from typing import Any

import flask_mail
from flask import Flask, current_app

from app.mail import mime
from app.settings.policies import MailPolicy

CONNECT_TIMEOUT_S = 10.0
# For the whole exchange about one message. The lease of a deliverer is longer.
MESSAGE_TIMEOUT_S = 15.0

_TAKEN = 250
_TAKEN_FOR_ANOTHER_HOST = 251
_SEND_TEXT = 354
# The replies to MAIL, RCPT and DATA by which a server takes them.
_ENVELOPE_TAKEN = ((_TAKEN,), (_TAKEN, _TAKEN_FOR_ANOTHER_HOST), (_SEND_TEXT,))


class ServerAway(Exception):
    """The SMTP server cannot be reached, breaks off, or takes no mail from us at all; the text says why."""


class MessageFailed(Exception):
    """The server did not take this message; the text says why.

    `is_general` means that the next message will probably fail too, because the connection
    broke or the server refused the sender.
    """

    def __init__(self, reason: str, *, is_general: bool = False) -> None:
        super().__init__(reason)
        self.is_general = is_general


class Connection(flask_mail.Connection):
    """A connection to the configured server. Opening it may raise ServerAway."""

    mail: Any
    host: smtplib.SMTP | None

    @property
    def is_open(self) -> bool:
        return self.host is not None and self.host.sock is not None

    @property
    def is_private(self) -> bool:
        """Whether secrets may be sent: the connection is encrypted, or the settings allow secrets in clear."""
        settings: MailPolicy = current_app.config["MAIL_SETTINGS"]
        return settings.secrets_in_clear or (self.host is not None and isinstance(self.host.sock, ssl.SSLSocket))

    def configure_host(self) -> smtplib.SMTP:
        try:
            return self._open()
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise ServerAway(_told(error)) from error

    def reopen(self) -> None:
        """Connect again; raises ServerAway."""
        self.close()
        self.host = self.configure_host()

    def check(self) -> None:
        """Check that the server would take mail from our sender; raises ServerAway if not."""
        try:
            host = self._ready_host()
            code, reply = host.mail(parseaddr(self.mail.default_sender)[1])
            host.rset()
        except (OSError, smtplib.SMTPException) as error:
            raise ServerAway(_told(error)) from error
        if code != 250:
            raise ServerAway(f"{code} {_text(reply)}")

    def send(self, message: flask_mail.Message, envelope_from: Any = None) -> None:
        """Send a `Mail`; raises MessageFailed, after which `is_open` tells whether the connection still works."""
        assert isinstance(message, Mail)
        host = self._ready_host()
        try:
            host.hand_over(_address_of(str(envelope_from or message.sender)), message)
        except MessageFailed:
            self._begin_anew()
            raise
        except Exception as error:
            self._begin_anew()
            is_general = not self.is_open or isinstance(error, smtplib.SMTPSenderRefused)
            raise MessageFailed(_told(error), is_general=is_general) from error
        sender = current_app._get_current_object()  # type: ignore[attr-defined] # only the proxy has it
        flask_mail.email_dispatched.send(sender, message=message)

    def close(self) -> None:
        """Close the connection without QUIT."""
        if self.host is not None:
            self.host.close()

    def __exit__(self, *_: object) -> None:
        if self.is_open:
            try:
                self._ready_host().quit()
            except (OSError, smtplib.SMTPException):
                self.close()

    def _begin_anew(self) -> None:
        # After a refusal the server's state depends on the command that it refused, so reset it.
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
        settings: MailPolicy = current_app.config["MAIL_SETTINGS"]
        if settings.use_ssl or settings.use_tls:
            return self._greeted(ssl.create_default_context())
        if settings.secrets_in_clear:
            return self._greeted(None)
        try:
            # As between mail servers in general, encryption without a checked certificate is better than none.
            return self._greeted(_context_for_anybody())
        except (smtplib.SMTPNotSupportedError, smtplib.SMTPResponseException, ssl.SSLError):
            return self._greeted(None)

    def _greeted(self, tls: ssl.SSLContext | None) -> smtplib.SMTP:
        server, port = self.mail.server, self.mail.port
        host: _BoundedSmtp
        if self.mail.use_ssl:
            host = _BoundedSmtpOverTls(server, port, timeout=CONNECT_TIMEOUT_S, context=tls)
        else:
            host = _BoundedSmtp(server, port, timeout=CONNECT_TIMEOUT_S)
        try:
            host.allow(MESSAGE_TIMEOUT_S)
            if tls is not None and not self.mail.use_ssl:
                host.starttls(context=tls)
            host.ehlo_or_helo_if_needed()
            if self.mail.username and self.mail.password:
                host.login(self.mail.username, self.mail.password)
        except BaseException:
            host.close()
            raise
        return host


class Mailer(flask_mail.Mail):
    """The Flask extension."""

    def configure(self, app: Flask, mail: MailPolicy) -> None:
        """Bind the extension to the application with these settings."""
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
    """A mail to one recipient, whose address may be in any script. Its bytes are written at once.

    `identity` becomes its Message-ID, at the sender's domain, and the boundary between its parts. Raises ValueError
    for an address that cannot be written into a mail.
    """

    def __init__(self, letter: mime.Letter, *, to: str, identity: str, date: float, off_url: str | None = None) -> None:
        # The base class's __init__ is not called, because it looks up this host's name for an id that is not needed.
        sender = current_app.extensions["mail"].default_sender
        self.sender = sender
        self.subject = letter.subject
        self.msgId = mime.message_id(identity, sender)
        self.to_address = mime.envelope_address(to)
        self.recipients = [self.to_address]
        self.content = mime.write(
            letter, sender=sender, to=self.to_address, identity=identity, date=date, off_url=off_url
        )

    def as_bytes(self) -> bytes:
        return self.content

    def as_string(self) -> str:
        return self.content.decode()

    def extensions(self, host: smtplib.SMTP) -> list[str]:
        """Return the SMTP options that the address needs; raises MessageFailed if the server does not support them."""
        if self.to_address.isascii():
            return []
        if not host.has_extn("smtputf8"):
            raise MessageFailed("The server takes no mail for addresses in this script (SMTPUTF8).")
        return ["SMTPUTF8", "BODY=8BITMIME"]


class _BoundedSmtp(smtplib.SMTP):
    """smtplib with one deadline for all sending and receiving, instead of one for each line."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.allow(CONNECT_TIMEOUT_S)
        super().__init__(*arguments, **options)

    def allow(self, seconds: float) -> None:
        """Set the deadline: everything from now on may take this long in all."""
        self._deadline = time.monotonic() + seconds

    def limit(self) -> None:
        """Make the next wait on the socket end at the deadline; raises TimeoutError if it has passed."""
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("The server took too long.")
        if self.sock is not None:
            self.sock.settimeout(left_s)

    def hand_over(self, sender: str, mail: Mail) -> None:
        """Send one mail. Raises MessageFailed, and what smtplib raises.

        smtplib's own `sendmail` is not used, because it parses the recipient's address and so changes some of them.
        """
        options = "".join(f" {option}" for option in mail.extensions(self))
        # If the server lacks SMTPUTF8, `extensions` has refused an address that is not ASCII.
        self.command_encoding = "ascii" if mail.to_address.isascii() else "utf-8"
        envelope = (f"MAIL FROM:<{sender}>{options}", f"RCPT TO:<{mail.to_address}>", "DATA")
        replies: list[tuple[int, bytes]] = []
        if self.has_extn("pipelining"):
            self.send("".join(f"{command}\r\n" for command in envelope))
            replies = [self.getreply() for _ in envelope]
        else:
            for command in envelope:
                replies.append(self.docmd(command))
                if _refusal(replies, sender, mail.to_address) is not None:
                    break
        refusal = _refusal(replies, sender, mail.to_address)
        if refusal is not None:
            if replies[-1][0] == _SEND_TEXT:
                # In a pipeline, the server may ask for the text in spite of the refusal.
                self.docmd(".")
            raise refusal
        self.send(mail.as_bytes().replace(b"\r\n.", b"\r\n..") + b".\r\n")
        code, reply = self.getreply()
        if code != _TAKEN:
            raise smtplib.SMTPDataError(code, reply)

    def send(self, s: Any) -> None:
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("please run connect() first")
        left = memoryview(s.encode(self.command_encoding) if isinstance(s, str) else s)
        try:
            # Not `sendall`, because over TLS its time limit starts again with each piece.
            while left:
                self.limit()
                left = left[self.sock.send(left) :]
        except OSError as error:
            self.close()
            raise smtplib.SMTPServerDisconnected(f"Server not connected: {error}") from error

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = io.BufferedReader(_Heard(self))
        return super().getreply()


class _BoundedSmtpOverTls(_BoundedSmtp, smtplib.SMTP_SSL):
    pass


class _Heard(io.RawIOBase):
    """The incoming bytes. Reading ends at the deadline, even if the server sends a little now and then."""

    def __init__(self, host: _BoundedSmtp) -> None:
        super().__init__()
        self._host = host

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._host.limit()
        assert self._host.sock is not None
        return self._host.sock.recv_into(buffer)


def _context_for_anybody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@lru_cache(maxsize=1)
def _address_of(sender: str) -> str:
    return parseaddr(sender)[1]


def _refusal(replies: Sequence[tuple[int, bytes]], sender: str, recipient: str) -> smtplib.SMTPException | None:
    """Return the fault that the replies to MAIL, RCPT and DATA show so far, or None."""
    for (code, reply), wanted in zip(replies, _ENVELOPE_TAKEN, strict=False):
        if code not in wanted:
            errors: tuple[smtplib.SMTPException, ...] = (
                smtplib.SMTPSenderRefused(code, reply, sender),
                smtplib.SMTPRecipientsRefused({recipient: (code, reply)}),
                smtplib.SMTPDataError(code, reply),
            )
            return errors[_ENVELOPE_TAKEN.index(wanted)]
    return None


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
