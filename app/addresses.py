"""E-mail addresses: the one form in which the bank keeps, compares, finds and uses them.

That form is the local part in NFC and in lower case, and the domain as DNS has it: in ASCII by IDNA 2008. So one
mailbox is one user, whichever way its address is typed, and mail goes where the address says: Python's own codec
follows IDNA 2003, by which faß.de is somebody else's fass.de.
"""

import unicodedata

import email_validator
import idna

# Of what is looked at at all; the standards allow 254.
EMAIL_LENGTH_MAX = 320
# How text of other scripts is written into headers. In an address it is legal and nobody's, and mail programs would
# read another address out of it.
ENCODED_WORD = "=?"

# An intranet's or a test's domain is as good as any; the outbox tells when no mail gets there.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


def normal_email(text: str) -> str | None:
    """Return the address in its one form, or None if it is none by its syntax."""
    if len(text) > EMAIL_LENGTH_MAX or ENCODED_WORD in text:
        return None
    try:
        valid = email_validator.validate_email(text.strip(), check_deliverability=False)
    except email_validator.EmailNotValidError:
        return None
    return f"{_normal_local(valid.local_part)}@{valid.ascii_domain}"


def email_beginning(text: str) -> str:
    """Return how addresses start, in their one form, that start with `text`: a whole address or less of one."""
    whole = normal_email(text)
    if whole is not None:
        return whole
    local, at, domain = text.strip()[:EMAIL_LENGTH_MAX].partition("@")
    return _normal_local(local) + at + ".".join(_normal_label(label) for label in domain.split("."))


def _normal_local(local: str) -> str:
    return unicodedata.normalize("NFC", local.lower())


def _normal_label(label: str) -> str:
    try:
        return idna.encode(label, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        return label.lower()
