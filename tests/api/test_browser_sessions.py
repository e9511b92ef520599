"""The web page's session: its refresh token is in a cookie, and only the bank's own page may use it."""

from datetime import timedelta
from http.cookies import Morsel, SimpleCookie

import pytest
from flask import Flask
from pymongo.database import Database

from app.mongo import Document
from tests.api.test_sessions import make_uses_older
from tests.clients import Answer
from tests.people import PASSWORD, Bank, Caller, Person

OWN = {"X-Requested-With": "fincore"}
NAME = "fincore-session"


class Browser:
    """What a browser does for the page: it keeps the cookie and sends it along."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self.cookie: str | None = None

    def send(self, method: str, path: str, body: Document | None = None, **headers: str) -> Answer:
        """Send a request from the bank's page, with further headers, or others: `Sec_Fetch_Site="none"`."""
        sent = {**OWN, **{name.replace("_", "-"): value for name, value in headers.items()}}
        if self.cookie is not None:
            sent["Cookie"] = f"{NAME}={self.cookie}"
        with self._app.test_client(use_cookies=False) as client:
            response = client.open(path, method=method, json=body, headers=sent)
            answer = Answer(
                response.status_code,
                {name.lower(): value for name, value in response.headers.items()},
                response.get_data(),
            )
        if "set-cookie" in answer.headers:
            self.cookie = cookie_of(answer).value or None
        return answer

    def sign_in(self, person: Person, **headers: str) -> Answer:
        return self.send("POST", "/session", {"email": person.user["email"], "password": PASSWORD}, **headers)

    def refresh(self, **headers: str) -> Answer:
        return self.send("POST", "/session/refresh", None, **headers)

    def sign_out(self, **headers: str) -> Answer:
        return self.send("DELETE", "/session", None, **headers)


def cookie_of(answer: Answer) -> "Morsel[str]":
    (morsel,) = SimpleCookie(answer.headers["set-cookie"]).values()
    return morsel


def is_good(bank: Bank, answer: Answer) -> bool:
    return Caller(bank.client, answer.body["token"]).get("/api/auth/me").status == 200


@pytest.fixture
def browser(app: Flask) -> Browser:
    return Browser(app)


@pytest.fixture
def person(bank: Bank) -> Person:
    return bank.register()


def test_a_login_puts_the_refresh_token_into_a_cookie_that_no_script_reads(
    bank: Bank, browser: Browser, person: Person
) -> None:
    answer = browser.sign_in(person)
    cookie = cookie_of(answer)

    assert answer.status == 200
    assert answer.body.keys() == {"user", "token", "expiresIn"}
    assert answer.headers["cache-control"] == "no-store"
    assert is_good(bank, answer)
    assert (cookie.key, cookie["path"], cookie["samesite"]) == (NAME, "/session", "Strict")
    assert cookie["httponly"]
    assert not cookie["secure"], "Browsers would not keep it on http://127.0.0.1."
    assert int(cookie["max-age"]) == 30 * 24 * 3600


def test_under_tls_the_cookie_is_secure_and_bound_to_the_host(app: Flask, person: Person) -> None:
    credentials = {"email": person.user["email"], "password": PASSWORD}
    with app.test_client(use_cookies=False) as client:
        begun = client.post("/session", json=credentials, headers=OWN, base_url="https://bank.example")
        (cookie,) = SimpleCookie(begun.headers["Set-Cookie"]).values()
        sent = {**OWN, "Cookie": f"__Host-fincore={cookie.value}", "Origin": "https://bank.example"}
        refreshed = client.post("/session/refresh", headers=sent, base_url="https://bank.example")
        downgraded = client.post(
            "/session/refresh", headers={**sent, "Origin": "http://bank.example"}, base_url="https://bank.example"
        )

    assert (cookie.key, cookie["path"], bool(cookie["secure"])) == ("__Host-fincore", "/", True)
    assert not cookie["domain"]
    assert refreshed.status_code == 200
    assert downgraded.status_code == 403


def test_a_wrong_password_is_answered_like_at_a_login(browser: Browser, person: Person) -> None:
    answer = browser.send("POST", "/session", {"email": person.user["email"], "password": "wrong password"})
    assert (answer.status, answer.code) == (401, "invalid_credentials")
    assert "set-cookie" not in answer.headers


def test_a_refresh_continues_the_session(bank: Bank, browser: Browser, person: Person) -> None:
    first = browser.sign_in(person)
    cookie = browser.cookie
    answer = browser.refresh()
    assert answer.status == 200
    assert answer.body["user"] == person.user
    assert is_good(bank, answer)
    assert is_good(bank, first), "The earlier access token goes on until it expires."
    assert browser.cookie != cookie


def test_a_refresh_without_a_session_is_no_error(browser: Browser) -> None:
    answer = browser.refresh()
    assert (answer.status, answer.content) == (204, b"")
    # It may come late, and must not take away what another tab was given meanwhile.
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("cookie", ["nonsense", "a.b.c", "", "eyJhbGciOiJub25lIn0.e30.", "," * 50])
def test_a_cookie_that_is_no_token_is_no_session(browser: Browser, cookie: str) -> None:
    browser.cookie = cookie
    assert browser.refresh().status == 204
    browser.cookie = cookie
    assert browser.sign_out().status == 204


def test_an_access_token_in_the_cookie_is_no_session(browser: Browser, person: Person) -> None:
    browser.cookie = person.token
    assert browser.refresh().status == 204


def test_two_tabs_that_refresh_with_one_cookie_get_the_same_tokens(
    bank: Bank, browser: Browser, person: Person
) -> None:
    browser.sign_in(person)
    cookie = browser.cookie
    first = browser.refresh()
    successor, browser.cookie = browser.cookie, cookie
    second = browser.refresh()
    assert second.body["token"] == first.body["token"]
    assert browser.cookie == successor
    assert is_good(bank, second)


def test_a_cookie_that_is_used_again_later_ends_the_session(
    bank: Bank, database: Database[Document], browser: Browser, person: Person
) -> None:
    browser.sign_in(person)
    spent = browser.cookie
    answer = browser.refresh()
    successor = browser.cookie
    make_uses_older(database, timedelta(seconds=11))
    browser.cookie = spent
    assert browser.refresh().status == 204
    assert not is_good(bank, answer)
    browser.cookie = successor
    assert browser.refresh().status == 204


def test_signing_out_ends_the_session_and_takes_the_cookie_away(bank: Bank, browser: Browser, person: Person) -> None:
    begun = browser.sign_in(person)
    cookie = browser.cookie
    answer = browser.sign_out()
    assert (answer.status, cookie_of(answer)["max-age"], browser.cookie) == (204, "0", None)
    assert not is_good(bank, begun)
    browser.cookie = cookie
    assert browser.refresh().status == 204
    assert browser.sign_out().status == 204, "Whoever has no session may still leave."


def test_a_logout_everywhere_ends_the_session_of_the_page(bank: Bank, browser: Browser, person: Person) -> None:
    begun = browser.sign_in(person)
    assert person.post("/api/auth/logout", {"everywhere": True}).status == 200
    assert not is_good(bank, begun)
    assert browser.refresh().status == 204


def test_a_new_login_in_the_same_browser_ends_the_session_before_it(
    bank: Bank, browser: Browser, person: Person
) -> None:
    first = browser.sign_in(person)
    second = browser.sign_in(bank.register("Ben Cole"))
    assert not is_good(bank, first)
    assert is_good(bank, second)


CALLS = [("POST", "/session"), ("POST", "/session/refresh"), ("DELETE", "/session")]


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize(
    "headers",
    [
        {"X_Requested_With": ""},
        {"X_Requested_With": "XMLHttpRequest"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:81"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "same-origin", "Origin": "https://evil.example"},
    ],
)
def test_a_request_that_another_page_caused_is_refused(
    bank: Bank, browser: Browser, person: Person, method: str, path: str, headers: dict[str, str]
) -> None:
    begun = browser.sign_in(person)
    body = {"email": person.user["email"], "password": PASSWORD} if path == "/session" and method == "POST" else None
    answer = browser.send(method, path, body, **headers)
    assert (answer.status, answer.code) == (403, "forbidden")
    assert "set-cookie" not in answer.headers
    assert is_good(bank, begun)


@pytest.mark.parametrize(
    "headers", [{}, {"Sec_Fetch_Site": "same-origin"}, {"Origin": "http://localhost", "Sec_Fetch_Site": "same-origin"}]
)
def test_a_request_of_the_banks_own_page_is_admitted(browser: Browser, person: Person, headers: dict[str, str]) -> None:
    assert browser.sign_in(person, **headers).status == 200
    assert browser.refresh(**headers).status == 200
    assert browser.sign_out(**headers).status == 204


def test_the_api_itself_takes_no_cookie(browser: Browser, person: Person) -> None:
    browser.sign_in(person)
    cookie = browser.cookie
    assert browser.send("GET", "/api/auth/me", Cookie=f"{NAME}={cookie}").status == 401
