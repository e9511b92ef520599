"""A mail server on this machine that keeps what it is given, for `make run` and the tests."""

from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Mailbox

from local.private import private_subdirectory
from local.processes import LOOPBACK, free_port


class MailCatcher:
    """An SMTP server that keeps every message in a maildir and sends none. It runs in a thread of this process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = 0
        self._controller: Controller | None = None

    def start(self) -> None:
        """Take mail from now on, at `LOOPBACK` and `port`."""
        # The parts too, because the library makes them only together with the directory.
        for place in (self.directory, *(self.directory / part for part in ("tmp", "new", "cur"))):
            private_subdirectory(place)
        self.port = free_port()
        self._controller = Controller(Mailbox(self.directory), LOOPBACK, self.port, enable_SMTPUTF8=True)
        self._controller.start()

    def stop(self) -> None:
        """Take no more mail. Does nothing if it was not started."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None
