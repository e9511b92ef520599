"""Places where secrets must not appear: logs, crash reports, answers, and the API's description."""

import json
import re

import pytest
from pymongo.database import Database

from app.mongo import Document
from tests.clients import Answer, OverHttp
from tests.people import PASSWORD, Bank, Caller
from tests.server import JWT_SECRET, running_server

NEW_PASSWORD = "another long enough one"
WRONG_PASSWORD = "not the password of anybody"
JWT = re.compile(r"eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+")
BCRYPT_HASH = re.compile(r"\$2[aby]\$\d\d\$")


def secrets_in(text: str, *known: str) -> list[str]:
    return [*JWT.findall(text), *BCRYPT_HASH.findall(text), *(secret for secret in known if secret in text)]


def test_the_log_of_every_turn_of_a_session_and_of_a_crash_holds_no_secret(
    mongo_uri: str, database: Database[Document], capfd: pytest.CaptureFixture[str]
) -> None:
    with running_server(mongo_uri, WEB_CONCURRENCY="1", LOG_LEVEL="DEBUG", RATELIMIT_ENABLED="true") as port:
        client = OverHttp(port)
        bank = Bank(client)
        person = bank.register()
        email = person.user["email"]
        answers: list[Answer] = [
            Caller(client, person.refresh_token).post("/api/auth/refresh"),
            Caller(client, person.refresh_token).post("/api/auth/refresh"),
            Caller(client, "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.AAAA").get("/api/auth/me"),
            bank.anonymous.post("/api/auth/login", {"email": email, "password": WRONG_PASSWORD}),
            bank.anonymous.post("/api/auth/password/forgot", {"email": email}),
            bank.anonymous.post("/api/auth/password/reset", {"token": "t" * 43, "newPassword": NEW_PASSWORD}),
            bank.anonymous.post("/api/auth/login", data=f'{{"password": "{PASSWORD}", oops'.encode()),
            bank.log_in(email).call(
                "PUT", "/api/auth/password", {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}
            ),
        ]
        # A user document that somebody spoilt is a bug to the program, in the middle of checking a password.
        spoilt = "$2b$04$spoilt"
        database.users.update_one({"email": email}, {"$set": {"password_hash": spoilt}})
        crash = bank.anonymous.post("/api/auth/login", {"email": email, "password": NEW_PASSWORD})
        client.close()
    log = "".join(capfd.readouterr())
    assert crash.status == 500
    assert crash.body["requestId"] in log, "A crash is in the log under its request id."
    assert "Traceback" in log
    shown = [PASSWORD, NEW_PASSWORD, WRONG_PASSWORD, JWT_SECRET, spoilt, "t" * 43, person.refresh_token]
    assert secrets_in(log, *shown) == []
    refusals = [answer for answer in (*answers, crash) if answer.status >= 400]
    assert len(refusals) == 5
    for refusal in refusals:
        assert secrets_in(refusal.content.decode(), *shown) == []


def test_a_client_cannot_write_lines_into_the_log(
    mongo_uri: str, database: Database[Document], capfd: pytest.CaptureFixture[str]
) -> None:
    with running_server(mongo_uri, WEB_CONCURRENCY="1", LOG_LEVEL="DEBUG") as port:
        client = OverHttp(port)
        Caller(client).get("/api/%0A%7B%22event%22:%22forged%22%7D%0D%0Aforged", headers={"X-Request-ID": '"x\\n'})
        client.close()
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("{") or "forged" in line]
    events = [json.loads(line)["event"] for line in lines]
    assert "forged" not in events
    assert sum("forged" in line for line in lines) == 1, "It is there, inside one event's path."


def test_the_description_of_the_api_holds_no_secret(bank: Bank) -> None:
    assert secrets_in(bank.anonymous.get("/api/openapi.json").content.decode(), JWT_SECRET, PASSWORD) == []


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/auth/me"), ("POST", "/api/accounts/create"), ("GET", "/api/accounts")]
)
def test_an_answer_outside_login_holds_no_secret(bank: Bank, method: str, path: str) -> None:
    answer = bank.register().call(method, path, {} if method == "POST" else None)
    assert answer.status < 300
    assert secrets_in(answer.content.decode(), PASSWORD) == []
