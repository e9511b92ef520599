"""Acts and changes: who did something, and what it changed. The audit log keeps both."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from bson import ObjectId


@dataclass(frozen=True, slots=True)
class Act:
    """Who does something, why and from where. `actor` is a user's id, or a name such as `cli:root`.

    If `roles` is not empty, the actor must have one of them when the act takes effect. It is
    empty for acts on the actor's own things.
    """

    actor: ObjectId | str
    reason: str | None = None
    request_id: str | None = None
    address: str | None = None
    roles: frozenset[str] = frozenset()

    def by_right_of(self, roles: Iterable[str]) -> "Act":
        """Return a copy of the act that needs one of these roles."""
        return replace(self, roles=frozenset(roles))


@dataclass(frozen=True, slots=True)
class Change:
    """What an act changed: the values of the changed fields of `subject`, `before` and `after` it."""

    action: str
    subject: ObjectId
    before: Mapping[str, str]
    after: Mapping[str, str]
