"""Wrong passwords: guessing becomes slow, and nobody locks an owner out by it."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from pymongo.database import Database

from app import clock, create_app
from app.auth import attempts, passwords
from app.mongo import Document
from config import Config
from tests.clients import Answer, InProcess
from tests.people import PASSWORD, Bank, Caller, Person
from tests.security.conftest import Edge, MakeEdge

ATTACKER, OWNER = "203.0.113.66", "198.51.100.7"
WRONG = "not the password"


def log_in(edge: Edge, email: str, password: str = WRONG, address: str = ATTACKER) -> Answer:
    return edge.caller(address).post("/api/auth/login", {"email": email, "password": password})


@pytest.fixture(autouse=True)
def _time_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """A delay of a second is not over before the next try, however slow this machine is."""
    now = clock.now()
    monkeypatch.setattr(attempts, "clock", SimpleNamespace(now=lambda: now))


def wait_out(database: Database[Document]) -> None:
    """Let every delay that lasts be over."""
    long_ago = datetime.now(UTC) - attempts.GUESSER.delay_max - timedelta(seconds=1)
    database.login_failures.update_many({}, {"$set": {"last_failure_at": long_ago}})


def test_delays_double_up_to_their_limit() -> None:
    free = attempts.GUESSER.free
    delays = [attempts.delay_after(failures, attempts.GUESSER).total_seconds() for failures in range(free + 12)]
    assert delays[:free] == [0] * free
    assert delays[free : free + 4] == [1, 2, 4, 8]
    assert delays[-1] == attempts.GUESSER.delay_max.total_seconds()
    assert attempts.delay_after(10**6, attempts.GUESSER) == attempts.GUESSER.delay_max


def test_after_five_wrong_passwords_the_next_try_has_to_wait_and_longer_each_time(
    make_edge: MakeEdge, bank: Bank, database: Database[Document]
) -> None:
    edge, email = make_edge(), bank.register().user["email"]
    for _ in range(5):
        assert log_in(edge, email).code == "invalid_credentials"
    waits = []
    for _ in range(4):
        answer = log_in(edge, email)
        assert (answer.status, answer.code) == (429, "too_many_attempts")
        waits.append(int(answer.headers["retry-after"]))
        wait_out(database)
        assert log_in(edge, email).code == "invalid_credentials"
    assert waits == [1, 2, 4, 8]


def test_the_right_password_has_to_wait_too_and_then_forgets_the_failures(
    make_edge: MakeEdge, bank: Bank, database: Database[Document]
) -> None:
    edge, email = make_edge(), bank.register().user["email"]
    for _ in range(5):
        log_in(edge, email)
    assert log_in(edge, email, PASSWORD).code == "too_many_attempts"
    wait_out(database)
    assert log_in(edge, email, PASSWORD).status == 200
    for _ in range(5):
        assert log_in(edge, email).code == "invalid_credentials"


def test_many_guesses_at_the_same_moment_get_one_check_for_each_delay(
    make_edge: MakeEdge, bank: Bank, database: Database[Document]
) -> None:
    edge, email = make_edge(), bank.register().user["email"]
    for _ in range(7):
        wait_out(database)
        log_in(edge, email)
    wait_out(database)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: log_in(edge, email), range(8)))
    assert [answer.code for answer in answers].count("invalid_credentials") == 1


def test_guessing_disturbs_no_session_and_not_the_change_of_the_password(
    make_edge: MakeEdge, bank: Bank, database: Database[Document]
) -> None:
    person = bank.register()
    edge = make_edge()
    for _ in range(12):
        wait_out(database)
        log_in(edge, person.user["email"])
    assert log_in(edge, person.user["email"], PASSWORD).code == "too_many_attempts"
    owner = edge.caller(OWNER, person.token)
    assert owner.get("/api/auth/me").status == 200
    assert edge.caller(OWNER, person.refresh_token).post("/api/auth/refresh").status == 200
    change = {"currentPassword": PASSWORD, "newPassword": "another long enough one"}
    assert owner.call("PUT", "/api/auth/password", change).status == 200
    assert log_in(edge, person.user["email"], "another long enough one", OWNER).status == 200


def test_guesses_from_elsewhere_delay_no_owner(make_edge: MakeEdge, bank: Bank, database: Database[Document]) -> None:
    edge, email = make_edge(), bank.register().user["email"]
    for _ in range(12):
        wait_out(database)
        log_in(edge, email)
    assert log_in(edge, email).code == "too_many_attempts"
    assert log_in(edge, email, PASSWORD, OWNER).status == 200
    assert log_in(edge, email).code == "too_many_attempts", "The owner's success is no success of the guesser."


def test_guesses_from_everywhere_delay_only_who_was_never_seen(
    make_edge: MakeEdge, bank: Bank, database: Database[Document]
) -> None:
    edge, email = make_edge(ratelimit_auth="1000/minute"), bank.register().user["email"]
    assert log_in(edge, email, PASSWORD, OWNER).status == 200
    log_in(edge, email)
    guesses = {"failures": attempts.ACCOUNT.free + 3, "last_failure_at": datetime.now(UTC)}
    database.login_failures.update_one({"_id": {"$regex": "^account:"}}, {"$set": guesses})
    stranger = log_in(edge, email, PASSWORD, "192.0.2.1")
    assert stranger.code == "too_many_attempts"
    assert stranger.headers["retry-after"] == "60", "It tells not how often others guessed."
    assert log_in(edge, email, PASSWORD, OWNER).status == 200
    assert log_in(edge, email, PASSWORD, "192.0.2.1").status == 200


def test_a_session_cannot_guess_its_users_password_for_ever(make_edge: MakeEdge, bank: Bank) -> None:
    person = bank.register()
    caller = make_edge().caller(OWNER, person.token)
    change = {"currentPassword": WRONG, "newPassword": "another long enough one"}
    codes = [caller.call("PUT", "/api/auth/password", change).code for _ in range(6)]
    assert codes == ["invalid_credentials"] * 5 + ["too_many_attempts"]


def test_guessing_at_many_accounts_from_one_address_gets_slow_there_alone(make_edge: MakeEdge, bank: Bank) -> None:
    edge, email = make_edge(ratelimit_auth="1000/minute"), bank.register().user["email"]
    codes = [log_in(edge, f"nobody-{n}@fincore.example").code for n in range(attempts.ADDRESS.free + 1)]
    assert codes == ["invalid_credentials"] * attempts.ADDRESS.free + ["too_many_attempts"]
    assert log_in(edge, email, PASSWORD, OWNER).status == 200


def test_one_address_cannot_pass_for_many_by_a_header(make_edge: MakeEdge, bank: Bank) -> None:
    edge = make_edge(trusted_proxies=(), ratelimit_auth="1000/minute")
    codes = {
        log_in(edge, f"nobody-{n}@fincore.example", address=f"203.0.113.{n}").code
        for n in range(attempts.ADDRESS.free + 1)
    }
    assert "too_many_attempts" in codes


def test_unknown_addresses_are_counted_like_known_ones(make_edge: MakeEdge) -> None:
    edge = make_edge()
    codes = [log_in(edge, "nobody@fincore.example").code for _ in range(6)]
    assert codes == ["invalid_credentials"] * 5 + ["too_many_attempts"]


def costlier_by_one(config: Config) -> Config:
    return replace(config, auth=replace(config.auth, bcrypt_rounds=config.auth.bcrypt_rounds + 1))


def test_nothing_is_delayed_where_limits_are_off(make_edge: MakeEdge, bank: Bank) -> None:
    edge, email = make_edge(ratelimit_enabled=False), bank.register().user["email"]
    assert {log_in(edge, email).code for _ in range(10)} == {"invalid_credentials"}


def test_a_login_brings_the_hash_to_the_configured_cost_and_ends_no_session(
    config: Config, bank: Bank, database: Database[Document]
) -> None:
    person = bank.register()
    before = users_hash(database, person)
    costlier = Bank(InProcess(create_app(costlier_by_one(config))))
    assert costlier.anonymous.post("/api/auth/login", {"email": person.user["email"], "password": WRONG}).status == 401
    assert users_hash(database, person) == before
    session = costlier.log_in(person.user["email"])
    after = users_hash(database, person)
    assert after.startswith(f"$2b$0{config.auth.bcrypt_rounds + 1}$")
    assert {session.get("/api/auth/me").status, person.get("/api/auth/me").status} == {200}
    costlier.log_in(person.user["email"])
    assert users_hash(database, person) == after, "Once is enough."


def test_a_change_of_the_password_during_a_login_that_changes_the_cost_stands(
    config: Config, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    person, hash_password = bank.register(), passwords.hash_password
    costlier = Bank(InProcess(create_app(costlier_by_one(config))))

    def after_a_change(password: str, bcrypt_rounds: int) -> str:
        monkeypatch.setattr(passwords, "hash_password", hash_password)
        change = {"currentPassword": PASSWORD, "newPassword": "another long enough one"}
        assert person.call("PUT", "/api/auth/password", change).status == 200
        return hash_password(password, bcrypt_rounds)

    monkeypatch.setattr(passwords, "hash_password", after_a_change)
    overtaken = costlier.log_in(person.user["email"])
    assert overtaken.get("/api/auth/me").code == "token_revoked"
    login = {"email": person.user["email"], "password": PASSWORD}
    assert bank.anonymous.post("/api/auth/login", login).status == 401
    assert bank.log_in(person.user["email"], "another long enough one").get("/api/auth/me").status == 200


def users_hash(database: Database[Document], person: Person) -> str:
    (user,) = database.users.find({"email": person.user["email"]})
    password_hash: str = user["password_hash"]
    return password_hash


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/auth/login", {"password": WRONG}),
        ("/api/auth/password/forgot", {}),
    ],
)
def test_the_time_tells_not_whether_an_address_is_registered(bank: Bank, path: str, body: Document) -> None:
    email = bank.register().user["email"]
    # Once for each, so that nothing is measured that happens the first time only.
    times: dict[str, list[float]] = {email: [], "nobody@fincore.example": []}
    answers = {}
    for _ in range(40):
        for address, of_address in times.items():
            begun = time.perf_counter()
            answer = Caller(bank.client).post(path, {**body, "email": address})
            of_address.append(time.perf_counter() - begun)
            answers[address] = (answer.status, {**answer.body, "requestId": None})
    assert len({str(answer) for answer in answers.values()}) == 1
    known, unknown = (statistics.median(of_address[1:]) for of_address in times.values())
    assert abs(known - unknown) < 0.5 * max(known, unknown)


def test_five_failed_logins_within_fifteen_minutes_are_one_audit_record(
    make_edge: MakeEdge, database: Database[Document]
) -> None:
    edge = make_edge(ratelimit_enabled=False)
    for _ in range(9):
        log_in(edge, "asha@fincore.example")
    (record,) = database.audit_log.find({})
    assert (record["action"], record["subject"], record["address"]) == (
        "login_failures",
        "asha@fincore.example",
        ATTACKER,
    )
    assert record["request_id"]
    log_in(edge, "asha@fincore.example")
    assert database.audit_log.count_documents({}) == 2, "Five more are told again."


def test_failures_more_than_fifteen_minutes_apart_alarm_nobody(
    make_edge: MakeEdge, database: Database[Document]
) -> None:
    edge = make_edge(ratelimit_enabled=False)
    for _ in range(4):
        log_in(edge, "asha@fincore.example")
    database.login_failures.update_many(
        {}, [{"$set": {"recent": {"$map": {"input": "$recent", "in": {"$subtract": ["$$this", 16 * 60_000]}}}}}]
    )
    log_in(edge, "asha@fincore.example")
    assert database.audit_log.count_documents({}) == 0


@pytest.mark.parametrize("smuggled", ["\x1b[2J", "\x07", "\x9b31m", "\u202e", "\x7f", "\ufeff"])
def test_what_would_act_on_an_operators_screen_is_no_address(
    make_edge: MakeEdge, database: Database[Document], smuggled: str
) -> None:
    edge = make_edge(ratelimit_enabled=False)
    for _ in range(5):
        assert log_in(edge, f"{smuggled}all-is-well@fincore.example").code == "invalid_credentials"
    assert database.audit_log.count_documents({}) == 0


def test_what_was_typed_in_place_of_an_address_is_kept_nowhere(
    make_edge: MakeEdge, database: Database[Document]
) -> None:
    edge = make_edge()
    for _ in range(6):
        log_in(edge, PASSWORD)
    assert database.audit_log.count_documents({}) == 0
    assert PASSWORD not in str(list(database.login_failures.find({})))
