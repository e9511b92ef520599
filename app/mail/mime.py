"""Writes a mail as bytes: headers, text and HTML.

It does not use the standard library's message classes. They parse the headers that they
write, and the parser fails on some addresses, rewrites others, and is slow.
"""

import binascii
import re
from email.header import Header
from email.utils import formataddr, formatdate, parseaddr

from email_validator import validate_email

_LINE_LENGTH_MAX = 76
_PLAIN_HEADER = re.compile(r"[\x20-\x7e]*")
# An address in a header and in the SMTP dialogue: any characters but those that would end the address or the line.
_ADDRESS = re.compile(r"[^\s<>\x00-\x20\x7f-\x9f\u2028\u2029]+@[^\s<>@\x00-\x20\x7f-\x9f\u2028\u2029]+")
_DOT_ATOM = re.compile(r"[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*")
_ENCODED_WORD = "=?"


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


def sender_header(sender: str) -> str:
    """Return the `From` header's value for a sender given as `Name <address>`."""
    name, address = parseaddr(sender)
    return formataddr((name, address)) if name else address


def write(
    *, sender: str, to: str, subject: str, date: float, message_id: str, boundary: str, text: str, html: str
) -> bytes:
    """Return the mail. `sender` and `to` come from the functions above.

    The boundary starts with `=_`, which cannot occur in a part, because the parts are quoted-printable.
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
    # Each \n of the text becomes one line break.
    body = binascii.b2a_qp(text.replace("\r", "").encode(), istext=True).replace(b"\n", b"\r\n")
    return head.encode() + body + b"\r\n"


def _header(text: str) -> str:
    if _PLAIN_HEADER.fullmatch(text) and len(text) < _LINE_LENGTH_MAX and _ENCODED_WORD not in text:
        return text
    return Header(text, "utf-8", header_name="Subject").encode(linesep="\r\n")


def _quoted(local: str) -> str:
    # Quotes keep mail programs from decoding what looks like an encoded word.
    if local.startswith('"') or (_DOT_ATOM.fullmatch(local) and _ENCODED_WORD not in local):
        return local
    escaped = local.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
