"""How fast a queue of postings drains, judged by the newest blocks."""

# How much the newest block counts. One block of ten that was held up, such as by a checkpoint of the database, must
# not make the ledger look ten times as slow.
NEWEST_WEIGHT = 0.1


class Drain:
    """What a block takes: so many seconds, and so many for each of its transfers.

    Waiting for a turn or for a slow disk costs each block the same, whatever is in it. If this were one factor, a
    process that waits long with small blocks would believe that large ones are hopeless.
    """

    __slots__ = ("block_s", "transfer_s")

    def __init__(self) -> None:
        # What a block takes on two cores that the database and its clients share.
        self.block_s = 0.010
        self.transfer_s = 0.0006

    def note(self, transfers: int, took_s: float) -> None:
        """Learn from a block. It corrects the larger of its two parts, because it tells little about the other."""
        of_transfers_s = self.transfer_s * transfers
        if of_transfers_s <= self.block_s:
            self.block_s += NEWEST_WEIGHT * (max(took_s - of_transfers_s, 0.0) - self.block_s)
        else:
            of_one_s = max(took_s - self.block_s, 0.0) / transfers
            self.transfer_s += NEWEST_WEIGHT * (of_one_s - self.transfer_s)

    def seconds(self, blocks: int, transfers: int) -> float:
        """Return how long so many blocks with so many transfers in all will take."""
        return blocks * self.block_s + transfers * self.transfer_s
