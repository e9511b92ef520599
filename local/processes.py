"""Child processes that cannot outlive us, and free ports, for running local servers."""

import contextlib
import errno
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from app.runtime.leash import PR_SET_PDEATHSIG

LOOPBACK = "127.0.0.1"
# Below the range that Linux uses for outgoing connections. A port in that range may be taken when a server wants it
# back, and a client that polls it can end up connected to itself.
PORT_MIN, PORT_MAX = 20_000, 31_999
PORT_ATTEMPTS_MAX = 200
# The ports that this process was given. A server may take a while until it listens.
_told: set[int] = set()
POLL_S = 0.02
KILL_TIMEOUT_S = 10.0

# A bare interpreter runs this and then becomes the command. A preexec_fn would run it between fork and exec, where
# locks of other threads and the MongoDB driver's fork hooks can block it. The parent's pid is compared because the
# parent may have died before the call.
_LEASH = f"""
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG}, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


def spawn(command: list[str], *, cwd: Path | None = None, output: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start `command`, the absolute path of a program and its arguments, so that it ends when we do.

    The kernel sends it SIGTERM when the thread that called this ends, so call it from the main thread. It has a
    session of its own, so that a terminal's Ctrl-C reaches us alone. Its output goes to `output`, or where ours goes.
    """
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _LEASH, str(os.getpid()), *command],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def end(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """End a process that `spawn` started, and its children: by SIGTERM or, after `timeout_s`, by SIGKILL.

    Returns whether SIGTERM was enough.
    """
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout_s)
        # Children survive a parent that was killed. They are signalled last, because a living parent ends them itself.
        _signal_group(process.pid, signal.SIGTERM)
        if holds_within(KILL_TIMEOUT_S, lambda: not _signal_group(process.pid, 0)):
            return True
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()
    return False


def end_leftover(pid_file: Path, argument: str, timeout_s: float) -> bool:
    """End a process that an earlier run left behind; return whether there was one.

    `pid_file` names it, and `argument` on its command line shows that it is ours.
    """
    try:
        pid = int(pid_file.read_text())
    except (FileNotFoundError, ValueError):
        return False
    if not _has_argument(pid, argument):
        return False
    for signal_number, limit_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, KILL_TIMEOUT_S)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal_number)
        if holds_within(limit_s, lambda: not _has_argument(pid, argument)):
            break
    return True


def is_port_free(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether a server can listen on this port. Raises OSError for a host or port that we may not use at all."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def free_port() -> int:
    """Return a loopback port that nobody uses, another one each time; raises OSError if there is none."""
    for _ in range(PORT_ATTEMPTS_MAX):
        port = random.randint(PORT_MIN, PORT_MAX)
        if port not in _told and is_port_free(port):
            _told.add(port)
            return port
    raise OSError(errno.EADDRINUSE, f"No port from {PORT_MIN} to {PORT_MAX} is free")


def holds_within(timeout_s: float, holds: Callable[[], bool]) -> bool:
    """Call `holds` repeatedly until it returns True or `timeout_s` have passed; return its last answer."""
    deadline = time.monotonic() + timeout_s
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return held


def _has_argument(pid: int, argument: str) -> bool:
    # A zombie, whose parent has not noticed its end yet, has an empty command line.
    try:
        return argument.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _signal_group(leader_pid: int, signal_number: int) -> bool:
    try:
        os.killpg(leader_pid, signal_number)
    except ProcessLookupError:
        return False
    return True
