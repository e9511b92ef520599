"""The page under attack: by foreign sites, addresses, names and files, and by the next person at the browser."""

import csv
import json
import re
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Browser, Page, Route, expect

from tests.people import PASSWORD, Bank, Person
from tests.web.browser import Faults, keeping, open_page, watched
from tests.web.conftest import sign_in

ELSEWHERE = [
    "//evil.example/x",
    "/\\evil.example",
    "https://evil.example/",
    "/\t/evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "/.//evil.example",
]
FORMULAS = ["=1+1", "+1", "-5 %", "@sum", "\uff1d1", "a; =1+1", '"=1+1', " =1"]


def of_module(page: Page, file: str, name: str, expression: str, argument: Any = None) -> Any:
    """Evaluate an expression with what `file` exports as `name`, and `argument` as `given`."""
    return page.evaluate(
        "async ([file, name, expression, given]) => {"
        " const base = document.querySelector('script[type=module]').src.replace('main.js', '');"
        " const { [name]: kit } = await import(base + file);"
        f" return (({{ kit, given }}) => {expression})({{ kit, given }}); }}",
        [file, name, expression, argument],
    )


def be_at(page: Page, path: str) -> None:
    """Have the page show what is at this address, and nothing of what it shows now."""
    page.evaluate(
        "(path) => {"
        " document.querySelector('main').replaceChildren();"
        " history.pushState({}, '', path);"
        " dispatchEvent(new PopStateEvent('popstate')); }",
        path,
    )


def stored(page: Page) -> dict[str, str]:
    found: dict[str, str] = page.evaluate("({ ...localStorage, ...sessionStorage })")
    return found


def test_another_site_can_neither_use_the_session_nor_begin_one(
    page: Page, address: str, asha: tuple[Person, str], ben: tuple[Person, str]
) -> None:
    sign_in(page, asha[0])
    before = page.context.cookies()
    elsewhere = address.replace("127.0.0.1", "localhost")
    bens = json.dumps({"email": ben[0].user["email"], "password": PASSWORD})
    with watched(page.context) as (stranger, its):
        its.expect("")
        stranger.route("**/lure", lambda route: route.fulfill(content_type="text/html", body="<p>Win a prize</p>"))
        stranger.goto(f"{elsewhere}/lure")
        answers = stranger.evaluate(
            """async ([bank, body]) => {
              const plain = { mode: "no-cors", credentials: "include" };
              const headers = { "X-Requested-With": "fincore", "Content-Type": "application/json" };
              const told = { credentials: "include", headers };
              const asked = [
                ["/session", { ...plain, method: "POST", body }],
                ["/session/refresh", { ...plain, method: "POST" }],
                ["/session", { ...told, method: "POST", body }],
                ["/session/refresh", { ...told, method: "POST" }],
                ["/session", { ...told, method: "DELETE" }],
              ];
              const got = ([path, init]) => fetch(bank + path, init).then((answer) => answer.type, () => "blocked");
              return Promise.all(asked.map(got));
            }""",
            [address, bens],
        )
        assert answers == ["blocked"] * 5
        # A form may go there too.
        stranger.evaluate(
            """([bank, body]) => {
              const form = document.createElement("form");
              Object.assign(form, { method: "POST", action: bank + "/session", enctype: "text/plain" });
              const name = body.slice(0, -1) + ',"x":"';
              form.append(Object.assign(document.createElement("input"), { name, value: '"}' }));
              document.body.append(form);
              form.submit();
            }""",
            [address, bens],
        )
        expect(stranger.locator("body")).to_contain_text("forbidden")
    assert page.context.cookies() == before
    page.reload()
    expect(page.get_by_text("Asha Rao")).to_be_attached()


def test_after_signing_in_one_stays_at_the_bank(page: Page, asha: tuple[Person, str]) -> None:
    sign_in(page, asha[0], f"/sign-in?next={quote(ELSEWHERE[1])}")
    expect(page.get_by_role("heading", name="Good")).to_be_visible()
    told = of_module(
        page, "main.js", "$kit$router", "given.map(kit.ownPath)", [*ELSEWHERE, None, "/pay?to=FC1", "settings"]
    )
    assert told == ["/"] * 8 + ["/pay?to=FC1", "/settings"]


def test_an_address_cannot_lead_the_pages_calls_elsewhere(page: Page, faults: Faults, asha: tuple[Person, str]) -> None:
    sign_in(page, asha[0], "/settings")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in ("/movements/..%2Fpayees", "/webhooks/x%2F..%2F..%2Fpayees", "/accounts/%zz"):
        be_at(page, path)
        expect(page.get_by_role("heading", name="There is nothing here.")).to_be_visible()
    assert [url for url in asked if "/api/" in url] == []
    # The browser itself takes this for the way home.
    be_at(page, "/movements/%2e%2e")
    expect(page.get_by_role("heading", name="Good")).to_be_visible()
    expect(page).to_have_url(re.compile(r"^[^/]+//[^/]+/$"))


def test_whoever_comes_next_finds_nothing_of_who_was_here(page: Page, asha: tuple[Person, str]) -> None:
    asha[0].open_account(name="Savings")
    sign_in(page, asha[0], "/pay?to=savings")
    page.get_by_label("To", exact=True).fill("Savings")
    page.get_by_role("button", name="Savings").click()
    page.get_by_label("Amount").fill("12")
    page.get_by_role("button", name="Pay ₹12.00").click()
    expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible()
    assert stored(page) != {}

    # What a browser keeps to show again when one goes back.
    page.evaluate("addEventListener('pagehide', () => { localStorage.left = document.body.innerText.trim() })")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    assert stored(page) == {"left": ""}
    # A page that was kept all the same is loaded anew.
    with page.expect_navigation():
        page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    page.go_back()
    expect(page.get_by_text("You are signed out.")).to_be_hidden()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_page_that_the_browser_kept_shows_nothing_to_whoever_goes_back(
    browser: Browser, address: str, asha: tuple[Person, str]
) -> None:
    with keeping(browser) as keeper, open_page(keeper, address) as (page, faults):
        faults.expect("favicon")  # other pages than this have none
        sign_in(page, asha[0])
        page.evaluate(
            "addEventListener('pageshow', ({ persisted }) => {"
            " localStorage.seen = JSON.stringify([persisted, document.body.innerText.trim()]) })"
        )
        page.goto("/problems/forbidden")
        # No tab of this browser hears of it.
        asha[0].post("/api/auth/logout", {"everywhere": True})
        page.go_back(wait_until="commit")
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert json.loads(page.evaluate("localStorage.seen")) == [True, ""]


def test_a_payment_that_a_proxy_gave_up_on_keeps_its_key_until_its_end_is_known(
    page: Page, faults: Faults, asha: tuple[Person, str]
) -> None:
    faults.expect("504|502")
    person, _ = asha
    savings = person.open_account(name="Savings")
    keys: set[str] = set()
    answers = [(200, "<h1>Sign in to this network</h1>"), (502, "<h1>Bad gateway</h1>"), (504, "<h1>Time-out</h1>")]

    def answer(route: Route) -> None:
        keys.add(json.loads(route.request.post_data or "{}")["idempotencyKey"])
        if answers:
            status, body = answers.pop(0)
            route.fetch()
            route.fulfill(status=status, content_type="text/html", body=body)
        else:
            route.continue_()

    page.route("**/api/transactions/create", answer)
    sign_in(page, person, "/pay")
    page.get_by_label("To", exact=True).fill("Savings")
    page.get_by_role("button", name="Savings").click()
    page.get_by_label("Amount").fill("12")
    page.get_by_role("button", name="Pay ₹12.00").click()
    for left in (2, 1, 0):
        expect(page.get_by_role("heading", name="Not known yet")).to_be_visible()
        assert len(answers) == left
        if left:
            with page.expect_response("**/api/transactions/create"):
                page.get_by_role("button", name="Ask again").click()
            expect(page.get_by_role("button", name="Ask again")).not_to_have_attribute("aria-busy", "true")
    # Also who signs out meanwhile is asked again, and does not pay twice.
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    sign_in(page, person, "/pay")
    page.get_by_role("button", name="Ask again").click()
    expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible()
    assert len(keys) == 1
    assert person.balance(savings) == 1_200


def test_what_a_payer_adds_to_a_payment_does_not_stand_among_the_banks_own_words(
    page: Page, asha: tuple[Person, str], ben: tuple[Person, str], web: Bank
) -> None:
    web.fund(ben[1], 10_000)
    paid = ben[0].transfer(ben[1], asha[1], 500, metadata={"Reversed by": "the bank", "From": "The bank"})
    sign_in(page, asha[0], f"/movements/{paid.body['transaction']['id']}")
    banks = page.locator("section.sheet", has=page.get_by_role("heading", name="Details"))
    payers = page.locator("section.sheet", has=page.get_by_role("heading", name="Added by the payer"))
    expect(payers).to_contain_text("The bank has not checked this.")
    expect(payers.locator("dd").first).to_have_text("the bank")
    expect(banks).not_to_contain_text("Reversed by")
    # Whom she does not know is named by the account's number, by which they can be saved.
    number = ben[0].get("/api/accounts").body["accounts"][0]["number"]
    expect(banks).to_contain_text(number[-4:])
    banks.get_by_role("link", name="Save as a payee").click()
    expect(page.get_by_label("Your name for them")).to_have_value("Ben C.")
    page.get_by_role("button", name="Add the payee").click()
    expect(page.get_by_text("Ben C. is added.")).to_be_visible()
    # From then on every device knows the name.
    page.evaluate("localStorage.clear()")
    page.goto("/movements")
    expect(page.get_by_role("link", name="Ben C.")).to_be_visible()


def test_a_file_that_the_page_makes_has_no_formulas_and_is_read_as_it_was(page: Page) -> None:
    page.goto("/sign-in")
    rows = [[text, "12"] for text in FORMULAS]
    made = of_module(page, "kit/csv.js", "toCsv", "kit(given)", rows)
    read = of_module(page, "kit/csv.js", "parseCsv", "kit(given)", made)
    for cells in csv.reader(made.lstrip("\ufeff").splitlines()):
        # Where the decimal sign is a comma, spreadsheets cut at semicolons too.
        for part in cells[0].split(";"):
            assert not part.strip(' "').startswith(("=", "+", "-", "@", "\uff1d")), made
    assert [cells[0] for cells in read if ";" not in cells[0]] == [text.strip() for text in FORMULAS if ";" not in text]
