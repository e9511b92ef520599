"""W3C Trace Context: the id under which a caller follows its request through many systems.

https://www.w3.org/TR/trace-context/ defines `traceparent`, and the draft of Level 2 `traceresponse`. Invalid headers
are ignored, as the standard demands, because no request should fail for them.
"""

import re
import secrets
from dataclasses import dataclass

RESPONSE_HEADER = "traceresponse"

_VERSION = "00"
_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SPAN_BYTES = 8


@dataclass(frozen=True, slots=True)
class Trace:
    """One request as a part of a trace: the trace's id, this part's own id, and the flags that the caller set."""

    id: str
    span: str
    flags: str

    def __str__(self) -> str:
        return f"{_VERSION}-{self.id}-{self.span}-{self.flags}"


def read(traceparent: str | None) -> Trace | None:
    """Return this request's part of the trace that the header names, or None if the header is missing or invalid."""
    found = _PARENT.fullmatch(traceparent) if traceparent else None
    if found is None:
        return None
    version, trace_id, _, flags, more = found.groups()
    # Later versions may add fields, this one may not.
    if version == _VERSION and more is not None:
        return None
    return Trace(trace_id, secrets.token_hex(_SPAN_BYTES), flags)
