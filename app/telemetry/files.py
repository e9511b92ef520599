"""The files in which the processes of one bank keep their counts, all in one directory.

The library makes them, and names each after its process: `counter_HOST-PID.db`, `gauge_livesum_HOST-PID.db` and so on.
The name has the host, because containers that share the directory number their processes alike.
"""

import os
from pathlib import Path

HOST = os.uname().nodename.replace("_", "-")


def name_of(pid: int) -> str:
    """Return the name of a process of this host."""
    return f"{HOST}-{pid}"


def forget_present(directory: Path, pid: int) -> None:
    """Remove the current values of a process that has ended, such as the length of its queue. Its counts stay."""
    for file in directory.glob(f"gauge_live*_{name_of(pid)}.db"):
        file.unlink(missing_ok=True)


def sweep(directory: Path, *, present_only: bool = False) -> None:
    """Remove the files of ended processes of this host, or with `present_only` their current values.

    Otherwise the counts of an earlier run would be added to those of this one, and rates would jump. Whether a process
    of another container has ended cannot be seen from here, so its files stay.
    """
    for file in directory.glob("gauge_live*.db" if present_only else "*.db"):
        host, _, pid = file.stem.rpartition("_")[2].rpartition("-")
        if host == HOST and not Path(f"/proc/{pid}").exists():
            file.unlink(missing_ok=True)
