"""The directory with the counts of `make run`'s server and deliverer: in memory, because a disk may be slow."""

import os
import shutil
import tempfile
from pathlib import Path

from local.private import read_private, write_private

_PREFIX = "fincore-metrics-"
_MEMORY = Path("/dev/shm")  # noqa: S108 (mkdtemp makes an unguessable name in it)


def make(record: Path) -> Path:
    """Make a directory and note it in the file `record`. What an earlier run left behind is removed."""
    remove(record)
    place = tempfile.mkdtemp(prefix=_PREFIX, dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None)
    write_private(record, place)
    return Path(place)


def remove(record: Path) -> None:
    """Remove the directory that `record` names, and `record`."""
    try:
        place = Path(read_private(record))
    except FileNotFoundError:
        return
    if place.name.startswith(_PREFIX):
        shutil.rmtree(place, ignore_errors=True)
    record.unlink()
