"""The server that all tests of a process share, in their database. It rests while a test does not use it.

Otherwise it might release holds that a test wants overdue, give events their places between two looks, call webhooks
with secrets that only the test has, and so on, depending on luck.
"""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.server import running_server


class Beside:
    """A running server, and the gate of its background."""

    def __init__(self, port: int, gate: Path, empty: Callable[[], None]) -> None:
        self.port = port
        self._gate = gate.open()
        self._empty = empty
        self._rests = False

    def rest(self) -> None:
        """Wait until no background work is under way, and let none start. Remove what it has left behind."""
        if not self._rests:
            fcntl.flock(self._gate, fcntl.LOCK_EX)
            self._rests = True
            self._empty()

    def go_on(self) -> None:
        fcntl.flock(self._gate, fcntl.LOCK_UN)
        self._rests = False

    def close(self) -> None:
        self.go_on()
        self._gate.close()


@contextmanager
def server_beside(mongo_uri: str, gate: Path, empty: Callable[[], None], **settings: str) -> Iterator[Beside]:
    """Run it; `empty` empties the bank's database, and `settings` are further environment variables."""
    gate.touch()
    with running_server(mongo_uri, application="tests.gated:app", GATE=str(gate), **settings) as port:
        beside = Beside(port, gate, empty)
        yield beside
        # Work that waits at the gate would keep the server from stopping.
        beside.close()
