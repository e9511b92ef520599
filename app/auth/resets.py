"""Password resets: a token by mail, which sets a new password once."""

import base64
import functools
import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta

from pymongo.client_session import ClientSession

from app import clock, mongo
from app.auth import attempts, passwords, repository, sessions
from app.errors import ResetTokenInvalid
from app.mongo import Document
from app.outbox import messages
from app.outbox import repository as outbox
from app.policies import AuthPolicy

TOKEN_BYTES = 32
TOKEN_LIFETIME = timedelta(minutes=30)


def forget_password(email: str, *, policy: AuthPolicy) -> None:
    """Mail the user of this address a token that resets their password once; the one before is void.

    Does the same work for an address that is nobody's, so that the time tells nothing either.
    """
    seed = secrets.token_urlsafe(TOKEN_BYTES)
    now = clock.now()
    expires_at = now + TOKEN_LIFETIME
    user = repository.find_user_by_email(email)

    def block(session: ClientSession) -> None:
        put = functools.partial(repository.put_reset, expires_at=expires_at, session=session)
        token_hash = _token_hash(reset_token(seed, policy=policy))
        put(_reset_id(email), token_hash=token_hash, user_id=user["_id"] if user else None)
        if user is not None:
            outbox.insert([messages.password_reset(user, seed, at=now, expires_at=expires_at)], session)
        else:
            put(f"no mail to {_reset_id(email)}", token_hash=_token_hash(seed), user_id=None)

    mongo.atomically(block)


def reset_token(seed: str, *, policy: AuthPolicy) -> str:
    """Return the token that a mail brings, made of the seed in its outbox message and the bank's own secret.

    So the database has the token's hash and never the token: who reads the outbox can reset no password.
    """
    mac = hmac.digest(policy.secret.encode(), f"password-reset:{seed}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def reset_password(*, token: str, new_password: str, policy: AuthPolicy) -> None:
    """Give the user to whom the token was mailed a new password and end all their sessions.

    Raises ResetTokenInvalid. Of two resets with one token, one succeeds.
    """
    token_hash = _token_hash(token)
    # Asked before the slow hash, so that made-up tokens cost nothing; decided in the block.
    if repository.find_reset(token_hash, datetime.now(UTC)) is None:
        raise ResetTokenInvalid
    password_hash = passwords.hash_password(new_password, policy.bcrypt_rounds)

    def block(session: ClientSession) -> Document:
        reset = repository.take_reset(token_hash, datetime.now(UTC), session)
        user = repository.replace_password(reset["user"], password_hash, session) if reset else None
        if user is None:
            raise ResetTokenInvalid
        sessions.end_sessions_of(user, session, lifetime=policy.refresh_lifetime, spared=None)
        void_reset(user["email"], session)
        outbox.insert([messages.password_changed(user, clock.now())], session)
        return user

    user = mongo.atomically(block)
    attempts.forget_user(user)


def void_reset(email: str, session: ClientSession) -> None:
    """Void the reset that is under way: it was asked for by whoever had the old password or the mailbox then."""
    repository.delete_reset(_reset_id(email), session)


def _reset_id(email: str) -> str:
    return hashlib.sha256(email.encode()).hexdigest()


def _token_hash(token: str) -> str:
    # The token is 256 random bits, so a fast hash keeps it as well as a slow one would.
    return hashlib.sha256(token.encode()).hexdigest()
