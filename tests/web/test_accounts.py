"""What else a holder can do in the page: holds, many payments at once, statements, and the accounts themselves."""

from playwright.sync_api import Page, expect

from app.auth.languages import Language
from tests.people import Bank, Person, new_key
from tests.web.conftest import sign_in


def test_a_hold_is_taken_in_part(page: Page, web: Bank, asha: tuple[Person, str], ben: tuple[Person, str]) -> None:
    web.fund(ben[1], 10_000)
    body = {"fromAccount": ben[1], "toAccount": asha[1], "amount": 5_000, "idempotencyKey": new_key()}
    assert ben[0].post("/api/transactions/hold", {**body, "description": "Bicycle"}).status == 201
    sign_in(page, asha[0], "/holds")
    page.get_by_role("button", name="Take", exact=True).click()
    page.get_by_label("How much of ₹50.00").fill("20")
    page.get_by_role("button", name="Take the money").click()
    expect(page.get_by_text("You took ₹20.00.")).to_be_visible()
    expect(page.get_by_role("heading", name="Nothing is held")).to_be_visible()
    assert asha[0].balance(asha[1]) == 102_000


def test_many_payments_are_looked_at_and_then_made(page: Page, asha: tuple[Person, str]) -> None:
    person, _ = asha
    savings = person.open_account(name="Savings")
    number = person.get(f"/api/accounts/{savings}").body["account"]["number"]
    sign_in(page, person, "/pay/many")
    rows = f"to;amount;note\n{number};1,50;Coffee\n{number};2.5;Tea\nFC00;9;Nobody\n{number};5000;Too much\n"
    page.get_by_label("File").set_input_files({"name": "a.csv", "mimeType": "text/csv", "buffer": rows.encode()})
    page.get_by_role("button", name="Look at it").click()
    expect(page.get_by_text("2 lines cannot be paid.")).to_be_visible()
    expect(page.get_by_text("There is not enough available.")).to_be_visible()
    page.get_by_role("button", name="Make 2 payments · ₹4.00").click()
    expect(page.get_by_role("heading", name="All paid")).to_be_focused()
    assert person.balance(savings) == 400


def test_one_chooses_which_letters_one_gets_and_in_which_language(page: Page, asha: tuple[Person, str]) -> None:
    sign_in(page, asha[0], "/settings")
    page.get_by_role("link", name="Letters and their language").click()
    expect(page.get_by_label("Language").locator("option")).to_have_count(len(Language))
    page.get_by_label("You were paid").select_option("Together, once a day")
    page.get_by_label("A hold expired").select_option("Never")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Your choice is saved.")).to_be_visible()
    page.reload()
    expect(page.get_by_label("You were paid")).to_have_value("daily")
    chosen = asha[0].get("/api/auth/me/notifications").body
    assert (chosen["kinds"]["money.received"], chosen["kinds"]["hold.expired"]) == ("daily", "off")
    # What concerns security is said to come in any case, and is not to be chosen.
    expect(page.get_by_role("combobox")).to_have_count(10)
    expect(page.get_by_role("listitem").filter(has_text="Your password was changed")).to_contain_text("At once")


def test_a_statement_is_saved_as_a_file(page: Page, asha: tuple[Person, str]) -> None:
    sign_in(page, asha[0], "/statements")
    with page.expect_download() as download:
        page.get_by_role("button", name="as CSV").first.click()
    assert download.value.suggested_filename.startswith("Everyday-")
    assert download.value.suggested_filename.endswith(".csv")


def test_the_history_is_filtered_in_the_address_and_goes_on_from_where_it_was(
    page: Page, asha: tuple[Person, str]
) -> None:
    person, account = asha
    savings = person.open_account(name="Savings")
    transfers = [{"fromAccount": account, "toAccount": savings, "amount": 100 + i} for i in range(40)]
    assert person.post("/api/transactions/batch", {"idempotencyKey": new_key(), "transfers": transfers}).status == 201
    sign_in(page, person, f"/accounts/{account}")
    expect(page.locator("a.who")).to_have_count(30)
    page.get_by_role("button", name="Show earlier movements").click()
    expect(page.locator("a.who")).to_have_count(41)
    page.locator("a.who").nth(35).click()
    expect(page.get_by_role("heading", name="Details")).to_be_visible()
    page.go_back()
    expect(page.locator("a.who")).to_have_count(41)
    page.get_by_role("button", name="In", exact=True).click()
    expect(page.locator("a.who")).to_have_count(1)
    page.reload()
    expect(page.locator("a.who")).to_have_count(1)
    expect(page.get_by_text("₹1,000.00").last).to_be_visible()


def test_an_account_is_renamed_and_closed(page: Page, asha: tuple[Person, str]) -> None:
    person, _ = asha
    spare = person.open_account(name="Spare")
    sign_in(page, person, f"/accounts/{spare}/settings")
    page.get_by_label("New name").fill("Rainy days")
    page.get_by_role("button", name="Rename").click()
    expect(page.get_by_role("heading", name="Rainy days")).to_be_visible()
    page.get_by_role("link", name="Change").click()
    page.get_by_role("button", name="Close it for good").click()
    expect(page.get_by_text("Rainy days is closed.")).to_be_visible()
    expect(page.get_by_text("1 closed account is not shown.")).to_be_visible()
