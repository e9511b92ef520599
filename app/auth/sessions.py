"""How sessions end: one session, or all sessions of a user.

A row on the blocklist ends a session in every process at once. The row is kept until the session's last
token has expired, by the lifetime with which that token was issued.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo.client_session import ClientSession

from app import clock, mongo
from app.auth import repository
from app.errors import TokenRevoked
from app.mongo import Document
from app.settings.policies import REFRESH_LIFETIME_MAX

# A blocklist row is kept this much longer than the tokens it revokes, because hosts' clocks differ and a token may be
# issued while its session ends.
REVOCATION_MARGIN = timedelta(minutes=2)
# A refresh token may be used again for this long, because two tabs may refresh at once, or a client may retry after a
# lost answer.
REFRESH_GRACE = timedelta(seconds=10)


def end_session(session_id: str, *, lifetime: timedelta) -> None:
    """Revoke every token of the session, in every process at once. No token of it is valid longer than `lifetime`."""
    repository.insert_revocation(session_id, _margined(clock.now() + lifetime))


def end_all_sessions(user_id: ObjectId) -> None:
    """Revoke every token of the user, in every process at once."""

    def block(session: ClientSession) -> None:
        ended = repository.begin_generation(user_id, session)
        if ended is not None:
            end_sessions_of(ended, session)

    mongo.atomically(block)


def spend_refresh_token(
    token_id: str, *, expires_at: datetime, session_id: str, session_lifetime: timedelta
) -> tuple[datetime, timedelta]:
    """Spend a refresh token; return when it was first used and how long ago that is, by the database's clock.

    If it was first used more than REFRESH_GRACE ago, this ends the session and raises TokenRevoked:
    somebody has a copy of the token, and nobody can tell which of the two is the owner.
    """
    spent = repository.spend_token(token_id, _margined(expires_at))
    spent_at: datetime = spent["spent_at"]
    age: timedelta = spent["asked_at"] - spent_at
    if age > REFRESH_GRACE:
        end_session(session_id, lifetime=session_lifetime)
        raise TokenRevoked("The refresh token was used before. The session has ended; log in again.")
    return spent_at, age


def end_sessions_of(user: Document, session: ClientSession) -> None:
    """End all sessions of earlier generations than the user's present one, except the user's spared session."""
    repository.put_cut_off(
        cut_off_id(str(user["_id"])),
        generation=user["session_generation"],
        spared=user["spared_session"],
        # There is one row per user, so keeping it for the longest lifetime that a token may have costs little.
        expires_at=_margined(clock.now() + REFRESH_LIFETIME_MAX),
        session=session,
    )


def has_ended(user: Document, *, generation: int, session_id: str) -> bool:
    """Tell by the user's own document whether the session has ended. This needs no row on the blocklist."""
    present = {"generation": user.get("session_generation", 0), "spared": user.get("spared_session")}
    return is_cut_off(present, generation=generation, session_id=session_id)


def cut_off_id(user_id: str) -> str:
    """Return the id of the cut-off row: the blocklist row that ends a user's sessions."""
    return f"user:{user_id}"


def is_cut_off(row: Mapping[str, Any], *, generation: int, session_id: str) -> bool:
    """Tell whether a cut-off row ends the session.

    A session has the generation that its user had when the password was checked, and both are read
    in one document. So a login with the old password that races with a change of the password makes
    a session that has already ended. No clock is involved.
    """
    return bool(generation < row["generation"] and session_id != row["spared"])


def _margined(expires_at: datetime) -> datetime:
    return expires_at + REVOCATION_MARGIN
