"""What is looked at before any call: requests that two readers could take for different ones."""

import re

from flask import Request

from app.errors import NotFound, ValidationFailed

# Where our server says which headers, of those that have one value, came more than once: WSGI joins them into one.
REPEATED_HEADERS = "fincore.repeated_headers"
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def is_sane_id(request_id: str) -> bool:
    """Return whether what a client calls its request may be repeated in logs and headers."""
    return _SANE_REQUEST_ID.fullmatch(request_id) is not None


def has_body(request: Request) -> bool:
    """Return whether a body was announced, be it empty or not."""
    return bool(request.content_length) or "HTTP_TRANSFER_ENCODING" in request.environ


def refuse_ambiguous(request: Request) -> None:
    """Raise ValidationFailed for a header that has one value and came twice, NotFound for a slash in disguise."""
    repeated = request.environ.get(REPEATED_HEADERS)
    if repeated:
        raise ValidationFailed(
            f"Sent more than once: {', '.join(repeated)}.",
            errors={name: ["Occurs more than once."] for name in repeated},
        )
    # An encoded slash belongs to a segment (RFC 3986, section 2.2), and no segment of ours has one. WSGI decodes it,
    # so that another path would be answered than the one that a proxy in front saw.
    if "%2f" in request.environ.get("RAW_URI", "").partition("?")[0].lower():
        raise NotFound
