"""How fast a queue of postings drains, judged by the newest blocks."""

# How much the newest block counts. One block of ten that was held up, such as by a checkpoint of the database, must
# not make the ledger look ten times as slow.
NEWEST_WEIGHT = 0.1
# A block of so many transfers says as much about the transfers as about what each block takes anyway.
UNIT = 500


class Drain:
    """What a block takes: so many seconds, and so many for each of its transfers.

    Waiting for a turn or for a slow disk costs each block the same, whatever is in it. With one number of seconds
    for a transfer, a process that waits long with small blocks would believe that large ones are hopeless.
    """

    __slots__ = ("block_s", "unit_s")

    def __init__(self) -> None:
        # Seconds for a block, and for UNIT transfers, on two cores that the database and its clients share.
        self.block_s = 0.01
        self.unit_s = 0.3

    def note(self, transfers: int, took_s: float) -> None:
        """Learn from a block, by the normalised least mean squares of Widrow and Hoff.

        The input is (1, share), and what is learned are its factors (block_s, unit_s).
        """
        share = transfers / UNIT
        step_s = NEWEST_WEIGHT * (took_s - self.seconds(1, transfers)) / (1 + share**2)
        self.block_s = max(self.block_s + step_s, 0.0)
        self.unit_s = max(self.unit_s + step_s * share, 0.0)

    def seconds(self, blocks: int, transfers: int) -> float:
        """Return how long so many blocks with so many transfers in all will take."""
        return blocks * self.block_s + transfers / UNIT * self.unit_s
