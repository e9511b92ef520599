"""The roles, and what each may do."""

from collections.abc import Collection
from enum import StrEnum

from bson import ObjectId
from pymongo.client_session import ClientSession

from app.auth import repository
from app.mongo import together


class Role(StrEnum):
    USER = "USER"
    ADMIN = "ADMIN"
    SYSTEM = "SYSTEM"


# The roles that may do what ordinary users may not.
MAY_READ_EVERYTHING = (Role.ADMIN, Role.SYSTEM)
MAY_ADMINISTER = (Role.ADMIN, Role.SYSTEM)
MAY_REVERSE = (Role.ADMIN, Role.SYSTEM)
MAY_FUND = (Role.SYSTEM,)
MAY_SETTLE_ANY_HOLD = (Role.SYSTEM,)
MAY_CHANGE_ROLES = (Role.SYSTEM,)


def roles_of(user_ids: Collection[ObjectId], session: ClientSession) -> dict[ObjectId, str]:
    """Return the users' roles as an atomic block sees them."""
    return repository.find_roles(user_ids, session)


def role_ahead(user_id: ObjectId) -> list[together.Key]:
    """Return the key of what `reads_everything` reads."""
    return repository.user_ahead(user_id)


def reads_everything(user_id: ObjectId) -> bool:
    """Tell whether the user's present role allows reading what belongs to others."""
    user = repository.find_user(user_id)
    return user is not None and user["role"] in MAY_READ_EVERYTHING
