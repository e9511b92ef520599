"""Statements that clients send to be verified, and the answers."""

from typing import Any

from tests.people import Person

Statement = dict[str, Any]
SOUND = {"genuine": True, "complete": True, "joinedLater": 0, "unchecked": ["name"], "fault": None}


def verdict(person: Person, statement: Any) -> Statement:
    """Return the answer about the statement, which must be 200."""
    answer = person.post("/api/statements/verify", statement)
    assert answer.status == 200, answer.content
    body: Statement = answer.body
    return body
