"""Paying in the page: one form, one payment, and an outcome in plain words."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.people import Bank, Person
from tests.web.browser import Faults, watched
from tests.web.conftest import sign_in


def fill_payment(page: Page, amount: str, *, to: str = "Savings") -> None:
    page.get_by_label("To", exact=True).fill(to)
    page.get_by_role("button", name=to).click()
    page.get_by_label("Amount").fill(amount)


def pay_button(page: Page) -> str:
    return page.locator("aside button[type=submit]").inner_text()


def transfers(person: Person) -> list[int]:
    listed = person.get("/api/transactions?kind=TRANSFER&status=COMPLETED").body["transactions"]
    return [one["amount"] for one in listed]


@pytest.fixture
def savings(asha: tuple[Person, str]) -> str:
    return asha[0].open_account(name="Savings")


def test_a_payment_is_reviewed_in_figures_and_words_and_then_paid(
    page: Page, asha: tuple[Person, str], savings: str
) -> None:
    person, _ = asha
    sign_in(page, person, "/pay")
    fill_payment(page, "125,5")
    expect(page.get_by_text("One hundred and twenty-five rupees and fifty paise")).to_be_visible()
    expect(page.get_by_text("₹874.50")).to_be_visible()
    assert pay_button(page) == "Pay ₹125.50"
    page.get_by_role("button", name="Pay ₹125.50").click()
    expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_focused()
    expect(page.get_by_text("Your balance is now ₹874.50.")).to_be_visible()
    assert person.balance(savings) == 12_550

    page.get_by_role("link", name="Your accounts", exact=True).click()
    expect(page.get_by_text("₹874.50 available")).to_be_visible()


def test_a_double_click_and_a_reload_pay_once(page: Page, asha: tuple[Person, str], savings: str) -> None:
    sign_in(page, asha[0], "/pay")
    fill_payment(page, "10")
    page.get_by_role("button", name="Pay ₹10.00").dblclick()
    expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible()
    page.reload()
    expect(page.get_by_label("Amount")).to_be_visible()
    assert transfers(asha[0]) == [1_000]


def test_a_lost_answer_is_asked_again_with_the_same_key_also_after_a_reload(
    page: Page, faults: Faults, asha: tuple[Person, str], savings: str
) -> None:
    faults.expect("ERR_FAILED|Failed to load resource")

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    sign_in(page, asha[0], "/pay")
    fill_payment(page, "20")
    page.route("**/api/transactions/create", lose)
    page.get_by_role("button", name="Pay ₹20.00").click()
    expect(page.get_by_role("heading", name="Not known yet")).to_be_visible()
    page.reload()
    expect(page.get_by_text("The connection broke before we heard back.")).to_be_visible()
    page.unroute("**/api/transactions/create")
    page.get_by_role("button", name="Ask again").click()
    expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible()
    assert transfers(asha[0]) == [2_000]


def test_two_tabs_with_the_same_payment_ask_before_it_is_paid_twice(
    page: Page, asha: tuple[Person, str], savings: str
) -> None:
    sign_in(page, asha[0], "/pay")
    fill_payment(page, "30")
    with watched(page.context) as (other, _):
        other.goto("/pay")
        fill_payment(other, "30")
        other.get_by_role("button", name="Pay ₹30.00").click()
        expect(other.get_by_role("heading", name="Paid", exact=True)).to_be_visible()
        page.get_by_role("button", name="Pay ₹30.00").click()
        expect(page.get_by_text("This would be a second payment.")).to_be_visible()
        assert transfers(asha[0]) == [3_000]
        page.get_by_role("button", name="Pay ₹30.00 once more").click()
        expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible()
    assert transfers(asha[0]) == [3_000, 3_000]


def test_more_than_there_is_is_said_in_the_form_with_a_link_to_the_field(
    page: Page, asha: tuple[Person, str], savings: str
) -> None:
    sign_in(page, asha[0], "/pay")
    fill_payment(page, "2000")
    page.get_by_role("button", name="Pay ₹2,000.00").click()
    summary = page.get_by_role("alert")
    expect(summary).to_be_focused()
    expect(summary).to_contain_text("There is not enough available.")
    page.get_by_role("link", name="You can pay up to ₹1,000.00 from Everyday.").click()
    expect(page.get_by_label("Amount")).to_be_focused()
    expect(page.get_by_label("Amount")).to_have_attribute("aria-invalid", "true")
    assert transfers(asha[0]) == []


def test_a_decline_says_what_is_so_and_how_much_can_be_paid(
    page: Page, faults: Faults, web: Bank, asha: tuple[Person, str], savings: str
) -> None:
    person, account = asha
    faults.expect("status: 422|422")
    sign_in(page, person, "/pay")
    fill_payment(page, "900")

    def spend_first(route: Route) -> None:
        person.transfer(account, savings, 60_000)
        route.continue_()

    page.route("**/api/transactions/create", spend_first)
    page.get_by_role("button", name="Pay ₹900.00").click()
    expect(page.get_by_role("heading", name="Not paid")).to_be_focused()
    expect(page.get_by_text("You can pay up to ₹400.00 from Everyday.")).to_be_visible()
    page.unroute("**/api/transactions/create")
    page.get_by_role("button", name="Change the payment").click()
    expect(page.get_by_label("Amount")).to_have_value("900.00")


@pytest.mark.parametrize(
    ("currency", "typed", "button", "amount"),
    [
        ("INR", "1,00,000.5", "Pay ₹1,00,000.50", 10_000_050),
        ("JPY", "12,500", "Pay ¥12,500", 12_500),
        ("KWD", "12,5", "Pay KWD 12.500", 12_500),
    ],
)
def test_amounts_are_typed_in_the_currencys_own_units(
    page: Page, web: Bank, currency: str, typed: str, button: str, amount: int
) -> None:
    person = web.register()
    account, savings = person.open_account(currency, "Main"), person.open_account(currency, "Savings")
    web.fund(account, 100_000_000)
    sign_in(page, person, "/pay")
    fill_payment(page, typed)
    page.get_by_role("button", name=button).click()
    expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible()
    assert person.balance(savings) == amount


def test_an_amount_that_can_be_read_in_two_ways_is_asked_back(page: Page, web: Bank) -> None:
    person = web.register()
    account, savings = person.open_account("KWD", "Main"), person.open_account("KWD", "Savings")
    web.fund(account, 10_000_000)
    sign_in(page, person, "/pay")
    fill_payment(page, "1,234")
    expect(page.get_by_text("Which is it?").first).to_be_visible()
    page.get_by_role("button", name=re.compile(r"^KWD\s1\.234$")).click()
    page.get_by_role("button", name=re.compile(r"^Pay KWD\s1\.234$")).click()
    expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible()
    assert person.balance(savings) == 1_234


def test_somebody_is_paid_by_the_number_of_their_account_once_their_name_was_checked(
    page: Page, asha: tuple[Person, str], ben: tuple[Person, str]
) -> None:
    number = ben[0].get("/api/accounts").body["accounts"][0]["number"]
    mistyped = number[:-1] + str((int(number[-1]) + 1) % 10)
    sign_in(page, asha[0], "/pay")
    page.get_by_label("To", exact=True).fill(mistyped)
    expect(page.get_by_text("There is a mistake in this account number.")).to_be_visible()
    page.get_by_label("To", exact=True).fill(f"{number[:4].lower()} {number[4:]}")
    page.get_by_role("button", name="Ben C.").click()
    expect(page.get_by_text("Name checked")).to_be_visible()
    page.get_by_label("Amount").fill("7")
    page.get_by_role("button", name="Pay ₹7.00").click()
    expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible()
    assert ben[0].balance(ben[1]) == 700


def test_a_payee_is_saved_renamed_paid_and_removed(
    page: Page, asha: tuple[Person, str], ben: tuple[Person, str]
) -> None:
    number = ben[0].get("/api/accounts").body["accounts"][0]["number"]
    sign_in(page, asha[0], "/payees")
    # The name of another account's holder is not kept for this one.
    page.get_by_label("Account number").fill(asha[0].get("/api/accounts").body["accounts"][0]["number"])
    expect(page.get_by_label("Your name for them")).to_have_value("Asha R.")
    page.get_by_label("Account number").fill(number)
    expect(page.get_by_label("Your name for them")).to_have_value("Ben C.")
    expect(page.get_by_text("Name checked")).to_be_visible()
    page.get_by_label("Your name for them").fill("Landlord")
    page.get_by_role("button", name="Add the payee").click()
    page.get_by_role("button", name="Rename Landlord").click()
    page.get_by_label("Your name for them").first.fill("Ben upstairs")
    page.get_by_role("button", name="Rename", exact=True).click()
    expect(page.get_by_role("button", name="Rename Ben upstairs")).to_be_visible()
    page.locator("main").get_by_role("link", name="Pay").click()
    expect(page.locator(".chosen")).to_contain_text("Ben upstairs")
    page.go_back()
    page.get_by_role("button", name="Remove Ben upstairs").click()
    page.get_by_role("button", name="Remove Ben upstairs").last.click()
    expect(page.get_by_role("heading", name="You have no payees yet")).to_be_visible()
