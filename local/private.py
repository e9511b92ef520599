"""Private files and directories for the bank's secrets and data on this machine.

Somebody else may have made a directory in a place such as /tmp, with links and secrets of
their own in it. So files and directories are checked before use, and links are not followed.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS_MAY_DO_ANYTHING = stat.S_IRWXG | stat.S_IRWXO


class NotPrivate(Exception):
    """Other users can read or change something that must be ours alone; the text says what, and what to do."""


def private_directory(path: Path) -> Path:
    """Make the directory if it is missing, and return it; raises NotPrivate if others can write in it or replace it.

    Raises OSError if it cannot be made.
    """
    for place in (path.absolute(), *path.absolute().parents):
        if place.is_symlink() and place.lstat().st_uid not in (0, os.geteuid()):
            raise NotPrivate(f"{place} is a link that belongs to user {place.lstat().st_uid}. Choose another place.")
    for above in path.resolve().parents:
        _refuse_open_to_all(above)
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    _check_directory(path.resolve())
    return path


def private_subdirectory(path: Path) -> Path:
    """Make a directory in a private one if it is missing, and return it.

    Raises NotPrivate for a link and for somebody else's directory.
    """
    path.mkdir(exist_ok=True, mode=0o700)
    _check_directory(path)
    return path


def open_private(path: Path, flags: int) -> int:
    """Open a file in a private directory, make it readable and writable by its owner alone, and return its descriptor.

    Raises NotPrivate for a link and for somebody else's file.
    """
    descriptor = _open_own(path, flags)
    os.fchmod(descriptor, 0o600)
    return descriptor


def read_private(path: Path) -> str:
    """Return the text of a file that nobody else can read or write; raises NotPrivate, FileNotFoundError."""
    descriptor = _open_own(path, os.O_RDONLY)
    with open(descriptor, encoding="utf-8") as file:
        if os.fstat(descriptor).st_mode & _OTHERS_MAY_DO_ANYTHING:
            raise NotPrivate(f"Others can read or write {path}. If its content is yours: chmod go-rwx {path}")
        return file.read()


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read. It is written completely or not at all."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(open_private(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # If there is a link at `path`, this replaces it and does not follow it.
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def keep_secret(path: Path, make: Callable[[], str]) -> str:
    """Return the secret in the file `path`, made the first time; raises NotPrivate."""
    with contextlib.suppress(FileNotFoundError):
        return read_private(path)
    secret = make()
    write_private(path, secret)
    return secret


def _check_directory(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotPrivate(f"{path} is not a directory of its own. Remove it, or choose another place.")
    _check_owner(path, found)
    if found.st_mode & _OTHERS_MAY_WRITE:
        raise NotPrivate(
            f"Others may write in {path}, and may have put secrets of their own there. Choose another place, "
            f"or if everything in it is yours: chmod -R go-rwx {path}"
        )


def check_program(path: Path) -> None:
    """Raise NotPrivate if somebody else could have replaced the program."""
    found = path.lstat()
    _check_file(path, found)
    if found.st_mode & _OTHERS_MAY_WRITE:
        raise NotPrivate(f"Others may write to the program {path}. Remove it.")


def _open_own(path: Path, flags: int) -> int:
    try:
        # O_NONBLOCK, because the path may be a pipe, and opening one waits for its other end.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if path.is_symlink():
            raise NotPrivate(f"{path} is a link, and Fincore makes none. Remove it.") from error
        raise
    try:
        _check_file(path, os.fstat(descriptor))
    except NotPrivate:
        os.close(descriptor)
        raise
    return descriptor


def _check_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        raise NotPrivate(f"{path} is not a file of its own. Remove it.")
    _check_owner(path, found)


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise NotPrivate(
            f"{path} belongs to user {found.st_uid}, and this is user {os.geteuid()}. Choose another place."
        )


def _refuse_open_to_all(path: Path) -> None:
    try:
        found = path.stat()
    except FileNotFoundError:
        # We will make it.
        return
    # In a sticky directory, such as /tmp, nobody but its owner and we can rename or remove our files.
    is_sticky = found.st_mode & stat.S_ISVTX and found.st_uid in (0, os.geteuid())
    if found.st_mode & stat.S_IWOTH and not is_sticky:
        raise NotPrivate(f"Everybody may write in {path}, and so replace our files in it. Choose another place.")
