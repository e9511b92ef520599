"""Cursors: what they contain, and which are refused."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId
from flask import Flask
from marshmallow import ValidationError

from app.errors import InvalidCursor
from app.http.paging import PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX, PageSchema, fetch_ahead, read_page
from app.mongo.lists import behind

ITEMS = list(range(100, 0, -1))
ACCOUNT = ObjectId()


@pytest.fixture(autouse=True)
def application() -> Iterator[Flask]:
    app = Flask(__name__)
    app.config["SECRETS"] = ("the key of this test alone, long enough",)
    with app.app_context():
        yield app


def page_of(limit: int = 10, cursor: str | None = None, **filters: Any) -> dict[str, Any]:
    page, _ = read_page("numbers", {"limit": limit, "cursor": cursor, **filters}, account=ACCOUNT)
    beyond = (item for item in ITEMS if page.after is None or item < page.after)
    return page.answer("numbers", beyond, position=lambda number: number)


def test_following_the_cursors_shows_every_item_once() -> None:
    seen, cursor = [], None
    while True:
        page = page_of(7, cursor)
        seen += page["numbers"]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert seen == ITEMS


def test_a_last_page_that_is_just_full_has_no_cursor() -> None:
    assert page_of(100)["next_cursor"] is None
    assert page_of(99)["next_cursor"] is not None


def test_an_empty_list_is_an_empty_page() -> None:
    page, _ = read_page("numbers", {"limit": 5})
    assert page.answer("numbers", iter([]), position=id) == {"numbers": [], "next_cursor": None}


def test_the_limit_may_change_on_the_way() -> None:
    assert page_of(3, page_of(10)["next_cursor"])["numbers"] == [90, 89, 88]


@pytest.mark.parametrize("position", [ObjectId(), 2**62, "text", [datetime(2026, 11, 22, tzinfo=UTC), ObjectId()]])
def test_a_position_comes_back_as_it_was(position: Any) -> None:
    first, _ = read_page("any", {"limit": 1})
    cursor = first.answer("items", ["a", "b"], position=lambda _: position)["next_cursor"]

    assert read_page("any", {"limit": 1, "cursor": cursor})[0].after == position


def test_a_cursor_of_before_the_key_was_changed_is_read(application: Flask) -> None:
    cursor = page_of()["next_cursor"]
    application.config["SECRETS"] = ("the present key, which is long enough", *application.config["SECRETS"])
    assert page_of(cursor=cursor)["numbers"][0] == 90


def test_a_cursor_changed_in_any_one_place_is_refused() -> None:
    cursor = page_of()["next_cursor"]

    for at, character in enumerate(cursor):
        changed = cursor[:at] + ("A" if character != "A" else "B") + cursor[at + 1 :]
        with pytest.raises(InvalidCursor):
            page_of(cursor=changed)
    with pytest.raises(InvalidCursor):
        page_of(cursor=cursor + "=")


@pytest.mark.parametrize("forged", ["", "A", "AAAA", "A" * 80, "A" * 5_000, "not base64!", "é", "====", "\x00"])
def test_what_was_never_a_cursor_is_refused(forged: str) -> None:
    with pytest.raises(InvalidCursor):
        page_of(cursor=forged)


def test_a_cursor_belongs_to_its_list_its_filters_and_its_scope() -> None:
    cursor = page_of()["next_cursor"]

    with pytest.raises(InvalidCursor):
        page_of(cursor=cursor, status="FAILED")
    with pytest.raises(InvalidCursor):
        read_page("letters", {"limit": 10, "cursor": cursor}, account=ACCOUNT)
    with pytest.raises(InvalidCursor):
        read_page("numbers", {"limit": 10, "cursor": cursor}, account=ObjectId())


def test_a_position_of_a_list_that_was_ordered_by_ids_alone_is_refused() -> None:
    with pytest.raises(InvalidCursor):
        behind("created_at", ObjectId())  # type: ignore[arg-type] # as a cursor of an earlier version has it


@pytest.mark.parametrize("limit", ["0", "201", "-1", "+1", "1.0", "1e1", "1_0", " 5", "٥", "", "all", "9" * 5_000])
def test_only_one_to_two_hundred_is_a_limit(limit: str) -> None:
    with pytest.raises(ValidationError):
        PageSchema().load({"limit": limit})


def test_without_a_limit_a_page_has_the_default_size() -> None:
    assert PageSchema().load({}) == {"limit": PAGE_LIMIT_DEFAULT}
    assert PageSchema().load({"limit": str(PAGE_LIMIT_MAX)}) == {"limit": PAGE_LIMIT_MAX}


@pytest.mark.parametrize(
    "limit", ["", "0", "1", "7", "007", "200", "201", "0001", "-1", "+7", "7.0", "1_0", "٣", " 7", "x"]
)
def test_what_a_page_fetches_is_known_from_a_query_that_was_not_checked_yet(limit: str) -> None:
    ahead = fetch_ahead({"account": "x", "limit": limit}, besides="account")

    if ahead is not None:
        page, _ = read_page("numbers", PageSchema().load({"limit": limit}))
        assert ahead == page.fetch
    assert (ahead is not None) == (limit in ("1", "7", "007", "0001", "200"))


def test_only_the_first_page_without_filters_is_read_ahead() -> None:
    assert fetch_ahead({"account": "x"}, besides="account") == fetch_ahead({}, besides="account") == 51
    assert fetch_ahead({"account": "x", "cursor": "y"}, besides="account") is None
    assert fetch_ahead({"account": "x", "status": "FAILED"}, besides="account") is None
