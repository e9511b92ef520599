"""The measures that Prometheus scrapes: the numbers of all workers, and those that only the database knows."""

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from pymongo.errors import PyMongoError

from app import clock, ledger, mongo
from app.ledger.repository import COUNTED_MAX
from app.outbox import repository as outbox
from app.outbox.messages import MessageState
from app.telemetry import metrics


def exposition(version: str) -> bytes:
    """Return all measures in Prometheus' text format; without the database, only the workers' and that it is away."""
    asked = CollectorRegistry()
    asked.register(_Asked(version))
    return generate_latest(metrics.of_all_workers()) + generate_latest(asked)


class _Asked:
    """Measures that are read at each scrape. No worker keeps them, so none of them has a worker's label."""

    def __init__(self, version: str) -> None:
        self._version = version

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield _gauge("fincore_info", "1, with the version that answers.", "version", {self._version: 1})
        try:
            known = list(_of_database())
        except PyMongoError as error:
            if not mongo.is_away(error):
                raise
            known = []
        is_up = "1 if the database answered this scrape, otherwise 0."
        yield GaugeMetricFamily("fincore_database_up", is_up, 1 if known else 0)
        yield from known


def _of_database() -> Iterator[GaugeMetricFamily]:
    now = clock.now()
    at_most = f"{COUNTED_MAX} stands for that many or more."
    yield _gauge("fincore_holds", f"Pending holds, open or overdue; {at_most}", "state", ledger.count_holds(now))
    yield _gauge(
        "fincore_outbox_messages",
        "Messages that wait, that were put off to a later time because their reader has had enough letters for now, or "
        "that were given up.",
        "state",
        {
            "pending": outbox.count(MessageState.PENDING, is_deferred=False),
            "deferred": outbox.count(MessageState.PENDING, is_deferred=True),
            "dead": outbox.count(MessageState.DEAD),
        },
    )
    oldest = outbox.find_oldest(MessageState.PENDING, 1, is_deferred=False)
    yield GaugeMetricFamily(
        "fincore_outbox_oldest_age_seconds",
        "How long ago the oldest waiting message that was not put off was committed; 0 if none waits.",
        max(0.0, (now - oldest[0]["_id"].generation_time).total_seconds()) if oldest else 0,
    )
    due_at = outbox.longest_due(now)
    yield GaugeMetricFamily(
        "fincore_outbox_overdue_seconds",
        "For how long a message has been due that nobody has tried; 0 if all were tried.",
        (now - due_at).total_seconds() if due_at else 0,
    )


def _gauge(name: str, documentation: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=(label,))
    for of, value in values.items():
        family.add_metric((of,), value)
    return family
