"""A process remembers the routes of paths: what Werkzeug says of them, and only of those that have one."""

from typing import Any

import pytest
from flask import Flask, appcontext_tearing_down, request_tearing_down
from werkzeug.exceptions import HTTPException
from werkzeug.test import EnvironBuilder

from app.account_numbers import new_number
from app.http import application

ID = "6560a1b2c3d4e5f601234567"
NUMBER = str(new_number())
PATHS = [
    "/healthz",
    "/healthz/",
    "//healthz",
    "/api/accounts",
    "/api/accounts/",
    "/api//accounts",
    "/api/accounts/create",
    f"/api/accounts/{ID}",
    f"/api/accounts/{ID.upper()}/balance",
    f"/api/accounts/{ID}/balance/",
    f"/api/accounts/{NUMBER}/balance",
    f"/api/accounts/{NUMBER[:-1]}x/balance",
    f"/api/accounts/{NUMBER[:-2]}{int(NUMBER[-2:]) ^ 1:02}/balance",
    "/api/accounts/%41/balance",
    "/api/accounts/ä/balance",
    f"/api/transactions/{ID}/receipt",
    "/api/transactions/nothing/at/all",
    "/problems/insufficient_funds",
    "/",
]


def _found(app: Flask, method: str, path: str) -> Any:
    """Return what a request is given of its route, and the kind of its refusal."""
    with app.request_context(EnvironBuilder(path, method=method).get_environ()) as context:
        request = context.request
        return request.url_rule, _comparable(request.view_args), type(request.routing_exception)


def _comparable(given: Any) -> Any:
    return given and {name: (type(value), str(value)) for name, value in given.items()}


def _said(app: Flask, method: str, path: str) -> Any:
    """Return what Werkzeug says without anything in between."""
    adapter = app.url_map.bind("localhost")
    try:
        rule, given = adapter.match(EnvironBuilder(path).get_environ()["PATH_INFO"], method, return_rule=True)
    except HTTPException as error:
        return None, None, type(error)
    return rule, _comparable(given), type(None)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
def test_a_path_that_is_known_has_the_route_that_it_had(app: Flask, method: str) -> None:
    for path in PATHS:
        given = "/" + EnvironBuilder(path).get_environ()["PATH_INFO"].lstrip("/")  # as Werkzeug's request has it
        first, again = _found(app, method, path), _found(app, method, path)
        assert first == again == _said(app, method, given), path


def test_what_a_request_does_with_its_arguments_does_not_reach_the_next_one(app: Flask) -> None:
    environ = EnvironBuilder(f"/api/accounts/{ID}/balance").get_environ()
    for _ in range(3):
        with app.request_context(dict(environ)) as context:
            assert context.request.view_args is not None
            assert str(context.request.view_args.pop("account_id")) == ID


def test_only_short_paths_with_a_route_are_remembered_and_not_too_many(
    app: application.Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.known_routes.clear()
    monkeypatch.setattr(application, "PATHS_KNOWN_MAX", 3)
    for path in ("/nothing", "/api/accounts/" + "a" * application.PATH_LENGTH_MAX, "/api/accounts/", "/healthz/"):
        _found(app, "GET", path)
    assert not app.known_routes
    for number in range(10):
        _found(app, "GET", f"/api/accounts/{number:024}")
        assert 0 < len(app.known_routes) <= 3


def test_nothing_is_registered_that_the_application_does_not_look_for(app: Flask) -> None:
    hooks = (app.before_request_funcs, app.url_value_preprocessors, app.teardown_request_funcs, app.after_request_funcs)
    registered = [functions for by_blueprint in hooks for functions in by_blueprint.values()]

    assert not any(registered), "Nothing calls it."
    assert not app.teardown_appcontext_funcs, "Nothing calls it."
    assert not appcontext_tearing_down.receivers | request_tearing_down.receivers, "Nothing tells them."
