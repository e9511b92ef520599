"""Sessions: how long they last, and what a refresh, a logout and a new password end."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from pymongo.database import Database

from app import create_app
from app.mongo import Document
from config import Config
from tests.clients import Answer, InProcess
from tests.people import PASSWORD, Bank, Caller, Person
from tests.server import JWT_SECRET

NEW_PASSWORD = "another long enough one"


def refresh(client: Bank, token: str) -> Answer:
    return Caller(client.client, token).post("/api/auth/refresh")


def resumed(bank: Bank, answer: Answer) -> Person:
    return Person(bank.client, answer.body["token"], answer.body["user"], answer.body["refreshToken"])


def claims(token: str) -> Document:
    return jwt.decode(token, options={"verify_signature": False})


def change_password(person: Person, current: str = PASSWORD, new: str = NEW_PASSWORD) -> Answer:
    return person.call("PUT", "/api/auth/password", {"currentPassword": current, "newPassword": new})


def is_logged_in(person: Person) -> bool:
    answer = person.get("/api/auth/me")
    assert answer.code in (None, "token_revoked")
    return answer.status == 200


def test_an_access_token_lasts_fifteen_minutes_and_a_refresh_token_thirty_days(bank: Bank) -> None:
    person = bank.register()
    access, refresh_ = claims(person.token or ""), claims(person.refresh_token)
    assert access["exp"] - access["iat"] == 15 * 60
    assert refresh_["exp"] - refresh_["iat"] == 30 * 24 * 3600


def test_a_refresh_answers_like_a_login_and_stays_in_the_session(bank: Bank) -> None:
    person = bank.register()
    answer = refresh(bank, person.refresh_token)
    assert answer.status == 200
    assert answer.body.keys() == {"user", "token", "refreshToken", "expiresIn"}
    assert answer.body["user"] == person.user
    assert is_logged_in(resumed(bank, answer))
    resumed(bank, answer).post("/api/auth/logout")
    assert not is_logged_in(person), "One logout ends all tokens of the session."


def test_refresh_tokens_follow_one_another(bank: Bank) -> None:
    person = bank.register()
    for _ in range(3):
        person = resumed(bank, refresh(bank, person.refresh_token))
    assert is_logged_in(person)


def test_a_spent_refresh_token_used_again_later_ends_the_session(bank: Bank, database: Database[Document]) -> None:
    person = bank.register()
    bystander = bank.log_in(person.user["email"])
    successor = resumed(bank, refresh(bank, person.refresh_token))
    make_uses_older(database, timedelta(seconds=11))
    assert refresh(bank, person.refresh_token).code == "token_revoked"
    assert not is_logged_in(successor)
    assert refresh(bank, successor.refresh_token).code == "token_revoked"
    assert is_logged_in(bystander), "Other sessions of the user go on."


def make_uses_older(database: Database[Document], age: timedelta) -> None:
    """Let every use of a refresh token be so much longer ago."""
    milliseconds = age // timedelta(milliseconds=1)
    database.revoked_tokens.update_many({}, [{"$set": {"spent_at": {"$subtract": ["$spent_at", milliseconds]}}}])


def test_refreshes_with_one_token_at_the_same_moment_get_the_same_successors(live_bank: Bank) -> None:
    person = live_bank.register()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: refresh(live_bank, person.refresh_token), range(8)))
    assert {answer.status for answer in answers} == {200}
    assert len({(answer.body["token"], answer.body["refreshToken"]) for answer in answers}) == 1
    assert is_logged_in(resumed(live_bank, refresh(live_bank, answers[0].body["refreshToken"])))


def test_a_refresh_that_is_asked_for_again_gets_the_same_successors(bank: Bank, database: Database[Document]) -> None:
    person = bank.register()
    first = refresh(bank, person.refresh_token).body
    again = refresh(bank, person.refresh_token).body
    assert (again["token"], again["refreshToken"]) == (first["token"], first["refreshToken"])
    assert again["expiresIn"] <= first["expiresIn"] == 900
    kept = str(list(database.revoked_tokens.find({})))
    assert first["token"] not in kept
    assert first["refreshToken"] not in kept


def test_what_version_1_spent_is_spent(bank: Bank, database: Database[Document]) -> None:
    person = bank.register()
    expires_at = datetime.now(UTC) + timedelta(days=30)
    database.revoked_tokens.insert_one({"_id": claims(person.refresh_token)["jti"], "expires_at": expires_at})
    assert refresh(bank, person.refresh_token).code == "token_revoked"
    assert not is_logged_in(person)


def test_logging_out_takes_the_refresh_token_though_it_is_spent(bank: Bank) -> None:
    person, other = bank.register(), bank.register()
    assert Caller(bank.client, person.refresh_token).post("/api/auth/logout").status == 200
    assert not is_logged_in(person)
    successor = resumed(bank, refresh(bank, other.refresh_token))
    assert Caller(bank.client, other.refresh_token).post("/api/auth/logout").status == 200
    assert not is_logged_in(successor)


def test_logging_out_takes_an_access_token_that_has_expired_by_itself(bank: Bank) -> None:
    person = bank.register()
    expired = Caller(bank.client, aged(person.token or "", timedelta(hours=1)))
    assert expired.get("/api/auth/me").code == "token_expired"
    assert expired.post("/api/auth/logout").status == 200
    assert expired.post("/api/auth/logout").code == "token_revoked"
    assert not is_logged_in(person)


def test_a_token_of_a_session_that_is_over_by_itself_logs_nobody_out(bank: Bank) -> None:
    person = bank.register()
    old = Caller(bank.client, aged(person.token or "", timedelta(days=31)))
    assert old.post("/api/auth/logout", {"everywhere": True}).code == "token_expired"
    stale = Caller(bank.client, aged(person.refresh_token, timedelta(days=31)))
    assert stale.post("/api/auth/logout").code == "token_expired"
    assert is_logged_in(person)


def test_logging_out_everywhere_ends_every_session_and_no_later_one(bank: Bank) -> None:
    person, bystander = bank.register(), bank.register()
    other = bank.log_in(person.user["email"])
    assert person.post("/api/auth/logout", {"everywhere": False}).status == 200
    assert is_logged_in(other)
    third = bank.log_in(person.user["email"])
    assert third.post("/api/auth/logout", {"everywhere": True}).status == 200
    assert not is_logged_in(other)
    assert refresh(bank, other.refresh_token).code == "token_revoked"
    assert is_logged_in(bystander)
    assert is_logged_in(bank.log_in(person.user["email"]))


def aged(token: str, age: timedelta) -> str:
    """Return the token as it would be had it been made so much earlier."""
    payload = claims(token)
    earlier = {name: payload[name] - int(age.total_seconds()) for name in ("iat", "nbf", "exp")}
    return jwt.encode({**payload, **earlier}, JWT_SECRET, algorithm="HS256")


@pytest.mark.parametrize(("ahead_s", "code"), [(8, None), (60, "token_invalid")])
def test_a_clock_that_is_ten_seconds_ahead_makes_good_tokens(bank: Bank, ahead_s: int, code: str | None) -> None:
    token = aged(bank.register().token or "", -timedelta(seconds=ahead_s))
    assert Caller(bank.client, token).get("/api/auth/me").code == code


@pytest.mark.parametrize(("over_s", "code"), [(4, None), (13, "token_expired")])
def test_a_clock_that_is_ten_seconds_behind_uses_good_tokens(bank: Bank, over_s: int, code: str | None) -> None:
    token = aged(bank.register().token or "", timedelta(minutes=15, seconds=over_s))
    assert Caller(bank.client, token).get("/api/auth/me").code == code


def shortened(config: Config, days: int) -> Config:
    return replace(config, auth=replace(config.auth, refresh_lifetime=timedelta(days=days)))


def test_what_ends_a_session_lasts_as_long_as_its_tokens_whatever_the_lifetime_is_today(
    config: Config, bank: Bank, database: Database[Document]
) -> None:
    people = [bank.register() for _ in range(3)]
    today = Bank(InProcess(create_app(shortened(config, 1))))
    Caller(today.client, people[0].token).post("/api/auth/logout")
    Caller(today.client, people[1].refresh_token).post("/api/auth/logout")
    Caller(today.client, people[2].token).post("/api/auth/logout", {"everywhere": True})
    # What MongoDB takes away within the 29 days for which the tokens are still good.
    database.revoked_tokens.delete_many({"expires_at": {"$lt": datetime.now(UTC) + timedelta(days=29)}})
    assert [refresh(bank, person.refresh_token).code for person in people] == ["token_revoked"] * 3


def test_a_token_older_than_todays_lifetime_is_refused(config: Config, bank: Bank) -> None:
    person = bank.register()
    today = Bank(InProcess(create_app(shortened(config, 1))))
    old = aged(person.refresh_token, timedelta(days=2))
    assert refresh(today, old).code == "token_expired"
    assert refresh(bank, old).status == 200


def test_a_users_own_generation_ends_sessions_without_the_blocklist(bank: Bank, database: Database[Document]) -> None:
    person = bank.register()
    other = bank.log_in(person.user["email"])
    change_password(person)
    database.revoked_tokens.delete_many({})
    assert refresh(bank, other.refresh_token).code == "token_revoked"
    assert refresh(bank, person.refresh_token).status == 200


def test_a_blocklist_row_goes_when_its_token_has_expired(bank: Bank, database: Database[Document]) -> None:
    person = bank.register()
    old = claims(person.refresh_token)
    refresh(bank, person.refresh_token)
    row = database.revoked_tokens.find_one({"_id": old["jti"]})
    assert row is not None
    expires_at = datetime.fromtimestamp(old["exp"], UTC)
    assert timedelta() < row["expires_at"] - expires_at < timedelta(minutes=5)
    index = database.revoked_tokens.index_information()["expires_at_1"]
    assert index["expireAfterSeconds"] == 0


@pytest.mark.parametrize(("path", "is_refresh_token"), [("/api/auth/me", True), ("/api/auth/refresh", False)])
def test_an_access_token_is_no_refresh_token_nor_the_other_way_round(
    bank: Bank, path: str, is_refresh_token: bool
) -> None:
    person = bank.register()
    token = person.refresh_token if is_refresh_token else person.token
    method = "GET" if path.endswith("me") else "POST"
    assert Caller(bank.client, token).call(method, path).code == "token_invalid"


@pytest.mark.parametrize(
    "changes",
    [{"sid": None}, {"gen": None}, {"sid": 7}, {"gen": "x"}, {"aud": "others"}, {"iss": "others"}, {"sub": 7}],
)
def test_a_token_of_ours_with_claims_of_another_shape_is_refused(bank: Bank, changes: Document) -> None:
    payload = {**claims(bank.register().token or ""), **changes}
    payload = {name: value for name, value in payload.items() if value is not None}
    token = jwt.encode(payload, JWT_SECRET, algorithm="HS256")
    assert Caller(bank.client, token).get("/api/auth/me").code == "token_invalid"


@pytest.mark.parametrize("forged", ["none", "other-secret", "HS384"])
def test_a_forged_token_is_refused(bank: Bank, forged: str) -> None:
    payload = claims(bank.register().token or "")
    token = {
        "none": lambda: jwt.encode(payload, "", algorithm="none"),
        "other-secret": lambda: jwt.encode(payload, "x" * 64, algorithm="HS256"),
        "HS384": lambda: jwt.encode(payload, JWT_SECRET + "-padded-to-forty-eight-bytes", algorithm="HS384"),
    }[forged]()
    assert Caller(bank.client, token).get("/api/auth/me").code == "token_invalid"


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "Bearer a b", "Bearer ü", "Bearer a.b.c", "Basic YTpi", "Bearer " + "a" * 5000]
)
def test_whatever_the_authorization_header_says_is_answered_401(bank: Bank, header: str) -> None:
    answer = bank.anonymous.get("/api/auth/me", headers={"Authorization": header})
    assert answer.code in ("token_missing", "token_invalid")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert ("error" in answer.headers["www-authenticate"]) == (answer.code == "token_invalid")


def test_a_new_password_ends_every_other_session_and_not_this_one(bank: Bank) -> None:
    person = bank.register()
    other = bank.log_in(person.user["email"])
    assert change_password(person).status == 200
    assert is_logged_in(person)
    assert not is_logged_in(other)
    assert refresh(bank, other.refresh_token).code == "token_revoked"
    assert is_logged_in(resumed(bank, refresh(bank, person.refresh_token)))
    assert is_logged_in(bank.log_in(person.user["email"], NEW_PASSWORD))


def test_a_second_change_from_another_session_ends_the_one_spared_before(bank: Bank) -> None:
    person = bank.register()
    change_password(person)
    other = bank.log_in(person.user["email"], NEW_PASSWORD)
    change_password(other, NEW_PASSWORD, PASSWORD)
    assert is_logged_in(other)
    assert not is_logged_in(person)


def test_a_change_needs_the_current_password(bank: Bank) -> None:
    person = bank.register()
    answer = change_password(person, current="not the password")
    assert (answer.status, answer.code) == (401, "invalid_credentials")
    assert bank.log_in(person.user["email"])


def test_a_login_that_races_with_a_change_of_the_password_leaves_no_session_of_the_old_one(live_bank: Bank) -> None:
    person = live_bank.register()
    email = person.user["email"]

    def log_in(_: int) -> Answer:
        return live_bank.anonymous.post("/api/auth/login", {"email": email, "password": PASSWORD})

    with ThreadPoolExecutor(9) as pool:
        changed = pool.submit(change_password, person)
        logins = list(pool.map(log_in, range(40)))
    assert changed.result().status == 200
    begun = [resumed(live_bank, answer) for answer in logins if answer.status == 200]
    assert not any(is_logged_in(other) for other in begun)
    assert is_logged_in(person)


def test_of_two_changes_at_the_same_moment_one_succeeds(live_bank: Bank) -> None:
    person = live_bank.register()
    other = live_bank.log_in(person.user["email"])
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(change_password, person, PASSWORD, "the first new password")
        second = pool.submit(change_password, other, PASSWORD, "the second new password")
    # The loser's session has ended, or its current password is not the current one any more.
    assert sorted(answer.result().status for answer in (first, second)) == [200, 401]


def test_login_takes_the_address_as_register_does(bank: Bank) -> None:
    email = bank.register().user["email"]
    assert bank.log_in(f"  {email.upper()} ").user["email"] == email


@pytest.mark.parametrize("password", ["password123", "Password123", "1234567890", "QWERTYUIOP"])
def test_a_common_password_is_refused(bank: Bank, password: str) -> None:
    body = {"name": "Asha Rao", "email": "asha@fincore.example", "password": password}
    answer = bank.anonymous.post("/api/auth/register", body)
    assert answer.code == "validation_failed"
    assert "password" in answer.body["errors"]


@pytest.mark.parametrize("field", ["email", "password"], ids=lambda field: f"an operator as {field}")
def test_no_operator_reaches_a_query(bank: Bank, field: str) -> None:
    email = bank.register().user["email"]
    body = {"email": email, "password": PASSWORD, field: {"$ne": None}}
    assert bank.anonymous.post("/api/auth/login", body).code == "validation_failed"
