"""Events as their readers see them."""

from collections.abc import Iterator
from typing import Any

from tests.people import Caller


def events(person: Caller, **query: Any) -> list[dict[str, Any]]:
    """Return all of the person's events, page by page."""
    return list(walk(person, **query))


def walk(person: Caller, after: str = "", **query: Any) -> Iterator[dict[str, Any]]:
    while True:
        page = read(person, after=after, **query)
        yield from page["events"]
        after = page["nextAfter"]
        if not page["events"]:
            return


def read(person: Caller, **query: object) -> dict[str, Any]:
    said = "&".join(f"{name}={value}" for name, value in query.items() if value != "")
    answer = person.get(f"/api/events?{said}" if said else "/api/events")
    assert answer.status == 200, answer.content
    page: dict[str, Any] = answer.body
    return page


def types(person: Caller, **query: Any) -> list[str]:
    return [event["type"] for event in events(person, **query)]
