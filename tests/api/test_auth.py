"""Registering, logging in and out, and which token each call takes."""

import base64
import http.client
import json
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import bcrypt
import jwt
import pytest
from bson import ObjectId
from flask import Flask
from pymongo.database import Database

from app.acts import Act
from app.auth import service
from app.auth.manager import SESSION_CLAIM
from app.auth.tokens import AUDIENCE
from app.errors import InvalidCredentials
from app.http.contract import contract_of
from app.mongo import Document
from app.settings.policies import AuthPolicy
from tests.clients import Answer, InProcess
from tests.people import PASSWORD, Bank, Caller, Person
from tests.server import JWT_SECRET

USER_MEMBERS = {"id", "name", "email", "role", "createdAt"}
SESSION_MEMBERS = {"user", "token", "refreshToken", "expiresIn"}
FOREIGN_SECRET = "cR9tW2yU5iO8pA1sD4fG7hJ0kL3zX6vB-foreign"


def credentials(email: str = "asha@fincore.example", password: str = PASSWORD) -> dict[str, str]:
    return {"email": email, "password": password}


def registration(**changes: str) -> dict[str, str]:
    return {"name": "Asha Rao", **credentials(), **changes}


def without_request_id(answer: Answer) -> dict[str, Any]:
    return {name: value for name, value in answer.body.items() if name != "requestId"}


def test_registering_answers_the_user_and_a_session(bank: Bank) -> None:
    answer = bank.anonymous.post("/api/auth/register", registration())

    assert answer.status == 201
    assert set(answer.body) == SESSION_MEMBERS
    assert answer.body["expiresIn"] == 15 * 60
    user = answer.body["user"]
    assert set(user) == USER_MEMBERS
    assert (user["name"], user["email"], user["role"]) == ("Asha Rao", "asha@fincore.example", "USER")
    assert re.fullmatch(r"[0-9a-f]{24}", user["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", user["createdAt"])
    assert Caller(bank.client, answer.body["token"]).get("/api/auth/me").body == {"user": user}


def test_an_email_is_kept_trimmed_and_in_lower_case(bank: Bank) -> None:
    answer = bank.anonymous.post("/api/auth/register", registration(email="  Asha.Rao@FINCORE.Example "))

    assert answer.body["user"]["email"] == "asha.rao@fincore.example"


@pytest.mark.parametrize("email", ["asha@fincore.example", "ASHA@fincore.example", " asha@Fincore.example "])
def test_an_email_can_be_registered_once(bank: Bank, email: str) -> None:
    bank.anonymous.post("/api/auth/register", registration())

    answer = bank.anonymous.post("/api/auth/register", registration(email=email, name="Somebody Else"))

    assert (answer.status, answer.code) == (409, "email_taken")


def test_of_registrations_that_race_for_one_email_one_wins(app: Flask, bank: Bank) -> None:
    def register(_: int) -> int:
        return Caller(InProcess(app)).post("/api/auth/register", registration()).status

    with ThreadPoolExecutor(6) as pool:
        statuses = sorted(pool.map(register, range(6)))

    assert statuses == [201, 409, 409, 409, 409, 409]


def test_a_password_is_kept_as_a_bcrypt_hash_and_never_shown(bank: Bank, database: Database[Document]) -> None:
    answer = bank.anonymous.post("/api/auth/register", registration())

    user = database.users.find_one({"email": "asha@fincore.example"})
    assert user is not None
    assert bcrypt.checkpw(PASSWORD.encode(), user["password_hash"].encode())
    assert PASSWORD.encode() not in answer.content
    assert user["password_hash"].encode() not in answer.content


@pytest.mark.parametrize("email", ["asha@fincore.example", "Asha@FINCORE.example", "  asha@fincore.example "])
def test_logging_in_answers_the_user_and_a_new_session(bank: Bank, email: str) -> None:
    registered = bank.anonymous.post("/api/auth/register", registration()).body

    answer = bank.anonymous.post("/api/auth/login", credentials(email))

    assert answer.status == 200
    assert set(answer.body) == SESSION_MEMBERS
    assert answer.body["user"] == registered["user"]
    assert answer.body["token"] != registered["token"]
    assert Caller(bank.client, answer.body["token"]).get("/api/auth/me").body["user"] == registered["user"]


def test_a_wrong_email_and_a_wrong_password_are_one_answer(bank: Bank) -> None:
    bank.anonymous.post("/api/auth/register", registration())

    wrong_password = bank.anonymous.post("/api/auth/login", credentials(password=PASSWORD + "!"))
    wrong_email = bank.anonymous.post("/api/auth/login", credentials("nobody@fincore.example"))

    assert (wrong_password.status, wrong_password.code) == (401, "invalid_credentials")
    assert wrong_password.headers["www-authenticate"] == "Bearer"
    assert without_request_id(wrong_email) == without_request_id(wrong_password)


def test_a_wrong_email_and_a_wrong_password_take_the_same_time(app: Flask, database: Database[Document]) -> None:
    policy = AuthPolicy("a secret that signs nothing here", bcrypt_rounds=10, delays_guesses=False)
    given = registration()
    service.register(service.NewUser(given["name"], given["email"], given["password"]), policy=policy)

    def seconds(email: str) -> float:
        # Of the processor, whoever else wants it meanwhile.
        begun = time.thread_time()
        with pytest.raises(InvalidCredentials):
            service.authenticate(email=email, password="not the password", policy=policy, act=Act("anonymous"))
        return time.thread_time() - begun

    wrong_password = min(seconds("asha@fincore.example") for _ in range(4))
    wrong_email = min(seconds("nobody@fincore.example") for _ in range(4))

    assert 0.5 < wrong_email / wrong_password < 2


@pytest.mark.parametrize(
    ("password", "attempt"),
    [
        pytest.param("x" * 72, "x" * 73, id="what bcrypt would cut off"),
        pytest.param("secret 8", "secret 8\0secret 8", id="what bcrypt takes for a repetition"),
        pytest.param("secret 8", "secret 8\0", id="what bcrypt takes for its end mark"),
        pytest.param("secret 8", "SECRET 8", id="another case"),
        pytest.param("secret 8", " secret 8", id="a blank in front"),
        pytest.param("secret 8", "", id="nothing"),
    ],
)
def test_only_the_very_password_logs_in(bank: Bank, password: str, attempt: str) -> None:
    bank.anonymous.post("/api/auth/register", registration(password=password))

    assert bank.anonymous.post("/api/auth/login", credentials(password=password)).status == 200
    assert bank.anonymous.post("/api/auth/login", credentials(password=attempt)).code == "invalid_credentials"


@pytest.mark.parametrize("email", ["", "no address", "nul\0@fincore.example", "@", "x" * 10_000])
def test_what_is_no_email_is_as_wrong_as_a_wrong_password(bank: Bank, email: str) -> None:
    answer = bank.anonymous.post("/api/auth/login", credentials(email))

    assert (answer.status, answer.code) == (401, "invalid_credentials")


def test_logging_out_ends_the_session_and_no_other(bank: Bank) -> None:
    first = bank.register()
    second = bank.log_in(first.user["email"])

    answer = first.post("/api/auth/logout")

    assert (answer.status, set(answer.body)) == (200, {"message"})
    assert (first.get("/api/auth/me").status, first.get("/api/auth/me").code) == (401, "token_revoked")
    assert first.post("/api/auth/logout").code == "token_revoked"
    assert second.get("/api/auth/me").status == 200


def test_logging_out_puts_the_whole_session_on_the_blocklist_until_its_last_token_expires(
    bank: Bank, database: Database[Document]
) -> None:
    person = bank.register()
    refresh_claims = jwt.decode(person.refresh_token, JWT_SECRET, ["HS256"], audience=AUDIENCE)

    person.post("/api/auth/logout")

    revoked = database.revoked_tokens.find_one({"_id": refresh_claims[SESSION_CLAIM]})
    assert revoked is not None
    assert revoked["expires_at"].timestamp() >= refresh_claims["exp"]


def test_a_logout_is_known_to_every_process_at_once(bank: Bank, server_port: int) -> None:
    person = bank.register()

    def status_elsewhere(_: int) -> int:
        # New connections at the same time are shared out among the server's processes.
        with closing(http.client.HTTPConnection("127.0.0.1", server_port)) as connection:
            connection.request("GET", "/api/auth/me", headers={"Authorization": f"Bearer {person.token}"})
            return connection.getresponse().status

    with ThreadPoolExecutor(8) as pool:
        before = set(pool.map(status_elsewhere, range(40)))
        person.post("/api/auth/logout")
        after = set(pool.map(status_elsewhere, range(40)))

    assert (before, after) == ({200}, {401})


def test_me_is_the_user_the_token_belongs_to(bank: Bank) -> None:
    asha, ravi = bank.register("Asha Rao"), bank.register("Ravi Iyer")

    assert asha.get("/api/auth/me").body == {"user": asha.user}
    assert ravi.get("/api/auth/me").body == {"user": ravi.user}


def test_every_guarded_call_needs_a_token(app: Flask, bank: Bank) -> None:
    guarded = [
        (method, re.sub("<[^>]+>", "0" * 24, rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        # The page's own session comes in a cookie, and the calls for it refuse whoever is not the page.
        if contract_of(app.view_functions[rule.endpoint]).access not in (None, "session cookie")
    ]

    answers = {call: bank.anonymous.call(*call, body={}) for call in guarded}

    assert answers
    for call, answer in answers.items():
        assert (answer.status, answer.code) == (401, "token_missing"), call
        assert answer.headers["www-authenticate"] == "Bearer", call


def claims_of(person: Person) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(person.token or "", JWT_SECRET, ["HS256"], audience=AUDIENCE)
    return claims


def signed(claims: dict[str, Any], secret: str = JWT_SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, secret, algorithm)


def in_base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def tampered(person: Person) -> str:
    header, _, signature = (person.token or "").split(".")
    claims = {**claims_of(person), "sub": str(ObjectId())}
    return f"{header}.{in_base64(json.dumps(claims).encode())}.{signature}"


def seconds_from_now(seconds: int) -> int:
    return int((datetime.now(UTC) + timedelta(seconds=seconds)).timestamp())


def without(claims: dict[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in claims.items() if other != name}


BAD_TOKENS: dict[str, Callable[[Person], str]] = {
    "signed by nobody": lambda p: jwt.encode(claims_of(p), "", "none"),
    "signed with a foreign secret": lambda p: signed(claims_of(p), FOREIGN_SECRET),
    "signed with another algorithm": lambda p: signed(claims_of(p), JWT_SECRET * 2, "HS512"),
    "for another user than was signed": tampered,
    "without its signature": lambda p: (p.token or "").rpartition(".")[0] + ".",
    "of another issuer": lambda p: signed({**claims_of(p), "iss": "elsewhere"}),
    "of no issuer": lambda p: signed(without(claims_of(p), "iss")),
    "for another audience": lambda p: signed({**claims_of(p), "aud": "elsewhere"}),
    "for no audience": lambda p: signed(without(claims_of(p), "aud")),
    "a refresh token": lambda p: p.refresh_token,
    "of no session": lambda p: signed(without(claims_of(p), SESSION_CLAIM)),
    "of a session that is an operator": lambda p: signed({**claims_of(p), SESSION_CLAIM: {"$ne": 1}}),
    "of no user": lambda p: signed(without(claims_of(p), "sub")),
    "of a user who is an operator": lambda p: signed({**claims_of(p), "sub": {"$ne": 1}}),
    "of a user who does not exist": lambda p: signed({**claims_of(p), "sub": str(ObjectId())}),
    "of a user without an id": lambda p: signed({**claims_of(p), "sub": "asha"}),
    "not valid yet": lambda p: signed({**claims_of(p), "nbf": seconds_from_now(60)}),
    "with a header nested too deep": lambda p: f"{in_base64(b'[' * 5_000)}.{(p.token or '').partition('.')[2]}",
    "with claims nested too deep": lambda p: f"{(p.token or '').partition('.')[0]}.{in_base64(b'[' * 5_000)}.x",
}


@pytest.mark.parametrize("forge", BAD_TOKENS.values(), ids=BAD_TOKENS.keys())
def test_a_token_that_this_bank_did_not_issue_for_this_use_is_invalid(
    bank: Bank, forge: Callable[[Person], str]
) -> None:
    caller = Caller(bank.client, forge(bank.register()))
    # The second time as well: only good tokens are remembered.
    answer = [caller.get("/api/auth/me") for _ in range(2)][-1]

    assert (answer.status, answer.code) == (401, "token_invalid")
    assert answer.headers["www-authenticate"].startswith('Bearer error="invalid_token", ')


def test_a_token_whose_time_is_over_is_expired(bank: Bank) -> None:
    claims = {**claims_of(bank.register()), "exp": seconds_from_now(-12)}

    answer = Caller(bank.client, signed(claims)).get("/api/auth/me")

    assert (answer.status, answer.code) == (401, "token_expired")


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "token_missing"),
        ("   ", "token_missing"),
        (",", "token_missing"),
        ("Basic YXNoYTpzZWNyZXQ=", "token_missing"),
        ("Bearer", "token_invalid"),
        ("Bearer ", "token_invalid"),
        ("Bearer a b", "token_invalid"),
        ("Bearer null", "token_invalid"),
        ("Bearer ..", "token_invalid"),
        ("Bearer a.b.c", "token_invalid"),
        ("Bearer {}", "token_invalid"),
        ("Bearer ÿÿÿ", "token_invalid"),
        ("Bearer " + "x" * 5_000, "token_invalid"),
        (", ,Bearer", "token_invalid"),
    ],
)
def test_a_garbled_authorization_header_is_refused(bank: Bank, header: str, code: str) -> None:
    answer = bank.anonymous.get("/api/auth/me", headers={"Authorization": header})

    assert (answer.status, answer.code) == (401, code)


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR"])
def test_the_scheme_of_a_token_is_read_in_any_case(bank: Bank, scheme: str) -> None:
    person = bank.register()
    header, double = f"{scheme} {person.token}", f"Bearer {person.token}, {scheme} {person.token}"

    assert bank.anonymous.get("/api/auth/me", headers={"Authorization": header}).body == {"user": person.user}
    assert bank.anonymous.get("/api/auth/me", headers={"Authorization": double}).code == "token_missing"
    assert bank.anonymous.get("/api/auth/me", headers={"Authorization": f"Basic {person.token}"}).status == 401


def test_a_token_counts_in_the_header_only(bank: Bank) -> None:
    token = bank.register().token

    assert bank.anonymous.get(f"/api/auth/me?jwt={token}").code == "token_missing"
    assert bank.anonymous.get("/api/auth/me", headers={"Cookie": f"access_token_cookie={token}"}).code == (
        "token_missing"
    )
