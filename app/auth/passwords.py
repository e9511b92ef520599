"""Passwords: what may be one, and the slow hash that is all the bank keeps of it.

A password is hashed and checked in NFKC, because keyboards differ in how they write the same letter: é may arrive as
one code point or as two.
"""

import functools
import secrets
import unicodedata

import bcrypt
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from app import heavy

PASSWORD_BYTES_MIN = 8
# bcrypt reads no further; a longer password would be cut off in silence.
PASSWORD_BYTES_MAX = 72
# NFKC makes one code point of four at most, so a longer text is no password. Normalising takes quadratic time for
# some texts, and clients send what they like.
_PASSWORD_LENGTH_MAX = 4 * PASSWORD_BYTES_MAX

# The 30,000 most used passwords of what was leaked elsewhere, as zxcvbn ships them. They are in lower case, and
# whoever guesses tries "Password1" right after "password1".
_COMMON = frozenset(
    password for password in FREQUENCY_LISTS["passwords"] if len(password.encode()) >= PASSWORD_BYTES_MIN
)


def fault_of(password: str) -> str | None:
    """Return why this cannot be a password, or None if it can."""
    password = normal(password)
    if not PASSWORD_BYTES_MIN <= len(password.encode()) <= PASSWORD_BYTES_MAX:
        return f"A password has {PASSWORD_BYTES_MIN} to {PASSWORD_BYTES_MAX} bytes in UTF-8, after NFKC."
    if "\0" in password:
        return "A password has no NUL characters."
    if is_common(password):
        return "This password is among the most used ones and would be guessed. Choose another."
    return None


def is_common(password: str) -> bool:
    """Tell whether `password` is one of those that are tried first, whatever the case of its letters."""
    return password.lower() in _COMMON


def normal(password: str) -> str:
    """Return the password in NFKC, or as it is where it is too long to be one."""
    return unicodedata.normalize("NFKC", password) if len(password) <= _PASSWORD_LENGTH_MAX else password


def hash_password(password: str, bcrypt_rounds: int) -> str:
    """Return the hash to keep; the password has no fault. Raises ServiceUnavailable if too many are being hashed."""
    with heavy.passwords.turn():
        return bcrypt.hashpw(normal(password).encode(), bcrypt.gensalt(bcrypt_rounds)).decode()


def is_costed(password_hash: str, bcrypt_rounds: int) -> bool:
    """Tell whether checking against the hash costs what a new one would, by what bcrypt wrote in it: $2b$12$…"""
    return int(password_hash.split("$")[2]) == bcrypt_rounds


def matches(password: str, password_hash: str) -> bool:
    """Tell whether this is the hash of `password`, which may have any length.

    Hashes made before passwords were normalised are of the password as it was typed, so that is tried as well. It
    costs a second check wherever the two differ, whoever's the hash is. Raises ServiceUnavailable if too many
    passwords are being hashed.
    """
    spellings = dict.fromkeys((normal(password), password))
    # All are checked, so that the time does not tell which one matched.
    found = [_is_hash_of(spelling, password_hash) for spelling in spellings]
    return any(found)


def is_normal_hash(password: str, password_hash: str) -> bool:
    """Tell whether the hash, which `password` matches, is of its normal form, or cannot be for its length."""
    chosen = normal(password)
    return password == chosen or not is_hashable(password) or _is_hash_of(chosen, password_hash)


def is_hashable(password: str) -> bool:
    """Tell whether bcrypt takes all of the password's normal form. Some that were chosen before there was one grow."""
    return len(normal(password).encode()) <= PASSWORD_BYTES_MAX


def _is_hash_of(password: str, password_hash: str) -> bool:
    candidate = password.encode()
    # What no password can be still costs the time of a check. To bcrypt, "secret" and "secret\0secret" are the same.
    fits = len(candidate) <= PASSWORD_BYTES_MAX and b"\0" not in candidate
    with heavy.passwords.turn():
        return bcrypt.checkpw(candidate[:PASSWORD_BYTES_MAX], password_hash.encode()) and fits


@functools.cache
def nobodys_hash(bcrypt_rounds: int) -> str:
    """Return a hash that no password has, so that an unknown user's check takes as long as a known one's."""
    return bcrypt.hashpw(secrets.token_bytes(32), bcrypt.gensalt(bcrypt_rounds)).decode()
