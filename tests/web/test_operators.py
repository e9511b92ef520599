"""The page for operators: finding people, acting on accounts with a reason, and doing each thing once."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.people import Bank, Person
from tests.web.browser import Faults
from tests.web.conftest import sign_in


@pytest.fixture
def operator(web: Bank) -> Person:
    return web.administrator()


def test_an_operator_finds_a_person_and_freezes_an_account_with_a_reason(
    page: Page, operator: Person, asha: tuple[Person, str], web: Bank
) -> None:
    person, account = asha
    sign_in(page, operator, "/operator/people")
    page.get_by_label("Find a person").fill("asha")
    page.get_by_role("button", name="Find").click()
    expect(page).to_have_url(re.compile("q=asha"))
    expect(page.locator("main li")).to_have_count(1)
    page.get_by_role("link", name="Asha Rao").click()
    page.get_by_role("link", name="Everyday").click()
    expect(page.get_by_role("heading", name="Everyday", exact=True)).to_be_visible()
    page.get_by_role("button", name="Freeze").click()
    page.get_by_role("button", name="Freeze").click()
    expect(page.get_by_role("link", name="Type a reason.")).to_be_visible()
    page.get_by_label("Reason").fill("Phone lost")
    page.get_by_role("button", name="Freeze").click()
    expect(page.locator("header").get_by_text("Frozen")).to_be_visible()
    expect(page.get_by_text("“Phone lost”")).to_be_visible()
    assert person.get(f"/api/accounts/{account}").body["account"]["status"] == "FROZEN"

    page.get_by_role("link", name="Audit log").click()
    expect(page.get_by_role("heading", name="Audit log")).to_be_visible()
    expect(page.get_by_text("“Phone lost”")).to_be_visible()
    # An operator who is not the chief pays nothing in.
    page.goto(f"/operator/accounts/{account}")
    expect(page.get_by_role("button", name="Unfreeze")).to_be_visible()
    assert page.get_by_role("button", name="Pay in").count() == 0


def test_what_is_paid_in_is_paid_in_once_though_the_answer_is_lost(
    page: Page, faults: Faults, asha: tuple[Person, str], web: Bank
) -> None:
    person, account = asha
    faults.expect("ERR_FAILED|Failed to load resource")
    sign_in(page, web.system, f"/operator/accounts/{account}")

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/initial-funds", lose, times=1)
    page.get_by_role("button", name="Pay in").click()
    page.get_by_label("Amount").fill("1,250")
    page.get_by_role("button", name="Pay in ₹1,250.00").click()
    expect(page.get_by_text("Not known yet.")).to_be_visible()
    page.reload()
    page.get_by_role("button", name="Ask again").click()
    expect(page.get_by_role("button", name="Pay in")).to_be_visible()
    assert person.balance(account) == 225_000
    # As from another tab that does not know of it.
    page.get_by_role("button", name="Pay in").click()
    page.get_by_label("Amount").fill("1,250")
    page.get_by_role("button", name="Pay in ₹1,250.00").click()
    expect(page.get_by_role("heading", name="Paid before")).to_be_focused()
    page.get_by_role("button", name="Do not pay").click()
    expect(page.get_by_role("button", name="Pay in")).to_be_visible()
    assert person.balance(account) == 225_000


def test_a_movement_is_reversed_from_its_page_once(
    page: Page, operator: Person, asha: tuple[Person, str], ben: tuple[Person, str]
) -> None:
    (person, account), (other, account_of_other) = asha, ben
    made = person.transfer(account, account_of_other, 4_000, description="Twice").body["transaction"]["id"]
    sign_in(page, operator, f"/operator/movements/{made}")
    page.get_by_role("button", name="Reverse it").click()
    page.get_by_label("Reason").fill("Paid twice")
    page.get_by_role("button", name="Reverse ₹40.00").dblclick()
    expect(page.get_by_text("Reversed", exact=True)).to_be_visible()
    assert page.get_by_role("button", name="Reverse it").count() == 0
    assert (person.balance(account), other.balance(account_of_other)) == (100_000, 0)


def test_who_is_no_operator_sees_nothing_of_it(page: Page, faults: Faults, asha: tuple[Person, str]) -> None:
    faults.expect("403")
    sign_in(page, asha[0], "/operator/people")
    expect(page.get_by_role("heading", name="This is not open to you.")).to_be_visible()
    assert page.get_by_text("Operator", exact=True).count() == 0


def test_a_search_and_its_pages_survive_reload_and_back(page: Page, operator: Person, web: Bank) -> None:
    for number in range(3):
        web.register(f"Chitra {number}")
    sign_in(page, operator, "/operator/people?q=chitra")
    expect(page.locator("main li")).to_have_count(3)
    page.get_by_role("link", name="Chitra 1").click()
    expect(page.get_by_role("heading", name="Chitra 1")).to_be_visible()
    page.go_back()
    expect(page.get_by_label("Find a person")).to_have_value("chitra")
    page.reload()
    expect(page.locator("main li")).to_have_count(3)
