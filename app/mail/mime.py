"""A mail as bytes: headers and both parts, written once and straight, without a parser in between.

The standard library's `email` package reads the headers that it writes, with a parser
that fails on some addresses and rewrites others, and takes most of a mail's time.
"""

import binascii
import re
from email.header import Header
from email.utils import formataddr, formatdate, parseaddr

from email_validator import validate_email

_LINE_LENGTH_MAX = 76
_PLAIN_HEADER = re.compile(r"[\x20-\x7e]*")
# An address as it stands in a header and in the SMTP dialogue: anything but what would end it, or the line.
_ADDRESS = re.compile(r"[^\s<>\x00-\x20\x7f-\x9f\u2028\u2029]+@[^\s<>@\x00-\x20\x7f-\x9f\u2028\u2029]+")
_DOT_ATOM = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*")
_ENCODED_WORD = "=?"


def envelope_address(address: str) -> str:
    """Return the address as the server is told it, its domain in ASCII; raises ValueError.

    It is never parsed: a parser would take a part of it for something else.
    """
    if _ADDRESS.fullmatch(address) is None:
        raise ValueError("The address cannot stand in a mail.")
    local, _, domain = address.rpartition("@")
    if not domain.isascii():
        # By IDNA 2008, as addresses are kept. Python's own codec is of 2003 and finds other people's domains.
        domain = validate_email(f"x@{domain}", check_deliverability=False).ascii_domain
    return f"{_quoted(local)}@{domain}"


def sender_header(sender: str) -> str:
    """Return the `From` of a sender that is given as `Name <address>`."""
    name, address = parseaddr(sender)
    return formataddr((name, address)) if name else address


def write(
    *, sender: str, to: str, subject: str, date: float, message_id: str, boundary: str, text: str, html: str
) -> bytes:
    """Return the mail. `sender` and `to` come from the functions above.

    The boundary begins with `=_`, which no part contains: it is quoted-printable.
    """
    head = [
        f"From: {sender}",
        f"To: {to}",
        f"Subject: {_header(subject)}",
        f"Date: {formatdate(date).removesuffix('-0000')}+0000",
        f"Message-ID: {message_id}",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        "Content-Type: multipart/alternative;",
        f' boundary="=_{boundary}"',
    ]
    parts = [_part("plain", text, boundary), _part("html", html, boundary)]
    return b"".join(["\r\n".join(head).encode(), b"\r\n\r\n", *parts, f"--=_{boundary}--\r\n".encode()])


def _part(subtype: str, text: str, boundary: str) -> bytes:
    head = (
        f"--=_{boundary}\r\n"
        f'Content-Type: text/{subtype}; charset="utf-8"\r\n'
        "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    )
    # Lines end as the text's do, which is by \n alone.
    body = binascii.b2a_qp(text.replace("\r", "").encode(), istext=True).replace(b"\n", b"\r\n")
    return head.encode() + body + b"\r\n"


def _header(text: str) -> str:
    if _PLAIN_HEADER.fullmatch(text) and len(text) < _LINE_LENGTH_MAX and _ENCODED_WORD not in text:
        return text
    return Header(text, "utf-8", header_name="Subject").encode(linesep="\r\n")


def _quoted(local: str) -> str:
    # What looks like an encoded word is none inside quotes, whatever a mail program makes of headers.
    if local.startswith('"') or (_DOT_ATOM.fullmatch(local) and _ENCODED_WORD not in local):
        return local
    escaped = local.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
