"""The page on a slow phone, and while its server is away."""

from playwright.sync_api import Browser, Page, Route, expect

from local.processes import free_port
from tests.people import Person
from tests.server import running_server
from tests.web.browser import PHONE, open_page
from tests.web.conftest import sign_in
from tests.web.slow_phone import BYTES_PER_S, LATENCY_MS
from tests.web.test_paying import fill_payment

# Of the second after which the page is to be usable, this is for the network. What a processor makes of the rest is
# measured by `python -m tests.web.slow_phone`, because here other processes would be measured too.
NETWORK_S_MAX = 0.4
FIRST_FILES = {"main.js", "style.css", "theme.js"}
LOADED = """() => performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))
  .map((one) => [new URL(one.name).pathname.split('/').at(-1), one.encodedBodySize])"""


def answer_in_rounds(page: Page, *rounds: set[str]) -> None:
    """Answer requests, by the last words of their paths, when all of a round are waiting. Others get no answer.

    So what the page shows after n rounds takes n round trips, on the slowest network too.
    """
    waiting: dict[str, Route] = {}

    def hold(route: Route) -> None:
        name = route.request.url.partition("?")[0].rpartition("/")[2]
        waiting[name] = route
        for names in rounds:
            if name in names and names <= waiting.keys():
                for one in names:
                    waiting[one].continue_()

    page.route("**/*", hold)


def test_the_first_view_takes_a_slow_phone_two_round_trips_and_few_bytes(browser: Browser, address: str) -> None:
    rounds = [{"sign-in"}, FIRST_FILES]
    with open_page(browser, address, size=PHONE) as (page, _):
        answer_in_rounds(page, *rounds)
        page.goto("/sign-in", wait_until="commit")
        page.get_by_label("E-mail").fill("asha@fincore.example")
        loaded = dict(page.evaluate(LOADED))
    # The icon is shown later, and nobody waits for the answer that there is no session.
    assert loaded.keys() - {"icon.svg", "refresh"} == set.union(*rounds)
    sent = sum(loaded.values())
    assert sent > 10_000
    assert len(rounds) * LATENCY_MS / 1_000 + sent / BYTES_PER_S < NETWORK_S_MAX


def test_who_is_signed_in_sees_their_accounts_after_four_round_trips(
    browser: Browser, address: str, asha: tuple[Person, str]
) -> None:
    with open_page(browser, address, size=PHONE) as (page, _):
        sign_in(page, asha[0])
        page.wait_for_load_state("networkidle")
        answer_in_rounds(page, {""}, FIRST_FILES, {"home.js", "refresh"}, {"accounts", "payees", "transactions"})
        page.goto("/", wait_until="commit")
        expect(page.get_by_role("link", name="Everyday")).to_be_visible()


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
