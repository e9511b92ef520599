"""A mail server on this machine that keeps all mail and sends none, for `make run` and the tests."""

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
        """Start to take mail at `LOOPBACK` and `port`."""
        # Make the parts too, because the library makes them only if it makes the directory itself.
        for place in (self.directory, *(self.directory / part for part in ("tmp", "new", "cur"))):
            private_subdirectory(place)
        self.port = free_port()
        self._controller = Controller(Mailbox(self.directory), LOOPBACK, self.port, enable_SMTPUTF8=True)
        self._controller.start()

    def stop(self) -> None:
        """Stop taking mail. Does nothing if it was not started."""
        if self._controller is not None:
            self._controller.stop()
            self._controller = None
