"""The one way to page through a list: a limit, and an opaque cursor that says where the page before ended.

A page is found by seeking to that position in the index the list is ordered by, so
that it costs the same however deep it is. A cursor is bound to its list and to the
filters it was made with by a MAC; changed, forged or taken elsewhere it is refused.
It is no secret and grants nothing: the query still decides who sees what.
"""

import base64
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

import bson
import orjson
from bson import CodecOptions
from flask import current_app
from marshmallow import fields, validate

from app.errors import InvalidCursor, ValidationFailed
from app.fields import CamelSchema

PAGE_LIMIT_DEFAULT = 50
PAGE_LIMIT_MAX = 200
CURSOR_LENGTH_MAX = 1_000
# What any call that pages may be refused for.
PAGE_PROBLEMS = (InvalidCursor, ValidationFailed)

_VERSION = b"\x01"
_MAC_BYTES = 16
_KEY_PURPOSE = b"fincore: page cursor"
_CODEC: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)

Item = TypeVar("Item")


class Count(fields.Integer):
    """How many at most, as digits in the query."""

    def __init__(self, least: int, most: int, *, default: int, error: str = "From {min} to {max}.") -> None:
        super().__init__(load_default=default, validate=validate.Range(least, most, error=error), allow_none=False)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        # int() would take "1_0", " 10" and digits of other scripts too.
        if not (isinstance(value, str) and value.isascii() and value.isdigit()):
            raise self.make_error("invalid", input=value)
        count: int = super()._deserialize(value, attr, data, **kwargs)
        return count


class Limit(Count):
    """How many items a page has at most."""

    def __init__(self) -> None:
        error = "A page has {min} to {max} items."
        super().__init__(1, PAGE_LIMIT_MAX, default=PAGE_LIMIT_DEFAULT, error=error)


class PageSchema(CamelSchema):
    """The query of a list. A list with filters adds its own."""

    limit = Limit()
    cursor = fields.String(
        metadata={"description": "`nextCursor` of the page before, with the same filters. None: the first page."}
    )


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list was asked for.

    `after` is the position of the last item of the page before, or None on the first
    page. A query returns up to `fetch` items beyond it: one more than the page holds
    tells whether there is a next one.
    """

    limit: int
    after: Any
    scope: bytes

    @property
    def fetch(self) -> int:
        return self.limit + 1

    def answer(self, name: str, items: Iterable[Item], position: Callable[[Item], Any]) -> dict[str, Any]:
        """Return {name: the page's items, "next_cursor": …}; `position` tells where an item is in the list.

        A position is whatever the query seeks by: an id, a number, a time, a text, or a list of them.
        """
        found = list(islice(items, self.fetch))
        shown = found[: self.limit]
        more = len(found) > self.limit
        return {name: shown, "next_cursor": _cursor(position(shown[-1]), self.scope) if more else None}


def read_page(list_name: str, query: Mapping[str, Any], **scope: Any) -> tuple[Page, dict[str, Any]]:
    """Return the page that a loaded `PageSchema` asks for, and the query's filters.

    `list_name` tells this list from all others, `scope` what it is a list of beside
    its filters, such as the account. Raises InvalidCursor.
    """
    filters = {name: value for name, value in query.items() if name not in ("limit", "cursor")}
    bound = orjson.dumps([list_name, filters, scope], default=str, option=orjson.OPT_SORT_KEYS)
    cursor = query.get("cursor")
    after = None if cursor is None else _position(cursor, bound)
    return Page(query["limit"], after, bound), filters


def _cursor(position: Any, scope: bytes) -> str:
    message = _VERSION + bson.encode({"": position})
    return _text(_mac(message, scope) + message)


def _position(cursor: str, scope: bytes) -> Any:
    try:
        if len(cursor) > CURSOR_LENGTH_MAX:
            raise InvalidCursor
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise InvalidCursor from None
    mac, message = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    # base64 writes some bytes in several ways; only the one that `_cursor` writes is a cursor.
    if not hmac.compare_digest(mac, _mac(message, scope)) or message[:1] != _VERSION or _text(raw) != cursor:
        raise InvalidCursor
    # Only what `_cursor` made gets here.
    return bson.decode(message[1:], codec_options=_CODEC)[""]


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _mac(message: bytes, scope: bytes) -> bytes:
    key = hmac.digest(current_app.config["JWT_SECRET_KEY"].encode(), _KEY_PURPOSE, "sha256")
    # The message's length keeps it apart from the scope that follows.
    return hmac.digest(key, len(message).to_bytes(4, "big") + message + scope, "sha256")[:_MAC_BYTES]
