"""Which faults one simulated world has, and how often. Each seed chooses its own."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Faults:
    """The chance of each fault, for each operation or, where it says so, for each step."""

    # The connection is lost before the server acts.
    lost: float = 0.0
    # There is no answer before the client's time-out.
    hang: float = 0.0
    # The server ends the block: a write conflict, an election.
    transient: float = 0.0
    # A commit gets no answer, and happens or not.
    unknown_commit: float = 0.0
    # A process dies (for each step).
    crash: float = 0.0
    # The primary changes (for each step).
    failover: float = 0.0
    # An answer of the bank does not reach its client.
    lost_answer: float = 0.0
    # A request arrives a second time, much later.
    duplicate: float = 0.0
    # A host's clock is off by more than the bank bears (when a process starts).
    wrong_clock: float = 0.0


def choose(chance: random.Random) -> Faults:
    """Return faults for one world. Half of them are left out, so that the others have time to meet."""

    def rate(most: float) -> float:
        return chance.random() * most if chance.random() < 0.5 else 0.0

    return Faults(
        lost=rate(0.02),
        hang=rate(0.003),
        transient=rate(0.05),
        unknown_commit=rate(0.2),
        crash=rate(0.002),
        failover=rate(0.002),
        lost_answer=rate(0.1),
        duplicate=rate(0.2),
        wrong_clock=rate(0.2),
    )
