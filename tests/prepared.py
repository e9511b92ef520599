"""Starts programs in Python from a process that has imported the libraries already.

A command or a server of Fincore spends more than a second of a processor on importing other people's code, the same
each time. Here a process that has done so forks, and what is forked imports and runs the program itself, as
`python -m` does: with its own environment, directory and standard files, and as a child of whoever started it. Its
command line and what `/proc` tells of its environment are not its own, but its name there is its last word.

What is forked must not differ from a real start for what a test looks at. So how the bank is started and reloaded, and
how it dies with whoever started it, is tested without this.
"""

import ctypes
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

# What the application imports, but for our own code, of which a program may have another release, and for what looks
# at the environment while it is imported (gunicorn, prometheus_client, babel).
LIBRARIES = [
    "apispec.ext.marshmallow", "bcrypt", "bson", "click", "cryptography.x509", "css_inline", "dotenv",
    "email_validator", "environs", "flask.cli", "flask_cors", "flask_jwt_extended", "flask_mail", "flask_smorest",
    "flask_swagger_ui", "greenlet", "iso4217", "jinja2", "limits", "orjson", "pymongo", "stdnum.iso7064.mod_97_10",
    "structlog", "webargs.flaskparser", "wrapt", "zxcvbn",
]  # fmt: skip
READY = b"ready"
MESSAGE_BYTES_MAX = 1 << 18
NAME, SUBREAPER = 15, 36  # PR_SET_NAME, PR_SET_CHILD_SUBREAPER
NAME_BYTES_MAX = 15
_libc = ctypes.CDLL(None)


class Prepared:
    """The process that forks, and our end of the connection to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self, asked: dict[str, Any], files: list[int]) -> int:
        """Return the id of a new process, a child of this one, that runs what is asked with these standard files."""
        with self._lock:
            connection = self._connection or self._begin()
            # Whoever loses the parent becomes our child, so that it can be waited for.
            _libc.prctl(SUBREAPER, 1)
            try:
                socket.send_fds(connection, [json.dumps(asked).encode()], files)
                return int(connection.recv(MESSAGE_BYTES_MAX))
            finally:
                _libc.prctl(SUBREAPER, 0)

    def _begin(self) -> socket.socket:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(its.fileno())], pass_fds=[its.fileno()], stdin=subprocess.DEVNULL
            )
        assert ours.recv(MESSAGE_BYTES_MAX) == READY
        self._connection = ours
        return ours


prepared = Prepared()


class Popen(subprocess.Popen[Any]):
    """A program `[sys.executable, "-m", NAME, …]`, started from the prepared process."""

    # The one step of subprocess.Popen that starts a process. All around it, such as pipes and waiting, stays.
    def _execute_child(
        self,
        args: list[str | bytes],
        executable: None,
        preexec_fn: None,
        close_fds: bool,
        pass_fds: tuple[int, ...],
        cwd: str | Path | None,
        env: dict[str, str] | None,
        startupinfo: None,
        creationflags: int,
        shell: bool,
        *pipes_and_more: Any,
    ) -> None:
        p2cread, _, _, c2pwrite, _, errwrite, _restored, _gid, _gids, _uid, _umask, is_leader, _group = pipes_and_more
        python, option, *words = (os.fsdecode(word) for word in args)
        environment = dict(os.environ if env is None else env)
        assert (python, option) == (sys.executable, "-m")
        assert [executable, preexec_fn, pass_fds, shell] == [None, None, (), False], "None of these is passed on."
        # Python reads it when it starts, which is over.
        assert environment.get("PYTHONPATH") == os.environ.get("PYTHONPATH")
        asked = {"words": words, "cwd": str(cwd or Path.cwd()), "environment": environment, "is_leader": is_leader}
        files = [number if given == -1 else given for number, given in enumerate((p2cread, c2pwrite, errwrite))]
        self.pid = prepared.start(asked, files)
        self._child_created = True
        close_our_copies: Callable[..., None] = getattr(self, "_close_pipe_fds")  # noqa: B009 - to mypy it is not there
        close_our_copies(*pipes_and_more[:6])


def run(command: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, as subprocess.run does with `capture_output` and `text`."""
    with Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how) as process:
        said, complained = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, said, complained)


def serve(connection: socket.socket) -> dict[str, Any]:
    """Fork whenever that is asked, until nobody asks any more. In what is forked, return what it is to run."""
    # Ctrl-C is for those who are forked.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in LIBRARIES:
        import_module(name)
    assert threading.active_count() == 1, "Only the thread that forks goes on in what is forked."
    connection.send(READY)
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, MESSAGE_BYTES_MAX, 3)
        if not message:
            sys.exit()
        (told, tells), (go, lets_go) = os.pipe(), os.pipe()
        between = os.fork()
        if not between:
            pid = os.fork()
            if pid:
                # By its end it hands the other one on to whoever asked.
                os.write(tells, b"%d" % pid)
                os._exit(0)
            os.read(go, 1)
            for number, descriptor in enumerate(descriptors):
                os.dup2(descriptor, number)
            for descriptor in (told, tells, go, lets_go, *descriptors):
                os.close(descriptor)
            connection.close()
            asked: dict[str, Any] = json.loads(message)
            return asked
        os.waitpid(between, 0)
        os.write(lets_go, b".")
        connection.send(os.read(told, MESSAGE_BYTES_MAX))
        for descriptor in (told, tells, go, lets_go, *descriptors):
            os.close(descriptor)


def become(asked: dict[str, Any]) -> None:
    """Run the program in this process, in the state in which Python starts one."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if asked["is_leader"]:
        os.setsid()
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    time.tzset()
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it stays open
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stdout.reconfigure(write_through=bool(os.environ.get("PYTHONUNBUFFERED")))
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.path.insert(0, asked["cwd"])
    name, *arguments = asked["words"]
    sys.argv = [name, *arguments]
    _libc.prctl(NAME, os.fsencode(asked["words"][-1])[-NAME_BYTES_MAX:])
    runpy.run_module(name, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    become(serve(socket.socket(fileno=int(sys.argv[1]))))
