"""Passwords: what may be one, and the slow hash that is all the bank keeps of it."""

import functools
import secrets

import bcrypt
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from app import heavy

PASSWORD_BYTES_MIN = 8
# bcrypt reads no further; a longer password would be cut off in silence.
PASSWORD_BYTES_MAX = 72

# The 30,000 most used passwords of what was leaked elsewhere, as zxcvbn ships them. They are in lower case, and
# whoever guesses tries "Password1" right after "password1".
_COMMON = frozenset(
    password for password in FREQUENCY_LISTS["passwords"] if len(password.encode()) >= PASSWORD_BYTES_MIN
)


def fault_of(password: str) -> str | None:
    """Return why this cannot be a password, or None if it can."""
    if not PASSWORD_BYTES_MIN <= len(password.encode()) <= PASSWORD_BYTES_MAX:
        return f"A password has {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes in UTF-8."
    if "\0" in password:
        return "A password has no NUL characters."
    if is_common(password):
        return "This password is among the most used ones and would be guessed. Choose another."
    return None


def is_common(password: str) -> bool:
    """Tell whether `password` is one of those that are tried first, whatever the case of its letters."""
    return password.lower() in _COMMON


def hash_password(password: str, bcrypt_rounds: int) -> str:
    """Return the hash to keep; the password has at most PASSWORD_BYTES_MAX bytes.

    Raises ServiceUnavailable if too many passwords are being hashed.
    """
    with heavy.passwords.turn():
        return bcrypt.hashpw(password.encode(), bcrypt.gensalt(bcrypt_rounds)).decode()


def is_costed(password_hash: str, bcrypt_rounds: int) -> bool:
    """Tell whether checking against the hash costs what a new one would, by what bcrypt wrote in it: $2b$12$…"""
    return int(password_hash.split("$")[2]) == bcrypt_rounds


def matches(password: str, password_hash: str) -> bool:
    """Tell whether this is the hash of `password`, which may have any length.

    Raises ServiceUnavailable if too many passwords are being hashed.
    """
    candidate = password.encode()
    # What no password can be still costs the time of a check. To bcrypt, "secret" and "secret\0secret" are the same.
    fits = len(candidate) <= PASSWORD_BYTES_MAX and b"\0" not in candidate
    with heavy.passwords.turn():
        return bcrypt.checkpw(candidate[:PASSWORD_BYTES_MAX], password_hash.encode()) and fits


@functools.cache
def nobodys_hash(bcrypt_rounds: int) -> str:
    """Return a hash that no password has, so that an unknown user's check takes as long as a known one's."""
    return bcrypt.hashpw(secrets.token_bytes(32), bcrypt.gensalt(bcrypt_rounds)).decode()
