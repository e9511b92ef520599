"""Ids and account numbers in paths, and the methods that a path has."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bson import ObjectId
from flask import Flask, Request, current_app
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.routing import BaseConverter

from app.account_numbers import AccountNumber, WrongCheckDigits
from app.errors import ValidationFailed
from app.fields import MALFORMED_ID, camel_case, read_account, read_id
from app.mongo import together

EXTENSION = "fincore-account-numbers"
ReadsAhead = Callable[..., Iterable[together.Key]]


@dataclass(frozen=True, slots=True)
class Numbers:
    """The functions that look account numbers up: `ids_of` finds the ids, `ahead` returns the keys of what it reads."""

    ids_of: Callable[[Collection[AccountNumber]], Mapping[AccountNumber, ObjectId]]
    ahead: Callable[[Collection[AccountNumber]], Iterable[together.Key]]


class IdConverter(BaseConverter):
    """An id in a path. Any other text becomes MALFORMED_ID, for which the route finds nothing."""

    def to_python(self, value: str) -> Any:
        return read_id(value) or MALFORMED_ID

    def to_url(self, value: Any) -> str:
        return str(value or MALFORMED_ID)


class AccountConverter(IdConverter):
    """An account in a path, by its id or its number. A number with wrong check digits becomes its own refusal.

    It is raised only after the caller was admitted, so that nobody learns more about this route than about others.
    """

    def to_python(self, value: str) -> Any:
        try:
            account = read_account(value)
        except WrongCheckDigits as error:
            return error
        return account or MALFORMED_ID


def register(app: Flask, numbers: Numbers) -> None:
    """Let the application's paths contain ids and account numbers."""
    app.extensions[EXTENSION] = numbers
    app.url_map.converters.update(id=IdConverter, account=AccountConverter)
    # Merging slashes would redirect to whatever host the client named.
    app.url_map.merge_slashes = False


def keys_ahead(ahead: ReadsAhead | None, user_id: ObjectId, path: Mapping[str, Any]) -> Iterable[together.Key]:
    """Return the keys of the first reads: the accounts that the path names by number, or what the route declares."""
    if any(isinstance(value, WrongCheckDigits) for value in path.values()):
        return ()
    numbers = [value for value in path.values() if isinstance(value, AccountNumber)]
    if numbers:
        registered: Numbers = current_app.extensions[EXTENSION]
        return registered.ahead(numbers)
    return () if ahead is None else ahead(user_id, **path)


def is_by_number(path: Mapping[str, Any]) -> bool:
    """Tell whether a path names an account by a number, right or wrong."""
    return any(isinstance(value, AccountNumber | WrongCheckDigits) for value in path.values())


def with_ids(path: Mapping[str, Any]) -> dict[str, Any]:
    """Return the path with ids in place of account numbers; raises ValidationFailed for wrong check digits."""
    wrong = {camel_case(name): [str(value)] for name, value in path.items() if isinstance(value, WrongCheckDigits)}
    if wrong:
        raise ValidationFailed(f"Invalid: {', '.join(wrong)}.", errors=wrong)
    registered: Numbers = current_app.extensions[EXTENSION]
    ids = registered.ids_of([value for value in path.values() if isinstance(value, AccountNumber)])
    return {name: ids[value] if isinstance(value, AccountNumber) else value for name, value in path.items()}


def methods_of(path: str) -> set[str]:
    """Return the methods of the routes with exactly this path, without routes that have an id in place of a word."""
    rules = current_app.url_map.iter_rules()
    return {method for rule in rules if rule.rule == path for method in rule.methods or ()}


def refuse_call_as_id(request: Request) -> None:
    """Raise MethodNotAllowed if the path's id is really a word of another call's path, such as `create`."""
    given = request.view_args
    if given and MALFORMED_ID in given.values() and (methods := methods_of(request.path)):
        raise MethodNotAllowed(methods)
