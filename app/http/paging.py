"""The one way to page through a list: a limit, and an opaque cursor that says where the previous page ended.

The query seeks to that position in the index that orders the list, so every page costs the same. A signature
binds a cursor to its list and its filters: a cursor that was changed, forged or made for another list is refused.
A cursor is no secret and grants nothing, because the query still decides who sees what.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import bson
import orjson
from bson import CodecOptions
from itsdangerous import BadData, URLSafeSerializer
from marshmallow import ValidationError, fields, missing, validate

from app.errors import InvalidCursor, ValidationFailed
from app.fields import CamelSchema
from app.http.incoming import application

PAGE_LIMIT_DEFAULT = 50
PAGE_LIMIT_MAX = 200
CURSOR_LENGTH_MAX = 1_000
EXAMPLE_CURSOR = "GQAAAAcAZWCh.vQ8bX2mJ0rT5yLk3nZs7"
# Every call that pages may be refused with these.
PAGE_PROBLEMS = (InvalidCursor, ValidationFailed)

# Checked here because the library ignores other characters, as base64 decoders do.
_CURSOR = re.compile(rf"[A-Za-z0-9._-]{{1,{CURSOR_LENGTH_MAX}}}")
_PURPOSE = b"fincore: page cursor"
_CODEC: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)

Item = TypeVar("Item")


class Count(fields.Integer):
    """A number in the query, from `least` to `most`."""

    def __init__(self, least: int, most: int, *, default: int, error: str = "From {min} to {max}.") -> None:
        super().__init__(
            load_default=default,
            validate=validate.Range(least, most, error=error),
            allow_none=False,
            metadata={"format": "int32"},
        )

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        # int() would take "1_0", " 10" and digits of other scripts too.
        if not (isinstance(value, str) and value.isascii() and value.isdigit()):
            raise self.make_error("invalid", input=value)
        count: int = super()._deserialize(value, attr, data, **kwargs)
        return count


class Limit(Count):
    """The largest number of items on a page."""

    def __init__(self) -> None:
        error = "A page has {min} to {max} items."
        super().__init__(1, PAGE_LIMIT_MAX, default=PAGE_LIMIT_DEFAULT, error=error)


_LIMIT = Limit()


class PageSchema(CamelSchema):
    """The query of a list. A list with filters adds its own."""

    limit = Limit()
    cursor = fields.String(
        metadata={
            "description": "`nextCursor` of the previous page, with the same filters. None: the first page. A page "
            "looks at 50,000 items at most. If a filter rejects that many, the page has fewer items than asked for, "
            "perhaps none, and a `nextCursor`. The list ends only where `nextCursor` is null."
        }
    )


@dataclass(frozen=True, slots=True)
class Page:
    """The page of a list that a client asks for.

    `after` is the position of the previous page's last item, or None on the first page.
    A query returns up to `fetch` items after it. That is one more than the page holds,
    which shows whether there is a next page.
    """

    limit: int
    after: Any
    scope: bytes

    @property
    def fetch(self) -> int:
        return self.limit + 1

    def answer(
        self, name: str, items: Iterable[Item], position: Callable[[Item], Any], *, stop: Any = None
    ) -> dict[str, Any]:
        """Return {name: the page's items, "next_cursor": …}. `position` returns an item's position in the list.

        A position is the value that the query seeks by: an id, a number, a time, a text, or a list of these. `stop` is
        the position at which the query stopped searching, if that was before the end of the list.
        """
        found = list(islice(items, self.fetch))
        shown = found[: self.limit]
        after = position(shown[-1]) if len(found) > self.limit else stop
        return {name: shown, "next_cursor": None if after is None else _cursor(after, self.scope)}


def write_place(place: Any, list_name: str, **scope: Any) -> str:
    """Return an opaque text for a place in a list. Clients may continue there, with any filters."""
    return _cursor(place, orjson.dumps([list_name, scope], default=str, option=orjson.OPT_SORT_KEYS))


def read_place(text: str, list_name: str, **scope: Any) -> Any:
    """Return the place that `write_place` wrote for this list; raises InvalidCursor."""
    return _position(text, orjson.dumps([list_name, scope], default=str, option=orjson.OPT_SORT_KEYS))


def read_page(list_name: str, query: Mapping[str, Any], **scope: Any) -> tuple[Page, dict[str, Any]]:
    """Return the page that a loaded `PageSchema` asks for, and the query's filters.

    `list_name` distinguishes this list from all others. `scope` has what else the list depends on,
    such as the account. Raises InvalidCursor.
    """
    filters = {name: value for name, value in query.items() if name not in ("limit", "cursor")}
    bound = orjson.dumps([list_name, filters, scope], default=str, option=orjson.OPT_SORT_KEYS)
    cursor = query.get("cursor")
    after = None if cursor is None else _position(cursor, bound)
    return Page(query["limit"], after, bound), filters


def fetch_ahead(query: Mapping[str, str], *, besides: str) -> int | None:
    """Return `Page.fetch` of a first page without filters, from a query that was not checked yet; otherwise None.

    The query may name what is listed, by the name `besides`.
    """
    if not query.keys() <= {"limit", besides}:
        return None
    try:
        limit: int = _LIMIT.deserialize(query.get("limit", missing))
    except ValidationError:
        return None
    return Page(limit, None, b"").fetch


def _cursor(position: Any, scope: bytes) -> str:
    cursor = _serializer(scope).dumps({"": position})
    return cursor if isinstance(cursor, str) else cursor.decode()


def _position(cursor: str, scope: bytes) -> Any:
    try:
        if not _CURSOR.fullmatch(cursor):
            raise InvalidCursor
        return _serializer(scope).loads(cursor)[""]
    except BadData:
        raise InvalidCursor from None


class _Bson:
    """Positions are in BSON, because BSON has ids and times."""

    @staticmethod
    def dumps(value: dict[str, Any]) -> bytes:
        return bson.encode(value)

    @staticmethod
    def loads(payload: bytes) -> dict[str, Any]:
        return bson.decode(payload, codec_options=_CODEC)


def _serializer(scope: bytes) -> URLSafeSerializer:
    # The 48 bytes of SHA-384 fill base64 without spare bits, so each cursor has only one spelling.
    signing = {"key_derivation": "hmac", "digest_method": hashlib.sha384}
    # The last secret signs.
    secrets = list(reversed(application().config["SECRETS"]))
    return URLSafeSerializer(secrets, salt=_PURPOSE + scope, serializer=_Bson, signer_kwargs=signing)
