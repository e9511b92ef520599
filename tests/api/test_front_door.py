"""Headers that every answer has, and bodies that end early on a server that does not notice."""

import gzip
import io
import json

import pytest
from flask import Flask
from pymongo.database import Database

from app.mongo import Document
from tests.people import PASSWORD, Bank, Caller, new_key

PERSON = json.dumps({"name": "Asha", "email": "asha@fincore.example", "password": PASSWORD}).encode()


@pytest.mark.parametrize("is_terminated", [False, True], ids=["cut by the server", "cut by nobody"])
def test_a_body_shorter_than_announced_is_not_carried_out_whatever_server_reads_it(
    app: Flask, database: Database[Document], is_terminated: bool
) -> None:
    answer = app.test_client().post(
        "/api/auth/register",
        input_stream=io.BytesIO(PERSON),
        content_type="application/json",
        environ_overrides={"CONTENT_LENGTH": str(len(PERSON) + 9), "wsgi.input_terminated": is_terminated},
    )

    assert (answer.status_code, answer.get_json(force=True)["type"]) == (408, "about:blank")
    assert answer.content_type == "application/problem+json"
    assert database.users.count_documents({"role": "USER"}) == 0


def test_a_refused_token_is_called_invalid_and_a_missing_one_is_not(bank: Bank) -> None:
    missing = bank.anonymous.get("/api/auth/me")
    invalid = Caller(bank.client, "no.token.atall").get("/api/auth/me")
    person = bank.register()
    person.post("/api/auth/logout")
    revoked = person.get("/api/auth/me")

    assert missing.headers["www-authenticate"] == "Bearer"
    for answer in (invalid, revoked):
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith(
            'Bearer error="invalid_token", error_description="The token '
        )


def test_what_was_made_has_an_address(bank: Bank) -> None:
    registered = bank.anonymous.post("/api/auth/register", json.loads(PERSON))
    person = bank.log_in("asha@fincore.example")
    opened = person.post("/api/accounts/create", {})
    account, other = opened.body["account"]["id"], person.open_account()
    funded = bank.fund(account, 100)
    sent = person.transfer(account, other, 10, key := new_key())
    held = person.post(
        "/api/transactions/hold", {"fromAccount": account, "toAccount": other, "amount": 1, "idempotencyKey": new_key()}
    )

    assert registered.headers["location"] == "/api/auth/me"
    assert person.get(opened.headers["location"]).body["account"]["id"] == account
    for answer in (funded, sent, held):
        found = bank.system.get(answer.headers["location"])
        assert found.body["transaction"]["id"] == answer.body["transaction"]["id"]
    assert "location" not in person.transfer(account, other, 10, key).headers


def test_the_description_is_compressed_for_who_takes_it_and_asked_for_once(bank: Bank) -> None:
    plain = bank.anonymous.get("/api/openapi.json")
    packed = bank.anonymous.get("/api/openapi.json", headers={"Accept-Encoding": "br, gzip"})
    refused = bank.anonymous.get("/api/openapi.json", headers={"Accept-Encoding": "gzip;q=0"})
    again = bank.anonymous.get("/api/openapi.json", headers={"If-None-Match": plain.headers["etag"]})

    assert "content-encoding" not in plain.headers
    assert "content-encoding" not in refused.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.content) == plain.content
    assert len(packed.content) < len(plain.content) / 4
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert (again.status, again.content) == (304, b"")
