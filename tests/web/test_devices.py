"""The page on a slow phone, and while its server is away."""

from playwright.sync_api import Browser, CDPSession, Page, Route, expect

from local.processes import free_port
from tests.people import PASSWORD, Person
from tests.server import running_server
from tests.web.browser import PHONE, WIDE, open_page
from tests.web.conftest import sign_in
from tests.web.slow_phone import BYTES_PER_S, LATENCY_MS
from tests.web.test_paying import fill_payment

# Of the second after which the page is to be usable, this is for the network. What a processor makes of the rest is
# measured by `python -m tests.web.slow_phone`, because here other processes would be measured too.
NETWORK_S_MAX = 0.4
# One, because the rest of the style sheet arrived.
LAYOUTS_MAX = 1
FIRST_FILES = {"main.js", "style.css"}
LOADED = """() => performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))
  .map((one) => [new URL(one.name).pathname.split('/').at(-1), one.encodedBodySize])"""
LOOKS = """() => [...document.querySelectorAll('.door, .door *')].map((one) => {
  const style = getComputedStyle(one);
  return [one.outerHTML, JSON.stringify(one.getBoundingClientRect()), [...style].map((name) => style[name]).join()];
})"""
HELD_BY_TYPIST = "globalThis.held = document.activeElement"
IS_HELD = "globalThis.held === document.activeElement"


class Rounds:
    """Answers requests, by the last words of their paths, when all of a round are waiting. Others get no answer.

    So what the page shows after n rounds takes n round trips, on the slowest network too.
    """

    def __init__(self, page: Page, *rounds: set[str]) -> None:
        self.waiting: dict[str, Route] = {}
        self._rounds = list(rounds)
        self._is_over = False
        page.route("**/*", self._hold)

    def _hold(self, route: Route) -> None:
        name = route.request.url.partition("?")[0].rpartition("/")[2]
        self.waiting[name] = route
        for names in [names for names in self._rounds if name in names]:
            self.answer(names)
        if self._is_over:
            self.end()

    def answer(self, names: set[str]) -> None:
        """Answer a round, now if all of it are waiting, otherwise when they are."""
        if names <= self.waiting.keys():
            for one in names:
                self.waiting.pop(one).continue_()
        elif names not in self._rounds:
            self._rounds.append(names)

    def end(self) -> None:
        """Answer whatever is asked, from now on."""
        self._is_over = True
        while self.waiting:
            self.waiting.popitem()[1].continue_()


def test_somebody_new_types_after_one_round_trip_and_is_served_after_two(browser: Browser, address: str) -> None:
    rounds = [{"sign-in"}, FIRST_FILES]
    with open_page(browser, address, size=PHONE) as (page, _):
        asked = Rounds(page, *rounds[:1])
        page.goto("/sign-in", wait_until="commit")
        page.get_by_label("E-mail").fill("asha@fincore.example")
        expect(page).to_have_title("Fincore")
        asked.answer(FIRST_FILES)
        expect(page).to_have_title("Sign in · Fincore")
        loaded = dict(page.evaluate(LOADED))
    # The icon is shown later, and nobody waits for the answer that there is no session.
    assert loaded.keys() - {"icon.svg", "refresh"} == set.union(*rounds)
    sent = sum(loaded.values())
    assert sent > 10_000
    assert len(rounds) * LATENCY_MS / 1_000 + sent / BYTES_PER_S < NETWORK_S_MAX


def test_the_script_takes_the_form_over_as_it_is(browser: Browser, address: str) -> None:
    with open_page(browser, address, size=PHONE) as (page, _):
        asked = Rounds(page, {""})
        page.goto("/", wait_until="commit")
        page.get_by_label("E-mail").focus()
        page.keyboard.type("asha@")
        page.evaluate(HELD_BY_TYPIST)
        looks = looks_of(page)
        metrics = page.context.new_cdp_session(page)
        metrics.send("Performance.enable")
        asked.end()
        expect(page).to_have_title("Sign in · Fincore")
        layouts = layouts_of(metrics)
        page.keyboard.type("fincore.example")
        expect(page.get_by_label("E-mail")).to_have_value("asha@fincore.example")
        assert page.evaluate(IS_HELD)
        # The rest of the style sheet changes nothing that is seen already, and the script asks for no place or size.
        assert looks_of(page) == looks
        assert layouts <= LAYOUTS_MAX


def looks_of(page: Page) -> list[object]:
    """Return how each part of the door looks and where it is, on a wide screen and on a phone."""
    looks = []
    for width, height in (WIDE, PHONE):
        page.set_viewport_size({"width": width, "height": height})
        looks.append(page.evaluate(LOOKS))
    return looks


def test_what_is_sent_before_the_script_is_there_is_kept_and_carried_out_once(
    browser: Browser, address: str, asha: tuple[Person, str]
) -> None:
    calls: list[str] = []
    with open_page(browser, address, size=PHONE) as (page, _):
        page.on("request", lambda request: calls.append(f"{request.method} {request.url.removeprefix(address)}"))
        asked = Rounds(page, {"sign-in"})
        page.goto("/sign-in?next=/payees", wait_until="commit")
        page.get_by_label("E-mail").fill(asha[0].user["email"])
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        button = page.get_by_role("button", name="Sign in", exact=True)
        for _ in range(2):
            page.keyboard.press("Enter")
        expect(button).to_have_attribute("aria-busy", "true")
        assert page.url == f"{address}/sign-in?next=/payees"
        asked.end()
        expect(page.get_by_role("heading", name="Payees", exact=True)).to_be_visible()
    assert calls.count("POST /session") == 1
    assert not [one for one in calls if "password" in one.lower() or PASSWORD in one]


def test_an_incomplete_form_that_was_sent_early_says_what_is_missing(browser: Browser, address: str) -> None:
    with open_page(browser, address, size=PHONE) as (page, _):
        asked = Rounds(page, {"sign-in"})
        page.goto("/sign-in", wait_until="commit")
        button = page.get_by_role("button", name="Sign in", exact=True)
        button.click()
        expect(button).to_have_attribute("aria-busy", "true")
        asked.end()
        expect(page.get_by_role("alert")).to_contain_text("Type your e-mail address.")
        expect(page.get_by_role("alert")).to_be_focused()
        expect(button).not_to_have_attribute("aria-busy", "true")
        # Nor is the form of a later visit busy.
        page.get_by_role("link", name="Open an account").click()
        expect(page).to_have_title("Open an account · Fincore")
        page.go_back()
        expect(page).to_have_title("Sign in · Fincore")
        expect(button).to_be_visible()
        expect(button).not_to_have_attribute("aria-busy", "true")


def test_a_script_that_does_not_arrive_is_said(browser: Browser, address: str) -> None:
    with open_page(browser, address, size=PHONE) as (page, faults):
        faults.expect("ERR_FAILED")
        page.route("**/main.js", lambda route: route.abort())
        page.goto("/sign-in")
        expect(page.get_by_role("alert")).to_contain_text("The bank cannot be reached.")
        page.unroute("**/main.js")
        page.reload()
        expect(page).to_have_title("Sign in · Fincore")
        expect(page.get_by_role("alert")).to_have_count(0)


def test_who_is_signed_in_sees_no_form_before_the_script_is_there(
    browser: Browser, address: str, asha: tuple[Person, str]
) -> None:
    with open_page(browser, address, size=PHONE) as (page, _):
        sign_in(page, asha[0])
        for path in ("", "sign-in"):
            page.goto("about:blank")
            asked = Rounds(page, {path})
            page.goto(f"/{path}", wait_until="commit")
            page.locator("#sign-in").wait_for(state="attached")
            expect(page.get_by_label("E-mail")).to_be_hidden()
            asked.end()
            expect(page.get_by_role("link", name="Everyday")).to_be_visible()


def test_who_is_signed_in_sees_their_accounts_after_three_round_trips(
    browser: Browser, address: str, asha: tuple[Person, str]
) -> None:
    with open_page(browser, address, size=PHONE) as (page, _):
        sign_in(page, asha[0])
        page.wait_for_load_state("networkidle")
        Rounds(page, {""}, {*FIRST_FILES, "home.js", "refresh"}, {"accounts", "payees", "transactions"})
        page.goto("/", wait_until="commit")
        expect(page.get_by_role("link", name="Everyday")).to_be_visible()


def layouts_of(metrics: CDPSession) -> float:
    """Return how often the page was laid out since this was enabled."""
    found = {one["name"]: one["value"] for one in metrics.send("Performance.getMetrics")["metrics"]}
    return float(found["LayoutCount"])


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
