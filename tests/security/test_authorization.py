"""The authorisation matrix: every route for everybody. A route without a row fails, and so does an undeclared one."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import pytest
from flask import Flask
from pymongo.collection import Collection
from pymongo.database import Database

from app.http.contract import contract_of
from app.mongo import Document
from app.web import routes as web
from tests import hooks
from tests.again import again, empty
from tests.people import PASSWORD, Bank, Caller, Person, new_key

# Who asks: nobody, somebody who has nothing to do with it, whom it belongs to, and the two roles above users.
CALLERS = ("anonymous", "other", "owner", "admin", "system")
# Open by their nature: whoever comes here has no token yet, or none any more.
OPEN_ROUTES = {
    ("POST", "/api/auth/register"),
    ("POST", "/api/auth/login"),
    ("POST", "/api/auth/password/forgot"),
    ("POST", "/api/auth/password/reset"),
}


@dataclass(frozen=True)
class Row:
    """What a route answers to each of `CALLERS`, with this path and body. Words in braces name things of the world.

    With `refresh` it is called with the refresh token; `place` is the caller's own place among events.
    """

    statuses: tuple[int, int, int, int, int]
    path: str = ""
    body: Mapping[str, Any] | None = None
    owner: str = "payer"
    refresh: bool = False
    place: bool = False


def everybody(status: int, **kwargs: Any) -> Row:
    return Row((status,) * 5, **kwargs)


def logged_in(status: int, **kwargs: Any) -> Row:
    return Row((401, *(status,) * 4), **kwargs)


def only_owner(status: int, **kwargs: Any) -> Row:
    return Row((401, 404, status, 404, 404), **kwargs)


def readers(**kwargs: Any) -> Row:
    return Row((401, 404, 200, 200, 200), **kwargs)


def staff(status: int = 200, **kwargs: Any) -> Row:
    return Row((401, 403, 403, status, status), **kwargs)


def only_system(status: int, **kwargs: Any) -> Row:
    return Row((401, 403, 403, 403, status), **kwargs)


PLACES = ", ".join(map(repr, web.PLACES))
KEYED = {"idempotencyKey": "{key}"}
TRANSFER = {"fromAccount": "{account}", "toAccount": "{payee_account}", "amount": 5, **KEYED}
NEW_PASSWORD = "quite another good one"
# An address that the tests allow, so that nothing is resolved; nobody is there.
WEBHOOK_URL = "http://127.0.0.1:65000/events"

MATRIX: dict[tuple[str, str], Row] = {
    ("POST", "/api/auth/register"): everybody(
        201, body={"name": "New", "email": "{key}@fincore.example", "password": PASSWORD}
    ),
    ("POST", "/api/auth/login"): everybody(200, body={"email": "{email}", "password": PASSWORD}),
    ("POST", "/api/auth/logout"): logged_in(200),
    ("POST", "/api/auth/refresh"): logged_in(200, refresh=True),
    ("GET", "/api/auth/me"): logged_in(200),
    ("PATCH", "/api/auth/me"): logged_in(200, body={"name": "Renamed"}),
    ("GET", "/api/auth/me/notifications"): logged_in(200),
    ("PUT", "/api/auth/me/notifications"): logged_in(200, body={"kinds": {"money.received": "off"}}),
    ("PUT", "/api/auth/password"): logged_in(200, body={"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}),
    ("POST", "/api/auth/password/forgot"): everybody(202, body={"email": "{email}"}),
    ("POST", "/api/auth/password/reset"): everybody(422, body={"token": "made up", "newPassword": NEW_PASSWORD}),
    # They ask for the header of the bank's page, which a caller of the API does not send.
    ("POST", "/session"): everybody(403, body={"email": "{email}", "password": PASSWORD}),
    ("POST", "/session/refresh"): everybody(403),
    ("DELETE", "/session"): everybody(403),
    # The token says who asks, not a login.
    ("GET", "/unsubscribe"): everybody(404, path="/unsubscribe?token=made-up"),
    ("POST", "/unsubscribe"): everybody(404, path="/unsubscribe?token=made-up"),
    ("POST", "/api/accounts/create"): logged_in(201, body={}),
    ("GET", "/api/accounts"): logged_in(200),
    ("GET", "/api/accounts/<id>"): readers(path="/api/accounts/{account}"),
    ("PATCH", "/api/accounts/<id>"): only_owner(200, path="/api/accounts/{account}", body={"name": "Holidays"}),
    ("POST", "/api/accounts/<id>/close"): only_owner(200, path="/api/accounts/{empty_account}/close", body={}),
    ("GET", "/api/accounts/<id>/balance"): readers(path="/api/accounts/{account}/balance"),
    ("GET", "/api/accounts/<id>/entries"): readers(path="/api/accounts/{account}/entries"),
    ("GET", "/api/accounts/<id>/statement"): readers(path="/api/accounts/{account}/statement"),
    ("GET", "/api/accounts/<id>/statement.csv"): readers(path="/api/accounts/{account}/statement.csv"),
    ("GET", "/api/accounts/<id>/statement.pdf"): readers(path="/api/accounts/{account}/statement.pdf"),
    ("GET", "/api/accounts/<id>/balance/history"): readers(path="/api/accounts/{account}/balance/history"),
    ("POST", "/api/transactions/create"): only_owner(201, body=TRANSFER),
    ("POST", "/api/transactions/hold"): only_owner(201, body=TRANSFER),
    ("POST", "/api/transactions/batch"): Row(
        # An atomic batch is refused with the first refusal's code, and 422 whatever status that has alone.
        (401, 422, 201, 422, 422),
        body={**KEYED, "transfers": [{"fromAccount": "{account}", "toAccount": "{payee_account}", "amount": 5}]},
    ),
    ("POST", "/api/transactions/initial-funds"): only_system(
        201, body={"toAccount": "{account}", "amount": 5, **KEYED}
    ),
    ("POST", "/api/transactions/<id>/capture"): Row(
        (401, 404, 200, 404, 200), path="/api/transactions/{hold}/capture", body=KEYED, owner="payee"
    ),
    ("POST", "/api/transactions/<id>/void"): Row(
        (401, 404, 200, 404, 200), path="/api/transactions/{hold}/void", body=KEYED, owner="payee"
    ),
    ("POST", "/api/transactions/<id>/reverse"): staff(
        201, path="/api/transactions/{transaction}/reverse", body={**KEYED, "reason": "By mistake"}
    ),
    ("GET", "/api/transactions"): logged_in(200),
    ("GET", "/api/transactions/<id>"): readers(path="/api/transactions/{transaction}"),
    ("GET", "/api/admin/users"): staff(),
    ("GET", "/api/admin/accounts"): staff(),
    ("PATCH", "/api/admin/accounts/<id>/status"): staff(
        path="/api/admin/accounts/{account}/status", body={"status": "FROZEN", "reason": "Asked by the police"}
    ),
    ("PATCH", "/api/admin/users/<id>/role"): only_system(
        200, path="/api/admin/users/{other}/role", body={"role": "ADMIN"}
    ),
    ("GET", "/api/admin/audit-log"): staff(),
    ("GET", "/api/admin/outbox"): staff(),
    ("POST", "/api/admin/outbox/<id>/retry"): staff(202, path="/api/admin/outbox/{message}/retry"),
    ("GET", "/api/admin/status"): staff(),
    ("GET", "/api/admin/trial-balance"): staff(),
    ("GET", "/api/transactions/<id>/receipt"): readers(path="/api/transactions/{transaction}/receipt"),
    ("POST", "/api/statements/verify"): logged_in(422, body={}),
    ("GET", "/api/payees/lookup"): logged_in(200, path="/api/payees/lookup?number={payee_number}"),
    ("GET", "/api/payees"): logged_in(200),
    ("POST", "/api/payees"): logged_in(201, body={"number": "{unsaved_number}", "name": "Landlord"}),
    # What somebody saved or subscribed to is nobody else's, whatever their role.
    ("PATCH", "/api/payees/<id>"): only_owner(200, path="/api/payees/{saved}", body={"name": "Landlady"}),
    ("DELETE", "/api/payees/<id>"): only_owner(204, path="/api/payees/{saved}"),
    ("GET", "/api/events"): logged_in(200),
    ("GET", "/api/webhooks"): logged_in(200),
    ("POST", "/api/webhooks"): logged_in(201, body={"url": WEBHOOK_URL}),
    ("GET", "/api/webhooks/<id>"): only_owner(200, path="/api/webhooks/{webhook}"),
    ("PATCH", "/api/webhooks/<id>"): only_owner(200, path="/api/webhooks/{webhook}", body={"status": "DISABLED"}),
    ("DELETE", "/api/webhooks/<id>"): only_owner(204, path="/api/webhooks/{webhook}"),
    ("POST", "/api/webhooks/<id>/rotate-secret"): only_owner(200, path="/api/webhooks/{webhook}/rotate-secret"),
    ("POST", "/api/webhooks/<id>/ping"): only_owner(202, path="/api/webhooks/{webhook}/ping"),
    ("GET", "/api/webhooks/<id>/deliveries"): only_owner(200, path="/api/webhooks/{webhook}/deliveries"),
    ("POST", "/api/webhooks/<id>/deliveries/<id>/resend"): only_owner(
        202, path="/api/webhooks/{webhook}/deliveries/{delivery}/resend"
    ),
    ("POST", "/api/webhooks/<id>/replay"): only_owner(
        202, path="/api/webhooks/{webhook}/replay", body={"after": "{place}"}, place=True
    ),
    ("GET", "/.well-known/jwks.json"): everybody(200),
    ("GET", "/healthz"): everybody(200),
    ("GET", "/readyz"): everybody(200),
    ("GET", "/metrics"): everybody(200),
    ("GET", "/api/openapi.json"): everybody(200),
    ("GET", "/api/docs"): everybody(200),
    ("GET", "/api/docs/<path:name>"): everybody(200, path="/api/docs/swagger-ui.css"),
    ("GET", "/problems/<code>"): everybody(200, path="/problems/forbidden"),
    ("GET", "/"): everybody(200),
    ("GET", f"/<any({PLACES}):place>"): everybody(200, path="/sign-in"),
    ("GET", f"/<any({PLACES}):place>/<path:rest>"): everybody(200, path="/accounts/new"),
    ("GET", "/assets/<version>/<path:name>"): everybody(404, path="/assets/an-older-one/main.js"),
    ("GET", "/static/operations/<path:filename>"): everybody(200, path="/static/operations/page.css"),
}


@dataclass
class World:
    """A payer, a payee, what is between them, and everybody else."""

    callers: dict[str, Caller]
    names: dict[str, str] = field(default_factory=dict)


def make_world(bank: Bank) -> World:
    payer, account = bank.customer(1_000)
    payee, payee_account = bank.customer()
    other, admin, system = bank.register(), bank.administrator(), bank.administrator("SYSTEM")
    transaction = payer.transfer(account, payee_account, 100).body["transaction"]["id"]
    hold = payer.post("/api/transactions/hold", {**_filled(TRANSFER, locals()), "idempotencyKey": new_key()})
    number = payee.number_of(payee_account)
    saved = payer.post("/api/payees", {"number": number, "name": "Landlord"})
    webhook = payer.post("/api/webhooks", {"url": WEBHOOK_URL}).body["webhook"]["id"]
    message = bank.system.get("/api/admin/outbox?state=PENDING").body["messages"][0]["id"]
    return World(
        {
            "anonymous": bank.anonymous,
            "other": other,
            "payer": payer,
            "payee": payee,
            "admin": admin,
            "system": system,
        },
        {
            "account": account,
            "payee_account": payee_account,
            "empty_account": payer.open_account(),
            "transaction": transaction,
            "hold": hold.body["transaction"]["id"] if hold.status == 201 else "",
            "payee_number": number,
            "unsaved_number": payee.number_of(payee.open_account()),
            "saved": saved.body["payee"]["id"],
            "webhook": webhook,
            "delivery": payer.post(f"/api/webhooks/{webhook}/ping").body["delivery"]["id"],
            "message": message,
            "email": payer.user["email"],
            "other": other.id,
            "key": new_key(),
        },
    )


def _filled(value: Any, names: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        return re.sub(r"{(\w+)}", lambda match: str(names.get(match[1], "")), value)
    if isinstance(value, Mapping):
        return {name: _filled(member, names) for name, member in value.items()}
    return [_filled(member, names) for member in value] if isinstance(value, list) else value


def routes(app: Flask) -> dict[tuple[str, str], Any]:
    """Return the view of each (method, rule) of the application; how a rule calls an id does not matter."""
    return {
        (method, re.sub(r"<(id|account):\w+>", "<id>", rule.rule)): app.view_functions[rule.endpoint]
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


@pytest.fixture
def loopback_allowed(app: Flask) -> Iterator[None]:
    """Let webhooks of this process reach this machine."""
    hooks.allow("127.0.0.0/8")
    yield
    hooks.allow()


def test_every_route_has_a_row(app: Flask) -> None:
    assert routes(app).keys() - MATRIX.keys() == set()


def test_every_route_declares_who_may_call_it(app: Flask) -> None:
    undeclared = {
        (method, rule)
        for (method, rule), view in routes(app).items()
        if rule.startswith("/api/") and not contract_of(view).access and not rule.startswith(("/api/docs", "/api/open"))
    }
    assert undeclared == OPEN_ROUTES


@pytest.mark.usefixtures("loopback_allowed")
@pytest.mark.parametrize("caller", CALLERS)
def test_the_matrix_holds(app: Flask, bank: Bank, database: Database[Document], caller: str) -> None:
    answered = {}
    world = again(database, bank, make_world)
    for method, rule in routes(app):
        row = MATRIX[method, rule]
        who = world.callers[row.owner if caller == "owner" else caller]
        names = world.names
        if row.place and isinstance(who, Person):
            names = {**names, "place": who.get("/api/events").body["nextAfter"]}
        if row.refresh and isinstance(who, Person):
            who = Caller(who.client, who.refresh_token)
        answer = who.call(method, _filled(row.path or rule, names), _filled(row.body, names))
        answered[method, rule] = answer.status
        if method != "GET" and answer.status < 400:
            empty(database)
            world = again(database, bank, make_world)
    assert answered == {route: MATRIX[route].statuses[CALLERS.index(caller)] for route in answered}


@pytest.mark.parametrize("path", ["/api/accounts/{}", "/api/accounts/{}/balance", "/api/transactions/{}"])
def test_what_is_somebody_elses_costs_the_reads_of_what_is_missing(
    bank: Bank, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    _, account = bank.customer()
    transaction = bank.fund(account, 1).body["transaction"]["id"]
    foreign = transaction if "transactions" in path else account
    other = bank.register()
    reads: list[str] = []
    for name in ("find", "find_one", "aggregate"):
        monkeypatch.setattr(Collection, name, counted(reads, getattr(Collection, name)))

    costs = []
    for asked in ("a" * 24, foreign):
        reads.clear()
        assert other.get(path.format(asked)).status == 404
        costs.append(list(reads))

    assert costs[0] == costs[1]


def counted(calls: list[str], read: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same read, that says of which collection it was when it is called."""

    @wraps(read)
    def counting(collection: Collection[Document], *args: Any, **kwargs: Any) -> Any:
        calls.append(f"{read.__name__} {collection.name}")
        return read(collection, *args, **kwargs)

    return counting
