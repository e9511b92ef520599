"""Who the users are: registration, credentials, and the end of sessions."""

import base64
import functools
import hashlib
import hmac
import re
import secrets
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from bson import ObjectId
from pymongo.client_session import ClientSession
from pymongo.errors import DuplicateKeyError

from app import mongo
from app.audit import audit_record, insert_audit_records
from app.auth import attempts, passwords, repository
from app.errors import EmailTaken, InvalidCredentials, ResetTokenInvalid, TokenRevoked
from app.ledger.records import Act, whole_milliseconds
from app.mongo import Document
from app.notifications import messages, outbox
from app.proxies import client_network

RESET_TOKEN_BYTES = 32
# A name of a hundred characters can have a key of thousands, and cursors carry it.
NAME_KEY_LENGTH_MAX = 150
RESET_TOKEN_LIFETIME = timedelta(minutes=30)
# A blocklist row outlives the tokens it stands for by what the clocks of several hosts, and a token that is made
# while its session ends, may differ.
REVOCATION_MARGIN = timedelta(minutes=2)

_ADDRESS = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}")


class Role(StrEnum):
    USER = "USER"
    ADMIN = "ADMIN"
    SYSTEM = "SYSTEM"


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom a mail goes to."""

    name: str
    email: str


def register(
    *, name: str, email: str, password: str, bcrypt_rounds: int, role: Role = Role.USER, act: Act | None = None
) -> Document:
    """Make a user and return it; raises EmailTaken. `email` is trimmed and in lower case.

    With `act`, somebody else registers the user, which is a matter for the audit log.
    """
    user: Document = {
        "_id": ObjectId(),
        "email": email,
        "name": name,
        "name_key": name_key(name),
        "password_hash": passwords.hash_password(password, bcrypt_rounds),
        "role": role.value,
        "created_at": whole_milliseconds(datetime.now(UTC)),
    }

    def block(session: ClientSession) -> None:
        repository.insert_user(user, session)
        if role is not Role.SYSTEM:
            outbox.insert([messages.welcome(user)], session)
        if act is not None:
            after = {"email": email, "role": role.value}
            record = audit_record(act, "user_created", user["_id"], at=user["created_at"], before=None, after=after)
            insert_audit_records([record], session)

    try:
        mongo.atomically(block)
    except DuplicateKeyError:
        raise EmailTaken from None
    return user


def authenticate(*, email: str, password: str, bcrypt_rounds: int, act: Act, is_limited: bool) -> Document:
    """Return the user whose credentials these are.

    Raises InvalidCredentials, the same and after the same time whatever is wrong, and,
    where guesses are limited, TooManyAttempts. `act` tells who asks from where.
    """
    account = attempts.account(email)
    targets = [account, *([attempts.address(client_network(act.address))] if act.address else [])]
    if is_limited:
        attempts.admit(targets)
    user = repository.find_user_by_email(email)
    matches = passwords.matches(password, user["password_hash"] if user else passwords.nobodys_hash(bcrypt_rounds))
    if user is None or not matches:
        if attempts.record_failure(targets):
            _record_guessing(email, act)
        raise InvalidCredentials
    attempts.forget(account)
    if not passwords.is_costed(user["password_hash"], bcrypt_rounds):
        # Or else the time of a login would tell who exists: an unknown user's check costs what is configured now.
        password_hash = passwords.hash_password(password, bcrypt_rounds)
        repository.rehash_password(user["_id"], password_hash, replaced_hash=user["password_hash"])
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


def change_password(
    user: Document,
    *,
    current_password: str,
    new_password: str,
    session_id: str,
    session_lifetime: timedelta,
    bcrypt_rounds: int,
    is_limited: bool,
) -> None:
    """Give the user a new password and end all their sessions but this one.

    Raises InvalidCredentials, also when another change was faster, and TooManyAttempts.
    """
    holder = attempts.session_holder(user["_id"])
    if is_limited:
        attempts.admit([holder])
    if not passwords.matches(current_password, user["password_hash"]):
        attempts.record_failure([holder])
        raise InvalidCredentials("The current password is wrong.")
    password_hash = passwords.hash_password(new_password, bcrypt_rounds)

    def block(session: ClientSession) -> None:
        changed = repository.replace_password(user["_id"], password_hash, session, replaced_hash=user["password_hash"])
        if changed is None:
            raise InvalidCredentials("The current password is wrong.")
        _end_sessions(changed, session, lifetime=session_lifetime, spared=session_id)
        outbox.insert([messages.password_changed(changed, whole_milliseconds(datetime.now(UTC)))], session)

    mongo.atomically(block)
    _forget_guesses(user)


def forget_password(email: str, *, secret: str) -> None:
    """Mail the user of this address a token that resets their password once; the one before is void.

    Does the same work for an address that is nobody's, so that the time tells nothing either.
    """
    seed = secrets.token_urlsafe(RESET_TOKEN_BYTES)
    now = whole_milliseconds(datetime.now(UTC))
    expires_at = now + RESET_TOKEN_LIFETIME
    user = repository.find_user_by_email(email)

    def block(session: ClientSession) -> None:
        put = functools.partial(repository.put_reset, expires_at=expires_at, session=session)
        token_hash = _token_hash(reset_token(seed, secret=secret))
        put(_reset_id(email), token_hash=token_hash, user_id=user["_id"] if user else None)
        if user is not None:
            outbox.insert([messages.password_reset(user, seed, at=now, expires_at=expires_at)], session)
        else:
            put(f"no mail to {_reset_id(email)}", token_hash=_token_hash(seed), user_id=None)

    mongo.atomically(block)


def reset_token(seed: str, *, secret: str) -> str:
    """Return the token that a mail brings, made of the seed in its outbox message and the bank's own secret.

    So the database has the token's hash and never the token: who reads the outbox can reset no password.
    """
    mac = hmac.digest(secret.encode(), f"password-reset:{seed}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def reset_password(*, token: str, new_password: str, session_lifetime: timedelta, bcrypt_rounds: int) -> None:
    """Give the user to whom the token was mailed a new password and end all their sessions.

    Raises ResetTokenInvalid. Of two resets with one token, one succeeds.
    """
    token_hash = _token_hash(token)
    # Asked before the slow hash, so that made-up tokens cost nothing; decided in the block.
    if repository.find_reset(token_hash, datetime.now(UTC)) is None:
        raise ResetTokenInvalid
    password_hash = passwords.hash_password(new_password, bcrypt_rounds)

    def block(session: ClientSession) -> Document:
        reset = repository.take_reset(token_hash, datetime.now(UTC), session)
        user = repository.replace_password(reset["user"], password_hash, session) if reset else None
        if user is None:
            raise ResetTokenInvalid
        _end_sessions(user, session, lifetime=session_lifetime, spared=None)
        outbox.insert([messages.password_changed(user, whole_milliseconds(datetime.now(UTC)))], session)
        return user

    user = mongo.atomically(block)
    _forget_guesses(user)


def name_key(name: str) -> str:
    """Return the name as a search compares it: without regard to case, width and the like."""
    return unicodedata.normalize("NFKC", name).casefold()[:NAME_KEY_LENGTH_MAX]


def reads_everything(user_id: ObjectId) -> bool:
    """Tell whether the user has a role now that may read what belongs to others, whatever a token was issued for."""
    user = repository.find_user(user_id)
    return user is not None and user["role"] in (Role.ADMIN, Role.SYSTEM)


def end_session(session_id: str, *, lifetime: timedelta) -> None:
    """Revoke every token of the session, in every process at once. `lifetime` is that of its longest token."""
    repository.insert_revocation(session_id, _margined(datetime.now(UTC) + lifetime))


def spend_refresh_token(token_id: str, *, expires_at: datetime, session_id: str, session_lifetime: timedelta) -> None:
    """Use up a refresh token.

    Raises TokenRevoked, and ends the session, if the token was spent before: somebody
    has a copy, and nobody can tell which of the two is the owner. Of two requests with one
    token at the same moment one is the first and the other the reuse.
    """
    try:
        repository.insert_spent_token(token_id, _margined(expires_at))
    except DuplicateKeyError:
        end_session(session_id, lifetime=session_lifetime)
        raise TokenRevoked("The refresh token was used before. The session has ended; log in again.") from None


def recipients(ids: Collection[ObjectId]) -> dict[ObjectId, Recipient]:
    """Return who those of the users are that exist, for writing to them."""
    return {user["_id"]: Recipient(user["name"], user["email"]) for user in repository.find_users(ids)}


def cut_off_id(user_id: str) -> str:
    """Return the id of the blocklist row that ends a user's sessions."""
    return f"user:{user_id}"


def is_cut_off(row: Mapping[str, Any], *, generation: int, session_id: str) -> bool:
    """Tell whether a cut-off row ends the session.

    A session is of the generation that its user was in when the password was checked,
    read in one document with the hash. So a login with the old password, however it races
    with the change, makes a session that has ended. No clock is involved.
    """
    return bool(generation < row["generation"] and session_id != row["spared"])


def _end_sessions(user: Document, session: ClientSession, *, lifetime: timedelta, spared: str | None) -> None:
    repository.put_cut_off(
        cut_off_id(str(user["_id"])),
        generation=user["session_generation"],
        spared=spared,
        expires_at=_margined(datetime.now(UTC) + lifetime),
        session=session,
    )
    # A reset that is still on its way was asked for by whoever had the old password or the mailbox then.
    repository.delete_reset(_reset_id(user["email"]), session)


def _forget_guesses(user: Document) -> None:
    for target in (attempts.account(user["email"]), attempts.session_holder(user["_id"])):
        attempts.forget(target)


def _record_guessing(email: str, act: Act) -> None:
    # Some people type their password where the address belongs, and attackers what would act on an operator's screen.
    # What is no address is not kept.
    if not (_ADDRESS.fullmatch(email) and email.isprintable()):
        return
    after = {"failures": str(attempts.ALARM_FAILURES)}
    at = whole_milliseconds(datetime.now(UTC))
    record = audit_record(act, "login_failures", email, at=at, before=None, after=after)
    mongo.atomically(lambda session: insert_audit_records([record], session))


def _reset_id(email: str) -> str:
    return hashlib.sha256(email.encode()).hexdigest()


def _token_hash(token: str) -> str:
    # The token is 256 random bits, so a fast hash keeps it as well as a slow one would.
    return hashlib.sha256(token.encode()).hexdigest()


def _margined(expires_at: datetime) -> datetime:
    return expires_at + REVOCATION_MARGIN
