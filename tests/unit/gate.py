"""A block for group commit that takes as long as a test wants."""

import threading
from collections.abc import Sequence

from bson import ObjectId

from app.ledger.commands import Command, Expire
from app.ledger.records import Outcome

COMMAND = Expire(hold=ObjectId("a" * 24))
# Until what the tests do themselves has happened. It ends early, and a busy machine needs it.
WAIT_S = 30


class TornAway(BaseException):
    """What ends a thread in the middle of its work, such as SystemExit."""


class Gate:
    """A block that takes as long as the test wants."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.begun = threading.Event()
        self.tear = False
        self.tear_at = 0
        self.blocks = 0

    def __call__(self, commands: Sequence[Command], timeout_s: float) -> list[Outcome]:
        self.begun.set()
        assert self.opened.wait(WAIT_S)
        self.blocks += 1
        if self.tear or self.blocks == self.tear_at:
            self.tear = False
            raise TornAway
        return [Outcome() for _ in commands]
