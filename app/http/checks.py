"""Checks before every call: they refuse requests that two readers could understand differently."""

import re

from flask import Request

from app.errors import NotFound, ValidationFailed

# Our server lists here the single-value headers that came more than once, because WSGI joins them into one.
REPEATED_HEADERS = "fincore.repeated_headers"
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def is_sane_id(request_id: str) -> bool:
    """Return whether a request id that a client chose is safe to repeat in logs and headers."""
    return _SANE_REQUEST_ID.fullmatch(request_id) is not None


def has_body(request: Request) -> bool:
    """Return whether the head announces a body. A chunked one may be empty."""
    head = request.environ
    # Most requests without a body announce nothing, and asking Werkzeug costs more than all other checks together.
    return "HTTP_TRANSFER_ENCODING" in head or (bool(head.get("CONTENT_LENGTH")) and bool(request.content_length))


def refuse_ambiguous(request: Request) -> None:
    """Raise ValidationFailed if a single-value header came twice, NotFound if the path has an encoded slash."""
    repeated = request.environ.get(REPEATED_HEADERS)
    if repeated:
        raise ValidationFailed(
            f"Sent more than once: {', '.join(repeated)}.",
            errors={name: ["Occurs more than once."] for name in repeated},
        )
    # An encoded slash is a part of a path segment (RFC 3986, section 2.2), and no segment of ours has one. WSGI decodes
    # it, so the application would answer another path than the one that a proxy in front saw.
    # Werkzeug takes several slashes at the start for one, and a fragment is no part of a request's target.
    path = request.environ.get("RAW_URI", "").partition("?")[0]
    if "%2f" in path.lower() or path.startswith("//") or "#" in path:
        raise NotFound
