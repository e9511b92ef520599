"""Sessions: how they end, one by one or all of a user's.

A row on the blocklist ends a session in every process at once. It is kept until the last token
that it stands for has expired by itself.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo.client_session import ClientSession
from pymongo.errors import DuplicateKeyError

from app.auth import repository
from app.errors import TokenRevoked
from app.mongo import Document

# A blocklist row outlives the tokens it stands for by what the clocks of several hosts, and a token that is made
# while its session ends, may differ.
REVOCATION_MARGIN = timedelta(minutes=2)


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


def end_sessions_of(user: Document, session: ClientSession, *, lifetime: timedelta, spared: str | None) -> None:
    """End all sessions of the generations before the user's present one, but for the `spared` one."""
    repository.put_cut_off(
        cut_off_id(str(user["_id"])),
        generation=user["session_generation"],
        spared=spared,
        expires_at=_margined(datetime.now(UTC) + lifetime),
        session=session,
    )


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
