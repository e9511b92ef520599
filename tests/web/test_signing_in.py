"""Signing in: registering, sessions that end, other tabs, other people, and a bank that is away."""

import re

from playwright.sync_api import Page, Route, expect
from pymongo.database import Database

from app.auth import resets
from app.mongo import Document
from tests.conftest import AUTH
from tests.people import PASSWORD, Bank, Person
from tests.web.browser import Faults, watched
from tests.web.conftest import sign_in


def test_a_new_customer_registers_opens_an_account_and_signs_out(page: Page) -> None:
    page.goto("/")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_role("link", name="Open an account").click()
    expect(page.get_by_role("heading", name="Open an account")).to_be_focused()
    page.get_by_label("Your name").fill("Zoë Ünlü")
    page.get_by_label("E-mail").fill("zoe@fincore.example")
    page.get_by_label("Password", exact=True).fill("short")
    page.get_by_role("button", name="Open an account").click()
    expect(page.get_by_role("alert")).to_be_focused()
    page.get_by_role("link", name="Choose a password of at least 8 characters.").click()
    expect(page.get_by_label("Password", exact=True)).to_be_focused()
    page.keyboard.type(PASSWORD)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Your first account")).to_be_visible()
    page.get_by_label("Name").fill("Everyday")
    page.get_by_role("button", name="Open the account").click()
    expect(page.get_by_role("heading", name=re.compile("Zoë"))).to_be_visible()
    expect(page.get_by_text("₹0.00 available")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    page.go_back()
    expect(page.get_by_text("You are signed out.")).to_be_hidden()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_wrong_password_is_said_once_and_plainly(page: Page, faults: Faults, asha: tuple[Person, str]) -> None:
    faults.expect("401")
    page.goto("/sign-in")
    page.get_by_label("E-mail").fill(asha[0].user["email"])
    page.get_by_label("Password", exact=True).fill("not my password")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("E-mail or password is wrong.")
    expect(page.get_by_role("alert")).to_be_focused()
    assert "invalid_credentials" not in page.content()


def test_a_reload_keeps_the_session_and_the_place_without_any_storage(page: Page, asha: tuple[Person, str]) -> None:
    sign_in(page, asha[0], "/movements?show=in")
    expect(page.get_by_role("button", name="In", exact=True)).to_have_attribute("aria-pressed", "true")
    page.reload()
    expect(page.get_by_role("button", name="In", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_text("₹1,000")).to_be_visible()
    stored = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    assert "eyJ" not in stored, "No token is where scripts could find it."


def test_who_is_signed_in_sees_no_form_while_the_bank_is_asked(page: Page, asha: tuple[Person, str]) -> None:
    sign_in(page, asha[0])
    waiting: list[Route] = []
    page.route("**/session/refresh", lambda route: waiting.append(route))
    with page.expect_request("**/session/refresh"):
        page.goto("/movements?show=in")
    # Not even who they are is shown, but where what they wait for will be.
    expect(page.locator("main .bone").first).to_be_visible()
    expect(page.get_by_role("link", name="Accounts", exact=True)).to_have_attribute("aria-current", "page")
    expect(page.get_by_text("Asha Rao")).to_have_count(0)
    expect(page.get_by_label("E-mail")).to_have_count(0)
    waiting[0].continue_()
    expect(page.get_by_role("button", name="In", exact=True)).to_have_attribute("aria-pressed", "true")


def test_a_session_that_the_browser_does_not_remember_goes_on_too(page: Page, asha: tuple[Person, str]) -> None:
    sign_in(page, asha[0])
    page.evaluate("localStorage.clear()")
    page.goto("/movements?show=in")
    expect(page.get_by_role("button", name="In", exact=True)).to_have_attribute("aria-pressed", "true")


def sign_in_before_the_answer(page: Page, person: Person) -> Route:
    """Press the button while the bank has not said whether there is a session, and return the request for that."""
    waiting: list[Route] = []
    page.route("**/session/refresh", lambda route: waiting.append(route))
    page.goto("/sign-in")
    page.get_by_label("E-mail").fill(person.user["email"])
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    button = page.get_by_role("button", name="Sign in", exact=True)
    button.click()
    expect(button).to_have_attribute("aria-busy", "true")
    return waiting[0]


def test_signing_in_waits_for_the_answer_that_could_take_its_cookie_away(page: Page, asha: tuple[Person, str]) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(f"{request.method} {request.url.rpartition('/')[2]}"))
    refresh = sign_in_before_the_answer(page, asha[0])
    assert "POST session" not in asked
    refresh.continue_()
    expect(page.get_by_role("heading", name="Good")).to_be_visible()
    assert asked.count("POST session") == 1


def test_who_signs_in_before_the_bank_has_said_who_was_here_sees_their_own_page(
    page: Page, asha: tuple[Person, str], ben: tuple[Person, str]
) -> None:
    sign_in(page, asha[0])
    page.evaluate("localStorage.clear()")
    refresh = sign_in_before_the_answer(page, ben[0])
    refresh.continue_()
    expect(page.get_by_role("heading", name="Good")).to_contain_text(ben[0].user["name"].split()[0])
    expect(page.get_by_text(asha[0].user["name"])).to_have_count(0)


def test_a_session_that_ended_is_taken_up_again_without_losing_what_was_typed(
    page: Page, faults: Faults, asha: tuple[Person, str]
) -> None:
    person, _ = asha
    faults.expect("401")
    sign_in(page, person, "/accounts/new")
    page.get_by_label("Name").fill("Holidays")
    person.post("/api/auth/logout", {"everywhere": True})
    page.get_by_role("button", name="Open the account").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Your session has ended")
    dialog.get_by_label("Password", exact=True).fill(PASSWORD)
    dialog.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("heading", name="Holidays")).to_be_visible()


def test_signing_out_in_one_tab_signs_out_the_other(page: Page, asha: tuple[Person, str]) -> None:
    sign_in(page, asha[0])
    with watched(page.context) as (other, _):
        other.goto("/settings")
        other.locator(".sheet").get_by_role("button", name="Sign out", exact=True).click()
        expect(other.get_by_text("You are signed out.")).to_be_visible()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_nothing_goes_on_in_the_name_of_somebody_else(
    page: Page, faults: Faults, asha: tuple[Person, str], ben: tuple[Person, str]
) -> None:
    faults.expect("401")
    sign_in(page, asha[0])
    with watched(page.context) as (other, _):
        other.goto("/settings")
        # Its own session is settled then. A late answer to its refresh would take the place of Ben's cookie.
        expect(other.get_by_label("Your name", exact=True)).to_have_value("Asha Rao")
        # The other tab hears of it by no channel, as after a crash; it finds out by itself.
        other.evaluate(
            "async (credentials) => { await fetch('/session', { method: 'POST', body: JSON.stringify(credentials), "
            "headers: { 'X-Requested-With': 'fincore', 'Content-Type': 'application/json' } }) }",
            {"email": ben[0].user["email"], "password": PASSWORD},
        )
        page.get_by_role("link", name="All movements").click()
        expect(page.get_by_role("heading", name="Ben Cole is signed in on this browser now.")).to_be_visible()
        page.get_by_role("button", name="Go on as they").click()
        expect(page.get_by_role("heading", name=re.compile("Ben"))).to_be_visible()


def test_a_bank_that_is_away_is_said_and_found_again(page: Page, faults: Faults, asha: tuple[Person, str]) -> None:
    faults.expect("ERR_|Failed to load")
    sign_in(page, asha[0])
    page.route("**/api/**", lambda route: route.abort())
    page.get_by_role("link", name="All movements").click()
    expect(page.get_by_role("heading", name="The bank cannot be reached.")).to_be_visible()
    # When the connection is there again, what failed and was left does not take the place of what is typed elsewhere.
    page.get_by_role("link", name="Settings", exact=True).click()
    page.get_by_label("Your name", exact=True).fill("Asha Rao Iyer")
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page.get_by_label("Your name", exact=True)).to_have_value("Asha Rao Iyer")
    page.go_back()
    expect(page.get_by_role("heading", name="The bank cannot be reached.")).to_be_visible()
    page.unroute("**/api/**")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="Movements")).to_be_visible()


def test_a_busy_bank_is_asked_again_and_then_said(page: Page, faults: Faults, asha: tuple[Person, str]) -> None:
    faults.expect("503")
    sign_in(page, asha[0])
    left = [1]

    def busy(route: Route) -> None:
        left[0] -= 1
        if left[0] >= 0:
            route.fulfill(status=503, headers={"Retry-After": "1"}, json={"code": "ledger_busy", "status": 503})
        else:
            route.continue_()

    page.route("**/api/transactions?**", busy)
    page.get_by_role("link", name="All movements").click()
    expect(page.get_by_role("heading", name="Movements")).to_be_visible()
    left[0] = 9
    page.get_by_role("button", name="Out", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("The bank is busy.")


def test_a_new_password_is_set_with_the_token_from_the_mail(page: Page, faults: Faults, web: Bank) -> None:
    faults.expect("422")
    page.goto("/forgotten")
    page.get_by_label("E-mail").fill("nobody@fincore.example")
    page.get_by_role("button", name="Send me a mail").click()
    expect(page.get_by_role("heading", name="Look into your mail")).to_be_focused()
    page.get_by_role("link", name="Paste the mail’s token instead").click()
    page.get_by_label("Token from the mail").fill("made-up")
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_role("alert")).to_contain_text("This token does not work.")


def test_the_link_in_the_mail_sets_a_new_password_and_leaves_no_token_in_the_history(
    page: Page, faults: Faults, web: Bank, asha: tuple[Person, str], database: Database[Document]
) -> None:
    faults.expect("422")
    web.anonymous.post("/api/auth/password/forgot", {"email": asha[0].user["email"]})
    letter = database.outbox.find_one({"kind": "password_reset"})
    assert letter is not None
    token = resets.reset_token(letter["payload"]["token"], policy=AUTH)

    page.goto(f"/reset#token={token}")
    expect(page.get_by_label("New password")).to_be_visible()
    expect(page.get_by_label("Token from the mail")).to_have_count(0)
    assert "token" not in page.evaluate("location.href + JSON.stringify(history.state)")
    page.get_by_label("New password").fill("another long enough one")
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_text("Your new password is set.")).to_be_visible()
    web.log_in(asha[0].user["email"], "another long enough one")

    page.goto(f"/reset#token={token}")
    page.get_by_label("New password").fill("a third long enough one")
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_role("alert")).to_contain_text("This link or token does not work any more.")


def test_a_slow_answer_is_said_while_it_is_waited_for(page: Page, asha: tuple[Person, str]) -> None:
    waiting: list[Route] = []
    # Before the page sets its first timer, because this clock cannot clear those of the browser's own.
    page.clock.install()
    sign_in(page, asha[0])
    page.route("**/api/transactions?**", lambda route: waiting.append(route))
    with page.expect_request("**/api/transactions?**"):
        page.get_by_role("link", name="All movements").click()
    expect(page.locator(".bone").first).to_be_visible()
    page.clock.fast_forward(5_000)
    expect(page.get_by_text("The bank takes longer than usual.")).to_be_visible()
    for route in waiting:
        route.continue_()
    expect(page.get_by_role("heading", name="Movements")).to_be_visible()
    expect(page.get_by_text("The bank takes longer than usual.")).to_be_hidden()
