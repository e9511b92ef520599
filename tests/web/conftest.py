"""One browser and one server for all tests of the page."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from pymongo.database import Database

from app.mongo import Document
from tests.clients import OverHttp
from tests.people import PASSWORD, Bank, Person
from tests.web import browser as chromium
from tests.web.browser import Faults, open_page

expect.set_options(timeout=chromium.PATIENCE_MS)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if chromium.CHROMIUM is None:
        if chromium.IS_CI:
            pytest.fail(chromium.ADVICE)
        pytest.skip(chromium.ADVICE)
    with sync_playwright() as playwright:
        browser = chromium.launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def web(server_port: int, database: Database[Document]) -> Iterator[Bank]:
    """The bank behind a server, called by the API to prepare what the page then shows."""
    client = OverHttp(server_port)
    yield Bank(client)
    client.close()


@pytest.fixture
def address(server_port: int) -> str:
    return f"http://127.0.0.1:{server_port}"


@pytest.fixture
def opened(browser: Browser, web: Bank, address: str) -> Iterator[tuple[Page, Faults]]:
    with open_page(browser, address) as opened:
        yield opened


@pytest.fixture
def page(opened: tuple[Page, Faults]) -> Page:
    return opened[0]


@pytest.fixture
def faults(opened: tuple[Page, Faults]) -> Faults:
    return opened[1]


@pytest.fixture
def asha(web: Bank) -> tuple[Person, str]:
    """A customer with ₹1,000.00."""
    person = web.register("Asha Rao")
    account = person.open_account(name="Everyday")
    web.fund(account, 100_000)
    return person, account


@pytest.fixture
def ben(web: Bank) -> tuple[Person, str]:
    person = web.register("Ben Cole")
    return person, person.open_account(name="Ben’s own")


def sign_in(page: Page, person: Person, path: str = "/") -> None:
    """Sign in as a person does, and be where one wanted to go."""
    page.goto(path)
    page.get_by_label("E-mail").fill(person.user["email"])
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.locator("nav").first).to_be_attached()
    expect(page.locator("main h1")).to_be_attached()
    expect(page.locator("main .bone")).to_have_count(0)
