"""Secrets that are replaced: what the former ones signed stays valid, and they sign nothing more."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from flask import Flask
from pymongo.database import Database

from app import create_app
from app.mail.delivery import Deliverer
from app.mail.smtp import mail
from app.mongo import Document
from app.settings.policies import MailPolicy
from config import Config, ConfigError, load
from docs.verify_receipt import verified
from local.processes import LOOPBACK
from tests.clients import Client, InProcess, OverHttp
from tests.mail import smtp_server
from tests.people import Bank, Person
from tests.server import JWT_SECRET, running_server

NEW_SECRET = "rC7uW1qX9zN4bV6mK8pJ2dG5hT3yL0fS-tests"
NEW_KEY = "b05e7c1d93f84a26e1d07f5a9c3b8e4266d1a0f7c95e3b8271f4d6a80c2e9b13"


@pytest.fixture
def rotated(config: Config, database: Database[Document]) -> Flask:
    """The bank after both keys gave way to new ones."""
    auth = replace(config.auth, secret=NEW_SECRET, previous_secret=JWT_SECRET)
    return create_app(replace(config, auth=auth, receipt_key=NEW_KEY))


def same(caller: Person, client: Client) -> Person:
    """The same person with the same tokens, at another server."""
    return replace(caller, client=client)


def refreshed(client: Client, token: str) -> Any:
    return Person(client, token).post("/api/auth/refresh")


def receipt(person: Person, transaction: str) -> str:
    signed: str = person.get(f"/api/transactions/{transaction}/receipt").body["receipt"]
    return signed


def kids(jwks: str) -> list[str]:
    return [key["kid"] for key in json.loads(jwks)["keys"]]


def test_rotation_over_http(live_bank: Bank, mongo_uri: str) -> None:
    asha, account = live_bank.customer(100)
    live_bank.fund(account, 100)
    first = asha.get("/api/transactions?limit=1").body
    old = receipt(asha, first["transactions"][0]["id"])
    new_settings = {"JWT_SECRET": NEW_SECRET, "JWT_SECRET_PREVIOUS": JWT_SECRET, "RECEIPT_KEY": NEW_KEY}

    with running_server(mongo_uri, WEB_CONCURRENCY="1", **new_settings) as port:
        client = OverHttp(port)
        later = same(asha, client)
        rest = later.get(f"/api/transactions?limit=1&cursor={first['nextCursor']}")
        successors = refreshed(client, asha.refresh_token)
        new = receipt(later, first["transactions"][0]["id"])
        jwks = later.get("/.well-known/jwks.json").content.decode()
        client.close()

    assert rest.status == successors.status == 200
    jwt.decode(successors.body["token"], NEW_SECRET, algorithms=["HS256"], audience="fincore-api")
    assert verified(old, jwks)["transaction"] == verified(new, jwks)["transaction"]
    assert len(kids(jwks)) == 2
    # Whoever knows only the former secret does not know what the new one signs.
    assert live_bank.client.send("GET", "/api/auth/me", bearer(successors.body["token"]), None).status == 401


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_the_previous_secret_is_accepted_and_never_signs(bank: Bank, rotated: Flask) -> None:
    asha = bank.register()
    after = Bank(InProcess(rotated))
    for _ in range(2):
        assert same(asha, after.client).get("/api/auth/me").status == 200

    for session in (after.register(), after.log_in(asha.user["email"])):
        for token in (session.token, session.refresh_token):
            with pytest.raises(jwt.InvalidSignatureError):
                jwt.decode(token or "", JWT_SECRET, algorithms=["HS256"], audience="fincore-api")
    assert same(asha, after.client).post("/api/auth/logout").status == 200
    assert same(asha, after.client).get("/api/auth/me").code == "token_revoked"


def test_without_a_previous_secret_what_it_signed_is_refused(bank: Bank, config: Config, rotated: Flask) -> None:
    asha = bank.register()
    assert same(asha, InProcess(rotated)).get("/api/auth/me").status == 200

    done = create_app(replace(config, auth=replace(config.auth, secret=NEW_SECRET)))

    assert same(asha, InProcess(done)).get("/api/auth/me").code == "token_invalid"


@pytest.mark.parametrize("secret", ["short", "a" * 40, "your-secret-key-of-thirty-two-bytes"])
def test_a_weak_previous_secret_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("JWT_SECRET", JWT_SECRET)
    monkeypatch.setenv("MONGO_URI", "mongodb://localhost/fincore")
    monkeypatch.setenv("JWT_SECRET_PREVIOUS", secret)

    with pytest.raises(ConfigError, match="JWT_SECRET_PREVIOUS"):
        load()


@contextmanager
def mailbox(app: Flask, config: Config) -> Iterator[Any]:
    with smtp_server() as server, app.app_context():
        mail.configure(app, MailPolicy(server=LOOPBACK, port=server.port))
        yield server
        mail.configure(app, config.mail)


def test_a_reset_that_was_asked_for_before_the_change_works_after_it(
    bank: Bank, rotated: Flask, config: Config
) -> None:
    email = bank.register().user["email"]
    bank.anonymous.post("/api/auth/password/forgot", {"email": email})

    with mailbox(rotated, config) as server:
        Deliverer(rotated).deliver_due()
        words = [word for each in server.received if each.recipient == email for word in each.text.split()]
    token = next(word for word in words if len(word) == 43)

    body = {"token": token, "newPassword": "another long enough one"}
    assert Bank(InProcess(rotated)).anonymous.post("/api/auth/password/reset", body).status == 200


def test_every_key_that_ever_signed_is_listed_whoever_asks(bank: Bank, app: Flask, rotated: Flask) -> None:
    asha, _ = bank.customer(100)
    transaction = asha.get("/api/transactions").body["transactions"][0]["id"]
    receipt(asha, transaction)
    receipt(same(asha, InProcess(rotated)), transaction)

    listed = [InProcess(each).send("GET", "/.well-known/jwks.json", {}, None) for each in (app, rotated)]

    first, second = (kids(answer.content.decode()) for answer in listed)
    assert first == second[::-1], "the key that signs now comes first"
    assert len(first) == 2


def test_the_application_cannot_change_or_remove_a_key(database: Database[Document]) -> None:
    role = database.command("rolesInfo", "fincore_app", showPrivileges=True)["roles"][0]

    (rights,) = [each for each in role["privileges"] if each["resource"]["collection"] == "receipt_keys"]
    assert sorted(rights["actions"]) == ["find", "insert"]


def test_an_anchor_stays_verifiable_and_says_that_an_earlier_key_signed_it(
    bank: Bank, app: Flask, rotated: Flask, tmp_path: Path, database: Database[Document]
) -> None:
    bank.customer(100)
    anchor, keys = str(tmp_path / "anchor"), tmp_path / "jwks.json"
    assert app.test_cli_runner().invoke(args=["ledger", "anchor", anchor]).exit_code == 0
    keys.write_text(InProcess(app).send("GET", "/.well-known/jwks.json", {}, None).content.decode())

    def verify(*more: str) -> Any:
        return rotated.test_cli_runner().invoke(args=["ledger", "verify", "--anchor", anchor, *more])

    by_database = verify()
    assert by_database.exit_code == 0, by_database.output
    assert "earlier key" in by_database.stderr
    by_copy = verify("--keys", str(keys))
    assert (by_copy.exit_code, "earlier key" in by_copy.stderr) == (0, False)
    database.receipt_keys.delete_many({})
    assert verify().exit_code == 2
    keys.write_text("{}")
    assert verify("--keys", str(keys)).exit_code == 2
