"""What a journey is made of: requests, each with what has to be answered."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """One request of the journey.

    `token` names the variable with the bearer token; None: the call is open. `keeps` maps variables to where their
    values are in the answer, as JavaScript. `checks` are further conditions in JavaScript; `body` is the answer there.
    """

    name: str
    operation: str
    status: int
    body: Any = None
    token: str | None = "token"
    path: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    keeps: dict[str, str] = field(default_factory=dict)
    checks: tuple[str, ...] = ()
    # Whether a new key is made before the request. A repeat has the key of the request before.
    new_key: bool = True


def is_(member: str, value: str) -> str:
    return f'body.{member} === "{value}"'


def code(code: str) -> tuple[str, ...]:
    return (is_("code", code),)
