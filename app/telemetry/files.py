"""The files in which the processes of one bank keep what they count, all in one directory.

The library makes them, and names each after its process: `counter_HOST-PID.db`, `gauge_livesum_HOST-PID.db` and so on.
The host is named because containers that share the directory number their processes alike.
"""

import os
from pathlib import Path

HOST = os.uname().nodename.replace("_", "-")


def name_of(pid: int) -> str:
    """Return the name of a process of this host."""
    return f"{HOST}-{pid}"


def forget_present(directory: Path, pid: int) -> None:
    """Remove the present numbers of a process that has ended, such as its queue's length. What it counted stays."""
    for file in directory.glob(f"gauge_live*_{name_of(pid)}.db"):
        file.unlink(missing_ok=True)


def sweep(directory: Path, *, present_only: bool = False) -> None:
    """Remove the files of processes of this host that have ended, or with `present_only` their present numbers.

    Otherwise what an earlier run counted would be added to what this one counts, so that rates jump. Whether a process
    of another container has ended cannot be seen from here, so its files stay.
    """
    for file in directory.glob("gauge_live*.db" if present_only else "*.db"):
        host, _, pid = file.stem.rpartition("_")[2].rpartition("-")
        if host == HOST and not Path(f"/proc/{pid}").exists():
            file.unlink(missing_ok=True)
