"""Makes a process end when the process that started it ends."""

import ctypes
import os
import signal

# An option of prctl(2): the signal that this process gets when the thread that started it ends.
PR_SET_PDEATHSIG = 1


def end_with(parent_pid: int) -> None:
    """Have the kernel send this process SIGTERM when its parent ends, or send it now if the parent has ended."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGTERM)
