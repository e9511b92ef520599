"""Acts: somebody doing something, and what it changed. The audit log keeps both."""

from collections.abc import Mapping
from dataclasses import dataclass

from bson import ObjectId


@dataclass(frozen=True, slots=True)
class Act:
    """Somebody doing something. `actor` is a user's id, or a name such as `cli:root` for who has no user."""

    actor: ObjectId | str
    reason: str | None = None
    request_id: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What an act changed. `before` and `after` hold the same names."""

    action: str
    subject: ObjectId
    before: Mapping[str, str]
    after: Mapping[str, str]
