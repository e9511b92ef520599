"""Counts for the operators what became of postings."""

from collections.abc import Sequence

from app.ledger.commands import Command, Transfer
from app.ledger.records import Outcome
from app.telemetry import metrics


def count(commands: Sequence[Command], outcomes: Sequence[Outcome]) -> None:
    """Count the outcome of each command, and of each item of a batch."""
    for command, outcome in zip(commands, outcomes, strict=True):
        for single in outcome.results or (outcome,):
            metrics.POSTINGS.labels(_kind(command), _word(single)).inc()
            if single.error is not None and not single.replayed:
                metrics.DECLINES.labels(single.error.code).inc()


def count_failure(commands: Sequence[Command]) -> None:
    """Count commands that may or may not have taken effect."""
    for command in commands:
        metrics.POSTINGS.labels(_kind(command), "failed").inc()


def _kind(command: Command) -> str:
    return command.kind.value.lower() if isinstance(command, Transfer) else type(command).__name__.lower()


def _word(outcome: Outcome) -> str:
    if outcome.replayed:
        return "replayed"
    if outcome.error is None:
        return "posted"
    return "declined" if outcome.transaction is not None else "refused"
