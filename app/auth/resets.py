"""Password resets: a token comes by mail and sets a new password once."""

import base64
import functools
import hashlib
import hmac
import secrets
from datetime import timedelta

from pymongo.client_session import ClientSession

from app import clock, mongo
from app.auth import attempts, passwords, repository, sessions
from app.errors import ResetTokenInvalid
from app.mongo import Document
from app.outbox import messages
from app.outbox import repository as outbox
from app.settings.policies import AuthPolicy

TOKEN_BYTES = 32
TOKEN_LIFETIME = timedelta(minutes=30)
# No other token is mailed until the last one is this old. So nobody can flood a mailbox, and every user who asks has a
# token that is valid for at least another 20 minutes.
TOKEN_YOUTH = timedelta(minutes=10)


def forget_password(email: str, *, policy: AuthPolicy) -> None:
    """Mail the user with this address a token that resets their password once, unless one was mailed recently.

    Earlier tokens stay valid until they expire, so nobody can void the owner's token by asking for another. An address
    without a user costs the same work, so the time does not tell who is registered.
    """
    seed = secrets.token_urlsafe(TOKEN_BYTES)
    now = clock.now()
    expires_at = now + TOKEN_LIFETIME
    user = repository.find_user_by_email(email)

    token_hash = _token_hash(_reset_token(seed, policy.secret))

    def block(session: ClientSession) -> None:
        reset_id = _reset_id(email)
        if repository.is_reset_there(reset_id, now, session):
            return
        # The row with the address's own id records that a token was mailed recently. Two requests at the same moment
        # both write it, so MongoDB makes one of them run again and find it.
        put = functools.partial(repository.put_reset, session=session)
        put(reset_id, token_hash=_token_hash(f"young {seed}"), user_id=None, expires_at=now + TOKEN_YOUTH)
        put = functools.partial(put, expires_at=expires_at + clock.LEEWAY)
        put(f"{reset_id}:{token_hash}", token_hash=token_hash, user_id=user["_id"] if user else None)
        if user is not None:
            outbox.insert([messages.password_reset(user, seed, at=now, expires_at=expires_at)], session)
        else:
            put(f"{reset_id}:no mail", token_hash=_token_hash(seed), user_id=None)

    mongo.atomically(block)


def reset_token(seed: str, *, policy: AuthPolicy) -> str:
    """Return the token for a mail, computed from the seed in its outbox message and the bank's secret.

    So the database has the token's hash but never the token, and reading the outbox is not enough to reset a password.
    A token that was asked for before the secret was changed is computed with the previous one.
    """
    current, *previous = (_reset_token(seed, secret) for secret in policy.secrets)
    known = (token for token in previous if repository.find_reset(_token_hash(token), clock.now()) is not None)
    return next(known, current)


def _reset_token(seed: str, secret: str) -> str:
    mac = hmac.digest(secret.encode(), f"password-reset:{seed}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def reset_password(*, token: str, new_password: str, policy: AuthPolicy, network: str | None) -> None:
    """Set a new password for the user to whom the token was mailed, and end all their sessions.

    `network` is the client's. Afterwards it counts as one from which the user has come.
    Raises ResetTokenInvalid. Of two resets with one token, one succeeds.
    """
    token_hash = _token_hash(token.strip())
    # Looked up before the slow hash, so that an invented token costs little. The block below decides.
    if repository.find_reset(token_hash, clock.now()) is None:
        raise ResetTokenInvalid
    password_hash = passwords.hash_password(new_password, policy.bcrypt_rounds)

    def block(session: ClientSession) -> Document:
        reset = repository.take_reset(token_hash, clock.now(), session)
        user = repository.replace_password(reset["user"], password_hash, session, spared=None) if reset else None
        if user is None:
            raise ResetTokenInvalid
        sessions.end_sessions_of(user, session)
        void_reset(user["email"], session)
        outbox.insert([messages.password_changed(user, clock.now())], session)
        return user

    user = mongo.atomically(block)
    attempts.forget_user(user, network=network)


def void_reset(email: str, session: ClientSession) -> None:
    """Void all tokens mailed to this address, because somebody else may have asked for them before the change."""
    repository.delete_resets(_reset_id(email), session)


def _reset_id(email: str) -> str:
    return hashlib.sha256(email.encode()).hexdigest()


def _token_hash(token: str) -> str:
    # The token has 256 random bits, so a fast hash is as safe as a slow one.
    return hashlib.sha256(token.encode()).hexdigest()
