"""A process that ends with the one that started it."""

import ctypes
import os
import signal

# Of prctl(2): which signal this process is sent when the thread that started it ends.
PR_SET_PDEATHSIG = 1


def end_with(parent_pid: int) -> None:
    """Have this process sent SIGTERM when the parent that started it ends, or at once if that has happened already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGTERM)
