"""Counts and logs the requests that the server refuses before the application sees them."""

import time
from collections import Counter
from http import HTTPStatus

import structlog

log = structlog.get_logger(__name__)

# A refused crowd must not fill the log. So each reason gets at most one line in this time, with the number of refusals.
TELL_EVERY_S = 1.0


class Refusals:
    """Counts refused requests, and logs them at a bounded pace. Only one thread may use it."""

    def __init__(self) -> None:
        # For each event and reason: when it was last logged, and how many were not logged since.
        self._told_at: dict[tuple[str, str], float] = {}
        self._untold: Counter[tuple[str, str]] = Counter()

    def note(self, status: HTTPStatus, reason: str, *, address: str, request_id: str) -> None:
        """Count a refusal, and log it unless another one for this reason was logged just now.

        `reason` is one of a few texts. Clients must not be able to choose it.
        """
        # A worker imports the application again after the fork, and an earlier copy would count for nobody.
        from app.telemetry.metrics import REQUESTS

        REQUESTS.labels("none", "none", str(status.value)).inc()
        event = "no_room" if status is HTTPStatus.SERVICE_UNAVAILABLE else "request_unreadable"
        about, now = (event, reason), time.monotonic()
        if now - self._told_at.get(about, -TELL_EVERY_S) < TELL_EVERY_S:
            self._untold[about] += 1
            return
        more = self._untold.pop(about, 0)
        self._told_at[about] = now
        log.warning(event, reason=reason, address=address, request_id=request_id, **({"more": more} if more else {}))

    def tell(self, now: float) -> None:
        """Log the refusals that have not been logged for a while."""
        for about in [about for about in self._untold if now - self._told_at[about] >= TELL_EVERY_S]:
            self._told_at[about] = now
            event, reason = about
            log.warning(event, reason=reason, more=self._untold.pop(about))
