"""The page on a slow phone, and while its server is away."""

from playwright.sync_api import Browser, expect

from local.processes import free_port
from tests.people import Bank, Person
from tests.server import running_server
from tests.web.browser import PHONE, open_page
from tests.web.conftest import sign_in
from tests.web.test_paying import fill_payment

# Of the first view, with style sheet, icon and the document itself. What a phone makes of it in time is measured by
# `python -m tests.web.slow_phone`, because here other processes would be measured too.
REQUESTS_MAX = 5
BYTES_MAX = 22_000
LOADED = """() => performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))
  .map((one) => [new URL(one.name).pathname, one.encodedBodySize])"""


def test_a_slow_phone_gets_the_first_view_with_few_requests_and_few_bytes(
    browser: Browser, web: Bank, address: str
) -> None:
    with open_page(browser, address, size=PHONE) as (page, _):
        page.route("**/session/refresh", lambda _: None)
        page.goto("/sign-in", wait_until="commit")
        # The question whether there is a session is never answered here: nobody waits for that.
        page.get_by_label("E-mail").fill("asha@fincore.example")
        loaded: list[tuple[str, int]] = page.evaluate(LOADED)
        document = page.request.get("/sign-in").text()
    assert 3 < len(loaded) <= REQUESTS_MAX, loaded
    assert 10_000 < sum(size for _, size in loaded) < BYTES_MAX, loaded
    # The document itself names every file, so that none is found out late: after two round trips all is there.
    assert [path for path, _ in loaded if path.startswith("/assets/") and path not in document] == []


def test_a_server_that_stops_and_starts_again_is_told_and_found_again(
    browser: Browser, asha: tuple[Person, str], mongo_uri: str
) -> None:
    person, _ = asha
    savings = person.open_account(name="Savings")
    here = {"PORT": str(free_port()), "WEB_CONCURRENCY": "1"}
    with open_page(browser, f"http://127.0.0.1:{here['PORT']}") as (page, faults):
        faults.expect("ERR_|Failed to load resource")
        with running_server(mongo_uri, **here):
            sign_in(page, person, "/pay")
            fill_payment(page, "20")
        page.get_by_role("button", name="Pay ₹20.00").click()
        expect(page.get_by_role("alert")).to_contain_text("The bank cannot be reached.")
        # A view whose module this browser does not have yet.
        page.get_by_role("link", name="Payees").first.click()
        expect(page.get_by_role("heading", name="The bank cannot be reached.")).to_be_focused()
        with running_server(mongo_uri, **here):
            page.get_by_role("button", name="Try again").click()
            expect(page.get_by_role("heading", name="Payees", exact=True)).to_be_visible()
            page.get_by_role("link", name="Pay", exact=True).first.click()
            fill_payment(page, "20")
            page.get_by_role("button", name="Pay ₹20.00").click()
            expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible()
    assert person.balance(savings) == 2_000
