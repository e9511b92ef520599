"""Paying many at once in the page: one file, one payment of each of its lines."""

from playwright.sync_api import Page, Route, expect

from tests.people import Person
from tests.web.browser import Faults
from tests.web.conftest import sign_in
from tests.web.test_paying import transfers


def look_at(page: Page, content: str) -> None:
    page.get_by_label("File").set_input_files(
        {"name": "payments.csv", "mimeType": "text/csv", "buffer": content.encode()}
    )
    page.get_by_role("button", name="Look at it").click()
    expect(page.get_by_role("heading", name="Preview")).to_be_focused()


def test_a_file_whose_answer_was_lost_is_paid_once_and_again_only_if_that_is_meant(
    page: Page, faults: Faults, asha: tuple[Person, str]
) -> None:
    faults.expect("ERR_FAILED|Failed to load resource")
    person, _ = asha
    savings = person.open_account(name="Savings")
    content = f"to,amount,note\n{savings},20,Rent\n{savings},30.50,\n"
    make = page.get_by_role("button", name="Make 2 payments · ₹50.50")

    def lose(route: Route) -> None:
        route.fetch()
        route.abort()

    sign_in(page, person, "/pay/many")
    look_at(page, content)
    page.route("**/api/transactions/batch", lose)
    make.click()
    expect(page.get_by_role("heading", name="Not known yet")).to_be_visible()
    page.unroute("**/api/transactions/batch")
    # Whoever does not ask again but takes the file once more asks again all the same.
    page.reload()
    look_at(page, content)
    make.click()
    expect(page.get_by_role("heading", name="All paid")).to_be_focused()
    assert sorted(transfers(person)) == [2_000, 3_050]

    page.goto("/pay/many")
    look_at(page, content)
    make.click()
    expect(page.get_by_role("heading", name="Paid before")).to_be_focused()
    expect(page.get_by_text("All of them would be made a second time.")).to_be_visible()
    page.get_by_role("button", name="Do not pay").click()
    look_at(page, content)
    make.click()
    assert sorted(transfers(person)) == [2_000, 3_050]
    page.get_by_role("button", name="Pay ₹50.50 once more").dblclick()
    expect(page.get_by_role("heading", name="All paid")).to_be_focused()
    assert sorted(transfers(person)) == [2_000, 2_000, 3_050, 3_050]
