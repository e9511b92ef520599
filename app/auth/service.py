"""Who the users are: registration, credentials, sessions."""

import functools
import secrets
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import bcrypt
from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from app.auth import repository
from app.errors import EmailTaken, InvalidCredentials
from app.ledger.records import whole_milliseconds
from app.mongo import Document

PASSWORD_BYTES_MIN = 8
# bcrypt reads no further; a longer password would be cut off in silence.
PASSWORD_BYTES_MAX = 72


class Role(StrEnum):
    USER = "USER"
    ADMIN = "ADMIN"
    SYSTEM = "SYSTEM"


def register(*, name: str, email: str, password: str, bcrypt_rounds: int, role: Role = Role.USER) -> Document:
    """Make a user and return it; raises EmailTaken. `email` is trimmed and in lower case."""
    user: Document = {
        "_id": ObjectId(),
        "email": email,
        "name": name,
        "password_hash": bcrypt.hashpw(password.encode(), bcrypt.gensalt(bcrypt_rounds)).decode(),
        "role": role.value,
        "created_at": whole_milliseconds(datetime.now(UTC)),
    }
    try:
        repository.insert_user(user)
    except DuplicateKeyError:
        raise EmailTaken from None
    return user


def authenticate(*, email: str, password: str, bcrypt_rounds: int) -> Document:
    """Return the user whose credentials these are.

    Raises InvalidCredentials, the same and after the same time whatever is wrong.
    """
    user = repository.find_user_by_email(email)
    password_hash = user["password_hash"] if user else _nobodys_hash(bcrypt_rounds)
    matches = _matches(password, password_hash)
    if user is None or not matches:
        raise InvalidCredentials
    return user


def ensure_system_user(*, email: str, password: str, bcrypt_rounds: int) -> bool:
    """Make the bank's own user unless the address is registered already; return whether it was made."""
    if repository.find_user_by_email(email) is not None:
        return False
    try:
        register(name="Fincore", email=email, password=password, bcrypt_rounds=bcrypt_rounds, role=Role.SYSTEM)
    except EmailTaken:
        return False
    return True


def reads_everything(user_id: ObjectId) -> bool:
    """Tell whether the user has a role now that may read what belongs to others, whatever a token was issued for."""
    user = repository.find_user(user_id)
    return user is not None and user["role"] in (Role.ADMIN, Role.SYSTEM)


def end_session(session_id: str, *, lifetime: timedelta) -> None:
    """Revoke every token of the session, in every process at once. `lifetime` is that of its longest token."""
    repository.insert_revocation(session_id, datetime.now(UTC) + lifetime)


def _matches(password: str, password_hash: str) -> bool:
    candidate = password.encode()
    # What no password can be still costs the time of a check. To bcrypt, "secret" and "secret\0secret" are the same.
    fits = len(candidate) <= PASSWORD_BYTES_MAX and b"\0" not in candidate
    return bcrypt.checkpw(candidate[:PASSWORD_BYTES_MAX], password_hash.encode()) and fits


@functools.cache
def _nobodys_hash(bcrypt_rounds: int) -> str:
    return bcrypt.hashpw(secrets.token_bytes(32), bcrypt.gensalt(bcrypt_rounds)).decode()
