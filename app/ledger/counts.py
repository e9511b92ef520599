"""Counts the outcomes of postings, for the operators."""

from collections import Counter
from collections.abc import Sequence

from app.ledger.commands import Command, Transfer
from app.ledger.records import Outcome
from app.telemetry import metrics


def count(commands: Sequence[Command], outcomes: Sequence[Outcome]) -> None:
    """Count the outcome of each command, and of each item of a batch."""
    words: Counter[tuple[str, str]] = Counter()
    for command, outcome in zip(commands, outcomes, strict=True):
        kind = _kind(command)
        for single in outcome.results or (outcome,):
            words[kind, _word(single)] += 1
            if single.error is not None and not single.replayed:
                metrics.DECLINES.labels(single.error.code).inc()
    # A label is looked up once, because most outcomes of a batch are the same.
    for labels, count_ in words.items():
        metrics.POSTINGS.labels(*labels).inc(count_)


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
