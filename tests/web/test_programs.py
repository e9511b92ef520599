"""The inbox and the webhooks of the page: what happened, and which programs are told."""

import re

from playwright.sync_api import Page, expect

from tests.people import Bank, Person
from tests.web.browser import Faults
from tests.web.conftest import sign_in

# Allowed in tests, and nobody listens there.
NOBODY = "http://127.0.0.1:65001/fincore"


def test_what_happens_comes_to_the_inbox_while_one_looks(
    page: Page, asha: tuple[Person, str], ben: tuple[Person, str]
) -> None:
    (person, account), (_, account_of_other) = asha, ben
    sign_in(page, person, "/inbox")
    expect(page.get_by_role("link", name="You were paid")).to_have_count(1)
    person.transfer(account, account_of_other, 4_000)
    expect(page.get_by_role("link", name="You paid")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="You paid")).to_contain_text("−₹40.00")
    page.get_by_role("link", name="You paid").click()
    expect(page).to_have_url(re.compile("/movements/"))


def test_a_webhook_is_added_tested_changed_and_removed(
    page: Page, faults: Faults, asha: tuple[Person, str], web: Bank
) -> None:
    person, _ = asha
    faults.expect("422")
    sign_in(page, person, "/webhooks")
    page.get_by_role("button", name="Add a webhook").click()
    page.get_by_label("Address").fill("http://10.0.0.1/")
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_role("link", name="The bank cannot call this address.")).to_be_visible()
    page.get_by_label("Address").fill(NOBODY)
    page.get_by_label("What it is for").fill("The shop")
    page.get_by_label("You were paid").check()
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_role("region", name="Secret")).to_contain_text("whsec_")
    (made,) = person.get("/api/webhooks").body["webhooks"]
    assert (made["url"], made["types"], made["description"]) == (NOBODY, ["money.received"], "The shop")

    page.get_by_role("link", name="The shop").click()
    page.get_by_role("button", name="Send a test").click()
    expect(page.get_by_text("A test", exact=True)).to_be_visible()
    page.get_by_role("button", name="New secret").click()
    page.get_by_role("button", name="Make a new secret").click()
    expect(page.get_by_role("region", name="Secret")).to_contain_text("whsec_")
    page.get_by_role("button", name="Done").click()
    page.get_by_role("button", name="Turn off").click()
    expect(page.get_by_text("You turned it off.")).to_be_visible()
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Remove it").click()
    expect(page.get_by_text("No program is told yet")).to_be_visible()
    assert person.get("/api/webhooks").body["webhooks"] == []
