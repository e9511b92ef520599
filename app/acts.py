"""Acts: somebody doing something, and what it changed. The audit log keeps both."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from bson import ObjectId


@dataclass(frozen=True, slots=True)
class Act:
    """Somebody doing something. `actor` is a user's id, or a name such as `cli:root` for who has no user.

    `roles` are those of which the actor must have one at the moment when it is done; none
    for what is the actor's own affair.
    """

    actor: ObjectId | str
    reason: str | None = None
    request_id: str | None = None
    address: str | None = None
    roles: frozenset[str] = frozenset()

    def by_right_of(self, roles: Iterable[str]) -> "Act":
        """Return the act as one that takes one of these roles."""
        return replace(self, roles=frozenset(roles))


@dataclass(frozen=True, slots=True)
class Change:
    """What an act changed. `before` and `after` hold the same names."""

    action: str
    subject: ObjectId
    before: Mapping[str, str]
    after: Mapping[str, str]
