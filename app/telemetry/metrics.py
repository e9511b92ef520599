"""Counts and times for Prometheus.

Several workers serve one bank, and a deliverer sends its mail, so a scrape adds up the numbers of all of them. A
variable names a directory in which each of these processes keeps its numbers, in files that survive it. Without the
directory, as in commands and tests, the numbers are in memory. No label has a value that clients choose, because each
new value would take memory for ever.
"""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, values
from prometheus_client.multiprocess import MultiProcessCollector

from app.telemetry import files

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0)
_TRANSFERS = (1, 2, 5, 10, 20, 50, 100, 200, 500)

_registry = CollectorRegistry()
# When a counter was created is useless here, and would double the number of series.
disable_created_metrics()  # type: ignore[no-untyped-call] # the library has no types there


class _Name:
    """The name of this process in the names of its files. It is asked for at each count, so it is kept ready."""

    def __init__(self) -> None:
        self._renew()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._name = files.name_of(os.getpid())

    def __call__(self) -> str:
        return self._name


if values.ValueClass is not values.MutexValue:
    values.ValueClass = values.MultiProcessValue(_Name())  # type: ignore[no-untyped-call] # it has no types there

REQUESTS = Counter(
    "fincore_http_requests",
    "Requests answered, by the pattern of their path. `none` stands for paths that do not exist and, as the method "
    "too, for what the server refuses before it looks at it, because there is no room or because it is not readable.",
    ("route", "method", "status"),
    registry=_registry,
)
REQUEST_SECONDS = Histogram(
    "fincore_http_request_duration_seconds",
    "From the start of a request in the application to the start of its answer.",
    ("route", "method"),
    buckets=_SECONDS,
    registry=_registry,
)
POSTINGS = Counter(
    "fincore_postings",
    "Commands given to the ledger, by kind and outcome: posted, declined, refused, replayed or failed.",
    ("kind", "outcome"),
    registry=_registry,
)
DECLINES = Counter(
    "fincore_declines", "Postings declined or refused, by the problem's code.", ("reason",), registry=_registry
)
BLOCK_SIZE = Histogram(
    "fincore_block_size_transfers",
    "How many transfers shared an atomic block.",
    buckets=_TRANSFERS,
    registry=_registry,
)
BLOCK_SECONDS = Histogram(
    "fincore_block_duration_seconds",
    "How long a block took, with its re-runs.",
    buckets=_SECONDS,
    registry=_registry,
)
BLOCK_RERUNS = Counter(
    "fincore_block_reruns",
    "Blocks that ran again, after a write conflict or a failover.",
    registry=_registry,
)
QUEUE_SECONDS = Histogram(
    "fincore_queue_wait_seconds",
    "How long a posting waited for its block to start.",
    buckets=_SECONDS,
    registry=_registry,
)
QUEUE_LENGTH = Gauge(
    "fincore_queue_length_transfers",
    "Transfers that wait for a block just now.",
    multiprocess_mode="livesum",
    registry=_registry,
)
LOGINS = Counter(
    "fincore_logins",
    "Logins, by outcome: accepted, refused for a wrong password, or put off after many of those.",
    ("outcome",),
    registry=_registry,
)
LETTERS = Counter(
    "fincore_letters",
    "Letters, by outcome of the attempt: sent, failed, or dead after the last attempt.",
    ("outcome",),
    registry=_registry,
)
MONGO_SECONDS = Histogram(
    "fincore_mongo_command_duration_seconds",
    "How long MongoDB took for a command, by the command's name, with the way there and back.",
    ("command",),
    buckets=_SECONDS,
    registry=_registry,
)
MONGO_CONNECTIONS = Gauge(
    "fincore_mongo_connections",
    "Connections to MongoDB that the pools of all workers have just now.",
    multiprocess_mode="livesum",
    registry=_registry,
)
MONGO_CONNECTIONS_TAKEN = Gauge(
    "fincore_mongo_connections_taken",
    "The most connections that were in use at the same time within the last seconds.",
    multiprocess_mode="livesum",
    registry=_registry,
)
TASK_SUCCESS = Gauge(
    "fincore_task_last_success_timestamp_seconds",
    "When a background task last ran without a failure.",
    ("task",),
    multiprocess_mode="max",
    registry=_registry,
)


def of_all_workers() -> CollectorRegistry:
    """Return the numbers of all workers, or without a shared directory those of this process."""
    if values.ValueClass is values.MutexValue:
        return _registry
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # the library has no types there
    return registry
