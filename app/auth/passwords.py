"""Passwords: the rules for a new one, and the slow hash. The bank stores nothing else of a password.

A password is hashed and checked in NFKC, because keyboards write the same letter differently: é may arrive as one code
point or as two.
"""

import functools
import secrets
import unicodedata

import bcrypt
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from app.runtime import heavy

PASSWORD_BYTES_MIN = 8
# bcrypt reads no more bytes than this. It would silently ignore the rest of a longer password.
PASSWORD_BYTES_MAX = 72
# NFKC joins at most four code points into one, so longer text cannot be a password. It is not normalised, because that
# takes quadratic time for some texts, and clients can send any text.
_PASSWORD_LENGTH_MAX = 4 * PASSWORD_BYTES_MAX

# The 30,000 most used passwords from leaks elsewhere, as zxcvbn ships them. They are in lower case and compared so,
# because guessers try "Password1" right after "password1".
_COMMON = frozenset(
    password for password in FREQUENCY_LISTS["passwords"] if len(password.encode()) >= PASSWORD_BYTES_MIN
)


def fault_of(password: str) -> str | None:
    """Return why this cannot be a new password, or None if it can."""
    password = normal(password)
    if not PASSWORD_BYTES_MIN <= len(password.encode()) <= PASSWORD_BYTES_MAX:
        return f"A password has {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes in UTF-8, after NFKC."
    if "\0" in password:
        return "A password has no NUL characters."
    if is_common(password):
        return "This password is among the most used ones and would be guessed. Choose another."
    return None


def is_common(password: str) -> bool:
    """Tell whether `password` is among the most used ones, ignoring the case of its letters."""
    return password.lower() in _COMMON


def normal(password: str) -> str:
    """Return the password in NFKC, or unchanged if it is too long to be one."""
    return unicodedata.normalize("NFKC", password) if len(password) <= _PASSWORD_LENGTH_MAX else password


def hash_password(password: str, bcrypt_rounds: int) -> str:
    """Return the hash of a valid password. Raises ServiceUnavailable if too many passwords are being hashed."""
    with heavy.passwords.turn():
        return bcrypt.hashpw(normal(password).encode(), bcrypt.gensalt(bcrypt_rounds)).decode()


def is_costed(password_hash: str, bcrypt_rounds: int) -> bool:
    """Tell whether the hash has this cost. bcrypt writes the cost into the hash: $2b$12$…"""
    return int(password_hash.split("$")[2]) == bcrypt_rounds


def matches(password: str, password_hash: str) -> bool:
    """Tell whether this is the hash of `password`, which may have any length.

    Hashes from before passwords were normalised are of the password as typed, so that form is checked too. If the two
    forms differ, every hash costs a second check. Raises ServiceUnavailable if too many passwords are being hashed.
    """
    spellings = dict.fromkeys((normal(password), password))
    # Both forms are always checked, so that the time does not tell which one matched.
    found = [_is_hash_of(spelling, password_hash) for spelling in spellings]
    return any(found)


def is_normal_hash(password: str, password_hash: str) -> bool:
    """Tell whether the hash, which matches `password`, is that of its normal form, or that form is too long to hash."""
    chosen = normal(password)
    return password == chosen or not is_hashable(password) or _is_hash_of(chosen, password_hash)


def is_hashable(password: str) -> bool:
    """Tell whether bcrypt reads all of the password's normal form. Normalising can make an older password too long."""
    return len(normal(password).encode()) <= PASSWORD_BYTES_MAX


def _is_hash_of(password: str, password_hash: str) -> bool:
    candidate = password.encode()
    # Text that cannot be a password is checked too, so that it costs the same time. It must not match: to bcrypt,
    # "secret" and "secret\0secret" are the same.
    fits = len(candidate) <= PASSWORD_BYTES_MAX and b"\0" not in candidate
    with heavy.passwords.turn():
        return bcrypt.checkpw(candidate[:PASSWORD_BYTES_MAX], password_hash.encode()) and fits


@functools.cache
def nobodys_hash(bcrypt_rounds: int) -> str:
    """Return a hash that no password matches, so that a check for an unknown user takes as long as for a known one."""
    return bcrypt.hashpw(secrets.token_bytes(32), bcrypt.gensalt(bcrypt_rounds)).decode()
