"""E-mail addresses and their normal form, in which the bank stores, compares and uses them.

In the normal form the local part is in NFC and in lower case, and the domain is in ASCII by IDNA 2008, as in DNS. So
one mailbox is one user, however the address is typed. Python's own codec is not used, because it follows IDNA 2003 and
turns faß.de into fass.de, which is somebody else's domain.
"""

import unicodedata

import email_validator
import idna

# Longer text is refused before it is parsed. The standards allow 254 characters.
EMAIL_LENGTH_MAX = 320
# The start of an encoded word, which mail headers use for other scripts. It is legal in an address, but nobody has one,
# and mail programs would decode it into another address.
ENCODED_WORD = "=?"

# Domains of intranets and tests are accepted. If mail cannot be delivered there, the outbox shows it.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


def normal_email(text: str) -> str | None:
    """Return the address in its normal form, or None if its syntax is wrong."""
    if len(text) > EMAIL_LENGTH_MAX or ENCODED_WORD in text:
        return None
    try:
        valid = email_validator.validate_email(text.strip(), check_deliverability=False)
    except email_validator.EmailNotValidError:
        return None
    return f"{_normal_local(valid.local_part)}@{valid.ascii_domain}"


def email_beginning(text: str) -> str:
    """Return the start of an address, or a whole one, in the normal form, for searches."""
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
