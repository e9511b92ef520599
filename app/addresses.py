"""E-mail addresses: the one form in which the bank keeps, compares and uses them."""

import email_validator

# Of what is looked at at all; the standards allow 254.
EMAIL_LENGTH_MAX = 320

# How text of other scripts is written into headers. In an address it is legal and nobody's, and mail programs would
# read another address out of it.
ENCODED_WORD = "=?"

# An intranet's or a test's domain is as good as any; the outbox tells when no mail gets there.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()


def normal_email(text: str) -> str | None:
    """Return the address trimmed and in lower case, or None if it is none by its syntax."""
    if len(text) > EMAIL_LENGTH_MAX or ENCODED_WORD in text:
        return None
    try:
        return email_validator.validate_email(text.strip(), check_deliverability=False).normalized.lower()
    except email_validator.EmailNotValidError:
        return None
