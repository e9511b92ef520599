"""Writes a mail as bytes: headers, text and HTML.

It does not use the standard library's message classes. They parse the headers that they
write, and the parser fails on some addresses, rewrites others, and is slow.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from email.utils import formataddr, formatdate, parseaddr
from functools import lru_cache

from email_validator import validate_email

_LINE_LENGTH_MAX = 76
# SMTP's limit is 998.
_SMTP_LINE_LENGTH_MAX = 900
# This many bytes make an encoded word of 72 characters, and a first line of 81; the limits are 75 and 998.
_ENCODED_WORD_BYTES_MAX = 45
_PLAIN_HEADER = re.compile(r"[\x20-\x7e]*")
# An address in a header and in the SMTP dialogue: any characters except those that would end the address or the line.
_ADDRESS = re.compile(r"[^\s<>\x00-\x20\x7f-\x9f\u2028\u2029]+@[^\s<>@\x00-\x20\x7f-\x9f\u2028\u2029]+")
_DOT_ATOM = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*")
_ENCODED_WORD = "=?"
_ASCII = bytes(range(128))


@dataclass(frozen=True, slots=True)
class Letter:
    """What a mail says: its subject, and the same words as text and as HTML."""

    subject: str
    text: str
    html: str


def envelope_address(address: str) -> str:
    """Return the address for the SMTP server, with its domain in ASCII; raises ValueError for an impossible one.

    It is not parsed, because a parser might change it into another address.
    """
    if _ADDRESS.fullmatch(address) is None:
        raise ValueError("The address cannot stand in a mail.")
    local, _, domain = address.rpartition("@")
    if not domain.isascii():
        # By IDNA 2008, as in stored addresses. Python's codec follows IDNA 2003, which may give somebody else's domain.
        domain = validate_email(f"x@{domain}", check_deliverability=False).ascii_domain
    return f"{_quoted(local)}@{domain}"


@lru_cache(maxsize=1)
def sender_header(sender: str) -> str:
    """Return the `From` header's value for a sender given as `Name <address>`."""
    name, address = parseaddr(sender)
    return formataddr((name, address)) if name else address


def message_id(identity: str, sender: str) -> str:
    """Return the Message-ID of a mail from the sender."""
    return f"<{identity}@{sender.rpartition('@')[2].strip('> ')}>"


def write(letter: Letter, *, sender: str, to: str, identity: str, date: float, off_url: str | None = None) -> bytes:
    """Return the mail. `to` is as `envelope_address` returns it. A POST to `off_url` turns such mails off.

    The boundary starts with `=_`. A part that contains that is sent as quoted-printable, where it cannot occur.
    """
    head = [
        f"From: {sender_header(sender)}",
        f"To: {to}",
        f"Subject: {_header(letter.subject)}",
        f"Date: {formatdate(date).removesuffix('-0000')}+0000",
        f"Message-ID: {message_id(identity, sender)}",
        "Auto-Submitted: auto-generated",
        *_unsubscribing(off_url),
        "MIME-Version: 1.0",
        "Content-Type: multipart/alternative;",
        f' boundary="=_{identity}"',
    ]
    page = letter.html.encode()
    if 50 * _foreign(page) < len(page):
        # Programs that show HTML take a character reference for the character. It needs no encoding, but is longer.
        page = letter.html.encode("ascii", "xmlcharrefreplace")
    parts = [_part("plain", letter.text.encode(), identity), _part("html", page, identity)]
    return b"".join(["\r\n".join(head).encode(), b"\r\n\r\n", *parts, f"--=_{identity}--\r\n".encode()])


def _unsubscribing(off_url: str | None) -> list[str]:
    """Return the headers by which mail programs show a button (RFC 8058). They take https only."""
    if off_url is None or not off_url.startswith("https://"):
        return []
    return [f"List-Unsubscribe: <{off_url}>", "List-Unsubscribe-Post: List-Unsubscribe=One-Click"]


def _part(subtype: str, text: bytes, boundary: str) -> bytes:
    text = text.replace(b"\r", b"")
    # The boundary must not occur, and a line must fit into SMTP's.
    is_plain = text.isascii() and b"=_" not in text and max(map(len, text.split(b"\n"))) <= _SMTP_LINE_LENGTH_MAX
    if is_plain:
        encoding, body = "7bit", text
    elif 6 * _foreign(text) > len(text):
        # Quoted-printable makes 3 bytes of each non-ASCII byte, base64 makes 4 of any 3. Encoded text must have
        # the line breaks of a mail.
        encoding, body = "base64", base64.encodebytes(text.replace(b"\n", b"\r\n"))
    else:
        encoding, body = "quoted-printable", binascii.b2a_qp(text, istext=True)
    head = (
        f"--=_{boundary}\r\n"
        f'Content-Type: text/{subtype}; charset="utf-8"\r\n'
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    # Each \n becomes one line break.
    return head.encode() + body.replace(b"\n", b"\r\n") + b"\r\n"


def _foreign(text: bytes) -> int:
    """Return how many bytes are not ASCII."""
    return len(text.translate(None, _ASCII))


def _header(text: str) -> str:
    """Return a subject for the header, in encoded words if necessary."""
    if _PLAIN_HEADER.fullmatch(text) and len(text) < _LINE_LENGTH_MAX and _ENCODED_WORD not in text:
        return text
    words, word = [], b""
    for character in text:
        encoded = character.encode(errors="replace")
        # A character must not be divided between words.
        if len(word) + len(encoded) > _ENCODED_WORD_BYTES_MAX:
            words.append(word)
            word = b""
        word += encoded
    return "\r\n ".join(f"=?utf-8?b?{binascii.b2a_base64(each, newline=False).decode()}?=" for each in (*words, word))


def _quoted(local: str) -> str:
    # Quotes keep mail programs from decoding a text that looks like an encoded word.
    if local.startswith('"') or (_DOT_ATOM.fullmatch(local) and _ENCODED_WORD not in local):
        return local
    escaped = local.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
