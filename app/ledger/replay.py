"""The answer to a command whose idempotency key was spent before. No I/O."""

from collections.abc import Mapping
from dataclasses import replace

from app.errors import IdempotencyKeyReused
from app.ledger.commands import Keyed
from app.ledger.records import Failure, KeyUse, KeyUseKind, Outcome, Transaction
from app.ledger.state import State


def repeat(command: Keyed, recorded: Transaction | KeyUse, state: State) -> Outcome:
    """Return the first outcome again, or IdempotencyKeyReused if the first request was a different one."""
    reuse = reuse_of(recorded, command.fingerprint)
    if reuse is not None:
        return Outcome(error=reuse)
    if isinstance(recorded, Transaction):
        return replace(_first_outcome(recorded), replayed=True)
    if recorded.failure is not None:
        return Outcome(error=recorded.failure.as_error(), replayed=True)
    if recorded.kind is KeyUseKind.BATCH:
        results = tuple(
            Outcome(error=result.as_error())
            if isinstance(result, Failure)
            else _first_outcome(state.transactions[result])
            for result in recorded.results
        )
        return Outcome(results=results, replayed=True)
    assert recorded.transaction is not None
    return Outcome(state.transactions[recorded.transaction].before_reversal(), replayed=True)


def reuse_of(recorded: Transaction | KeyUse, asked: Mapping[str, str]) -> IdempotencyKeyReused | None:
    """Return the refusal of a key that was spent on a different request, or None if the requests are the same."""
    differing = differing_fields(recorded.fingerprint, asked)
    if not differing:
        return None
    return IdempotencyKeyReused(
        f"The idempotency key was used at {recorded.created_at:%Y-%m-%d %H:%M:%S} UTC for a request "
        f"that differs in {', '.join(differing)}.",
        errors={name: ["Differs from the first request with this idempotency key."] for name in differing},
    )


def _first_outcome(transaction: Transaction) -> Outcome:
    first = transaction.as_first_answered()
    return Outcome(first, first.failure.as_error(first.id) if first.failure is not None else None)


def differing_fields(recorded: Mapping[str, str], asked: Mapping[str, str]) -> list[str]:
    """Return the names of the request fields in which two fingerprints differ."""
    return sorted(name for name in recorded.keys() | asked.keys() if recorded.get(name) != asked.get(name))
