"""Requests with parts that their call does not read, and bodies that break off or do not end."""

import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from pymongo.database import Database

from app.http.contract import contract_of
from app.mongo import Document
from tests.clients import OverHttp
from tests.people import PASSWORD, SYSTEM_EMAIL, Bank, Caller

BODY_BYTES_MAX = 512 * 1024
SOCKET_TIMEOUT_S = 60


def sent_raw(bank: Bank, data: bytes) -> bytes:
    """Send these bytes over a connection of their own and return all that comes back until the server closes it."""
    assert isinstance(bank.client, OverHttp)
    with socket.create_connection(("127.0.0.1", bank.client.port), timeout=SOCKET_TIMEOUT_S) as connection:
        connection.sendall(data)
        received = bytearray()
        while part := connection.recv(65_536):
            received += part
    return bytes(received)


def chunked(path: str, token: str | None, *chunks: bytes) -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: bank", "Content-Type: application/json", "Transfer-Encoding: chunked"]
    head += [f"Authorization: Bearer {token}"] if token else []
    return "\r\n".join([*head, "", ""]).encode() + b"".join(chunks)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


NEXT_REQUEST = b"GET /healthz HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n",
        b"-1\r\n",
        b"5\r\nabcdefg\r\n0\r\n\r\n",
        b"2\r\n{}\r\n0\r\nno header\r\n\r\n",
        b"2;=\r\n{}\r\n0\r\n\r\n",
    ],
    ids=["no size", "a size below zero", "more than its size", "a bad trailer", "a bad extension"],
)  # fmt: skip
def test_a_body_in_broken_chunks_is_malformed_and_ends_its_connection(live_bank: Bank, body: bytes) -> None:
    received = sent_raw(live_bank, chunked("/api/auth/login", None, body, NEXT_REQUEST))

    assert received.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"malformed_json"' in received
    assert received.count(b"HTTP/1.1 ") == 1


def login_of(size: int, *, then: bytes = b"") -> bytes:
    """Return a login that fails for its password, padded with blanks to `size` bytes."""
    return json.dumps({"email": "a@fincore.example", "password": "wrong password"}).encode().ljust(size) + then


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (login_of(BODY_BYTES_MAX), 401),
        (login_of(BODY_BYTES_MAX + 1), 413),
        (login_of(BODY_BYTES_MAX, then=b"GARBAGE"), 413),
        (login_of(2 * BODY_BYTES_MAX), 413),
    ],
    ids=["the most", "a byte more", "garbage behind it", "twice the most"],
)
@pytest.mark.parametrize("is_chunked", [False, True], ids=["with a length", "in chunks"])
def test_a_body_over_the_limit_is_refused_and_not_cut(
    live_bank: Bank, body: bytes, status: int, is_chunked: bool
) -> None:
    if is_chunked:
        sent = chunked("/api/auth/login", None, chunk(body), b"0\r\n\r\n")
    else:
        head = "POST /api/auth/login HTTP/1.1\r\nHost: bank\r\nContent-Type: application/json\r\n"
        sent = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    assert sent_raw(live_bank, sent + NEXT_REQUEST).startswith(b"HTTP/1.1 %d " % status)


def test_a_call_with_a_limit_of_its_own_refuses_what_is_over_it(live_bank: Bank) -> None:
    token = live_bank.register().token
    for size, status in ((BODY_BYTES_MAX + 1, 422), (4 * 1024**2, 422), (4 * 1024**2 + 1, 413)):
        sent = chunked("/api/statements/verify", token, chunk(b"{}".ljust(size)), b"0\r\n\r\n")

        assert sent_raw(live_bank, sent + NEXT_REQUEST).startswith(b"HTTP/1.1 %d " % status), size


NO_ID = "0" * 24
NUMBER = "FC76910284736650"
UNDESCRIBED = {"operations.openapi", "operations.docs", "operations.docs_file"}
PASSWORDS = {"currentPassword": PASSWORD, "newPassword": "a staple of good taste"}
RESET = {"token": "x", "newPassword": "a staple of good taste"}
# A body that is accepted, for each call that asks for one before it looks at anything else.
BODIES: dict[str, Any] = {
    "auth.register": {"name": "Ravi Iyer", "email": "ravi@fincore.example", "password": PASSWORD},
    "auth.login": {"email": SYSTEM_EMAIL, "password": PASSWORD},
    "auth.change_password": PASSWORDS,
    "auth.forgot_password": {"email": SYSTEM_EMAIL},
    "auth.reset_password": RESET,
    "accounts.create_account": {},
    "accounts.rename_account": {"name": "Savings"},
    "payees.save_payee": {"number": NUMBER, "name": "Landlord"},
    "payees.rename_payee": {"name": "Landlady"},
    "webhooks.create_webhook": {"url": "https://192.0.2.1/"},
    "webhooks.change_webhook": {"status": "ACTIVE"},
    "webhooks.replay_events": {"after": "x"},
    "admin.change_role": {"role": "ADMIN"},
    "admin.change_account_status": {"status": "FROZEN", "reason": "x"},
    "statements.verify_statement": {"accountId": NO_ID, "from": "2026-11-01T00:00:00Z", "to": "2026-11-02T00:00:00Z",
                                    "entries": []},
}  # fmt: skip

# What a query must have, for each call that can do nothing without it.
QUERIES = {"payees.look_up_payee": f"number={NUMBER}&"}


def described_calls(app: Flask) -> Iterator[tuple[str, str, str]]:
    """Yield method, path and endpoint of every call that the API's description has."""
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/api/") and rule.endpoint not in UNDESCRIBED:
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                yield method, re.sub(r"<[^>]+>", NO_ID, rule.rule), rule.endpoint


def test_no_call_passes_over_a_query_parameter_that_it_does_not_know(
    app: Flask, bank: Bank, database: Database[Document]
) -> None:
    before = database.command("dbHash")["collections"]
    calls = list(described_calls(app))
    assert len(calls) > 30

    for method, path, endpoint in calls:
        body = BODIES.get(endpoint)
        token = bank.system.refresh_token if endpoint == "auth.refresh" else bank.system.token
        query = f"{QUERIES.get(endpoint, '')}dryrun=true"
        answer = Caller(bank.client, token).call(method, f"{path}?{query}", body)

        assert (answer.status, answer.body.get("errors")) == (422, {"dryrun": ["Unknown field."]}), endpoint
    assert database.command("dbHash")["collections"] == before


def test_who_is_not_known_hears_that_first_whatever_the_query(app: Flask, bank: Bank) -> None:
    for method, path, endpoint in described_calls(app):
        if contract_of(app.view_functions[endpoint]).access:
            answer = bank.anonymous.call(method, f"{path}?dryrun=true&dryrun=true")
            assert (answer.status, answer.code) == (401, "token_missing"), endpoint


def test_a_close_with_a_query_closes_nothing(bank: Bank) -> None:
    owner, account = bank.customer()

    answer = owner.post(f"/api/accounts/{account}/close?dryRun=true")

    assert (answer.status, answer.body["errors"]) == (422, {"dryRun": ["Unknown field."]})
    assert owner.get(f"/api/accounts/{account}").body["account"]["status"] == "ACTIVE"


@pytest.mark.parametrize("path", ["/api/auth/logout", "/api/auth/refresh"])
@pytest.mark.parametrize(
    ("body", "status"),
    [(None, 200), (b"", 200), (b"{}", 200), (b'{"zzz": 1}', 422), (b"[]", 422), (b"{", 400), (b" " * 600_000, 413)],
    ids=["none", "empty", "an empty object", "a field", "a list", "no JSON", "too much"],
)
def test_a_call_without_fields_takes_none(bank: Bank, path: str, body: bytes | None, status: int) -> None:
    person = bank.register()
    caller = Caller(bank.client, person.refresh_token if path.endswith("refresh") else person.token)

    answer = caller.post(path, data=body)

    assert answer.status == status, answer.content
    assert person.get("/api/auth/me").status == (401 if (path, status) == ("/api/auth/logout", 200) else 200)


@pytest.mark.parametrize("query", ["dryRun=false&dryRun=true", "dryRun=true&dryRun=true", "dryRun&dryRun=true"])
def test_a_query_parameter_comes_once(bank: Bank, query: str) -> None:
    payer, account = bank.customer(100)
    _, other = bank.customer()
    body = {"fromAccount": account, "toAccount": other, "amount": 60, "idempotencyKey": "rent-1"}

    answer = payer.post(f"/api/transactions/create?{query}", body)

    assert (answer.status, answer.code) == (422, "validation_failed")
    assert answer.body["errors"] == {"dryRun": ["Occurs more than once."]}
    assert payer.balance(account) == 100


def test_each_repeated_query_parameter_is_named(bank: Bank) -> None:
    answer = bank.system.get("/api/transactions?limit=1&limit=2&kind=HOLD&kind=HOLD&cursor=x")

    assert set(answer.body["errors"]) == {"limit", "kind"}


@pytest.mark.parametrize("where", ["body", "query"])
def test_a_refusal_does_not_grow_with_the_names_that_it_refuses(bank: Bank, where: str) -> None:
    names = [f"{number:04}{'x' * 200}" for number in range(300 if where == "body" else 30)] + [
        f"n{n}" for n in range(90)
    ]

    if where == "body":
        answer = bank.system.post("/api/accounts/create", dict.fromkeys(names, 1))
    else:
        answer = bank.system.get("/api/accounts?" + "&".join(f"{name}=1" for name in names))

    assert (answer.status, answer.code) == (422, "validation_failed")
    assert len(answer.body["errors"]) == 100
    assert max(map(len, answer.body["errors"])) == 100
    assert f"0000{'x' * 95}…" in answer.body["errors"]
    assert answer.body["detail"].endswith(f"and {len(names) - 100} more.")
    assert len(answer.content) < 30_000


def test_names_that_begin_alike_are_one_when_they_are_cut(bank: Bank) -> None:
    answer = bank.system.post("/api/accounts/create", {"x" * 400: 1, "x" * 401: 1, "y" * 100: 1})

    assert answer.body["errors"] == {"x" * 99 + "…": ["Unknown field."], "y" * 100: ["Unknown field."]}
