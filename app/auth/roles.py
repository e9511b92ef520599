"""Roles, and all that is reserved for them."""

from collections.abc import Collection
from enum import StrEnum

from bson import ObjectId
from pymongo.client_session import ClientSession

from app.auth import repository


class Role(StrEnum):
    USER = "USER"
    ADMIN = "ADMIN"
    SYSTEM = "SYSTEM"


# The roles that may do what is not everybody's to do.
MAY_READ_EVERYTHING = (Role.ADMIN, Role.SYSTEM)
MAY_ADMINISTER = (Role.ADMIN, Role.SYSTEM)
MAY_REVERSE = (Role.ADMIN, Role.SYSTEM)
MAY_FUND = (Role.SYSTEM,)
MAY_SETTLE_ANY_HOLD = (Role.SYSTEM,)
MAY_CHANGE_ROLES = (Role.SYSTEM,)


def roles_of(user_ids: Collection[ObjectId], session: ClientSession) -> dict[ObjectId, str]:
    """Return the users' roles as of an atomic block."""
    return repository.find_roles(user_ids, session)


def reads_everything(user_id: ObjectId) -> bool:
    """Tell whether the user may now read what belongs to others, whatever their token was issued for."""
    user = repository.find_user(user_id)
    return user is not None and user["role"] in MAY_READ_EVERYTHING
