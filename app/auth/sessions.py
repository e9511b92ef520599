"""Sessions: how they end, one by one or all of a user's.

A row on the blocklist ends a session in every process at once. It is kept until the last token
that it stands for has expired by itself, by the lifetime that the token was issued with.
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
from app.policies import REFRESH_LIFETIME_MAX

# A blocklist row outlives the tokens it stands for by what the clocks of several hosts, and a token that is made
# while its session ends, may differ.
REVOCATION_MARGIN = timedelta(minutes=2)
# Two tabs, or a lost answer that is asked for again, use one refresh token twice within a moment.
REFRESH_GRACE = timedelta(seconds=10)


def end_session(session_id: str, *, lifetime: timedelta) -> None:
    """Revoke every token of the session, in every process at once. `lifetime` is that of its longest token."""
    repository.insert_revocation(session_id, _margined(clock.now() + lifetime))


def end_all_sessions(user_id: ObjectId) -> None:
    """Revoke every token that the user has, in every process at once."""

    def block(session: ClientSession) -> None:
        ended = repository.begin_generation(user_id, session)
        if ended is not None:
            end_sessions_of(ended, session)

    mongo.atomically(block)


def spend_refresh_token(
    token_id: str, *, expires_at: datetime, session_id: str, session_lifetime: timedelta
) -> tuple[datetime, timedelta]:
    """Use up a refresh token; return when it was first used and how long ago that is, by the database's clock.

    Raises TokenRevoked, and ends the session, if it was used more than REFRESH_GRACE ago:
    somebody has a copy, and nobody can tell which of the two is the owner.
    """
    spent = repository.spend_token(token_id, _margined(expires_at))
    spent_at: datetime = spent["spent_at"]
    age: timedelta = spent["asked_at"] - spent_at
    if age > REFRESH_GRACE:
        end_session(session_id, lifetime=session_lifetime)
        raise TokenRevoked("The refresh token was used before. The session has ended; log in again.")
    return spent_at, age


def end_sessions_of(user: Document, session: ClientSession) -> None:
    """End all sessions of the generations before the user's present one, but for the one that the user spares."""
    repository.put_cut_off(
        cut_off_id(str(user["_id"])),
        generation=user["session_generation"],
        spared=user["spared_session"],
        # One row a user, so it can be kept for as long as a token may ever have been issued for.
        expires_at=_margined(clock.now() + REFRESH_LIFETIME_MAX),
        session=session,
    )


def has_ended(user: Document, *, generation: int, session_id: str) -> bool:
    """Tell whether the user's own generation has ended the session, whatever is left on the blocklist."""
    present = {"generation": user.get("session_generation", 0), "spared": user.get("spared_session")}
    return is_cut_off(present, generation=generation, session_id=session_id)


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


def _margined(expires_at: datetime) -> datetime:
    return expires_at + REVOCATION_MARGIN
