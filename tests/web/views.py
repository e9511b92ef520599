"""Every view of the page, and a bank in which each has something to show."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import Page, expect

from tests.people import Bank, Person, new_key

_worlds = itertools.count(1)


@dataclass(frozen=True)
class World:
    """Asha, who has some accounts, an operator, and what the addresses of views need to know."""

    asha: Person
    operator: Person
    names: dict[str, str]


@dataclass(frozen=True)
class View:
    """A view: its address, what shows that it is there, and what is done to have something to look at."""

    name: str
    path: str
    heading: str
    is_open: bool = False
    is_for_operators: bool = False
    act: Callable[[Page], None] | None = None


def _nothing_filled_in(page: Page) -> None:
    page.locator("main button[type=submit]").first.click()
    expect(page.get_by_role("alert").first).to_be_focused()


def _fill_payment(page: Page) -> None:
    page.get_by_label("To", exact=True).fill("Holidays")
    page.locator(".picks button").first.click()
    page.get_by_label("Amount").fill("12500")
    page.get_by_label("Note").fill("For the beach")


def _pay(page: Page) -> None:
    _fill_payment(page)
    page.get_by_label("Amount").fill("12.50")
    page.get_by_role("button", name="Pay ₹12.50").click()
    expect(page.get_by_role("heading", name="Paid")).to_be_visible()


def _take_hold(page: Page) -> None:
    page.get_by_role("button", name="Take").click()
    expect(page.get_by_label("How much")).to_be_focused()


def _show_receipt(page: Page) -> None:
    page.get_by_role("button", name="Receipt").click()
    page.get_by_text("What is signed").click()
    expect(page.get_by_role("region", name="Signed receipt")).to_be_visible()


def _preview_batch(page: Page) -> None:
    holidays = page.evaluate("window.location.search").partition("to=")[2]
    content = f"to,amount,note\n{holidays},100.50,Rent\n{holidays},2 lakh,Too vague\nFC00,5,Nobody\n"
    page.get_by_label("File").set_input_files(
        {"name": "payments.csv", "mimeType": "text/csv", "buffer": content.encode()}
    )
    page.get_by_role("button", name="Look at it").click()
    expect(page.get_by_role("heading", name="Preview")).to_be_focused()


def _choose(name: str, *, label: str) -> Callable[[Page], None]:
    def act(page: Page) -> None:
        page.get_by_role("button", name=name).first.click()
        expect(page.get_by_label(label).first).to_be_visible()

    return act


def _open_details(page: Page) -> None:
    page.get_by_text("Details").first.click()
    expect(page.get_by_text("From address").first).to_be_visible()


def _for_operators(name: str, path: str, heading: str, act: Callable[[Page], None] | None = None) -> View:
    return View(f"operator-{name}", f"/operator/{path}", heading, is_for_operators=True, act=act)


VIEWS = [
    View("sign-in", "/sign-in", "Sign in", is_open=True),
    View("sign-in-faults", "/sign-in", "Sign in", is_open=True, act=_nothing_filled_in),
    View("register", "/register", "Open an account", is_open=True),
    View("forgotten", "/forgotten", "Set a new password", is_open=True),
    View("reset", "/reset", "Choose a new password", is_open=True),
    View("accounts", "/", "Good"),
    View("account", "/accounts/{everyday}", "Everyday"),
    View("account-frozen", "/accounts/{travel}", "Travel"),
    View("account-new", "/accounts/new", "Open another account"),
    View("account-settings", "/accounts/{everyday}/settings", "Change"),
    View("account-close", "/accounts/{spare}/settings", "Change"),
    View("movements", "/movements", "Movements"),
    View("movements-none", "/accounts/{spare}", "Spare"),
    View("movement", "/movements/{transfer}", "Ben Cole", act=_show_receipt),
    View("movement-declined", "/movements/{declined}", "Ben Cole"),
    View("pay", "/pay", "Pay", act=_fill_payment),
    View("pay-faults", "/pay", "Pay", act=_nothing_filled_in),
    View("pay-paid", "/pay", "Pay", act=_pay),
    View("pay-many", "/pay/many?to={holidays}", "Pay many at once", act=_preview_batch),
    View("payees", "/payees", "Payees"),
    View("holds", "/holds", "Holds", act=_take_hold),
    View("statements", "/statements", "Statements"),
    View("settings", "/settings", "Settings"),
    View("letters", "/settings/letters", "Letters"),
    View("inbox", "/inbox", "Inbox"),
    View("webhooks", "/webhooks", "Webhooks", act=_choose("Add a webhook", label="Address")),
    View("webhook", "/webhooks/{webhook}", "The shop", act=_choose("Change", label="Address")),
    View("nothing", "/accounts/000000000000000000000000", "There is no such account."),
    _for_operators("people", "people?q=asha", "People"),
    _for_operators("people-none", "people?q=nobody%20at%20all", "People"),
    _for_operators("person", "people/{user}", "Asha Rao", _choose("Change the role", label="New role")),
    _for_operators("accounts", "accounts?currency=INR", "All accounts"),
    _for_operators("account", "accounts/{everyday}", "Everyday", _choose("Freeze", label="Reason")),
    _for_operators("pay-in", "accounts/{everyday}", "Everyday", _choose("Pay in", label="Amount")),
    _for_operators("account-frozen", "accounts/{travel}", "Travel"),
    _for_operators("movement", "movements/{transfer}", "Payment", _choose("Reverse it", label="Reason")),
    _for_operators("movement-declined", "movements/{declined}", "Payment"),
    _for_operators("audit-log", "audit-log", "Audit log", _open_details),
    _for_operators("books", "books", "Books"),
    _for_operators("letters", "letters", "Letters"),
    _for_operators("letters-dead", "letters?state=DEAD", "Letters"),
    _for_operators("status", "status", "Status"),
]


def views_of(world: World, who: Person | None) -> list[View]:
    """Return the views that are this person's; those that are open to everybody for nobody."""
    return [
        view for view in VIEWS if view.is_open == (who is None) and view.is_for_operators == (who is world.operator)
    ]


def new_world(bank: Bank, *, strain: str = "") -> World:
    """Fill a bank so that every view has something to show. `strain` is added to all names and notes."""
    number = next(_worlds)
    asha = bank.register(f"Asha Rao{strain}", f"asha.rao{number}@post.example")
    ben = bank.register(f"Ben Cole{strain}", f"ben.cole{number}@post.example")
    everyday, travel, holidays, spare = (
        asha.open_account(name=name + strain) for name in ("Everyday", "Travel", "Holidays", "Spare")
    )
    euro, bens = asha.open_account("EUR", "Euro"), ben.open_account(name="Everyday")
    bank.fund(everyday, 9_200_000)
    bank.fund(euro, 41_207)
    bank.fund(bens, 50_000_000)
    rent = ben.transfer(bens, everyday, 2_400_000, description=f"Rent, November{strain}").body["transaction"]["id"]
    asha.transfer(everyday, travel, 3_600_000, description="For the trip")
    asha.transfer(everyday, bens, 50_000, description="Lunch")
    declined = asha.transfer(everyday, bens, 20_000_000).body["transactionId"]
    _hold(asha, everyday, bens, 350_000, f"Deposit, Hotel Meera{strain}")
    _hold(ben, bens, everyday, 120_000, "Bicycle for the weekend")
    asha.post("/api/payees", {"number": _number(ben), "name": f"Ben Cole{strain}"})
    twice = asha.transfer(everyday, bens, 124_000, description="Grocer’s").body["transaction"]["id"]
    bank.system.post(f"/api/transactions/{twice}/reverse", {"idempotencyKey": new_key(), "reason": "Paid twice"})
    bank.system.patch(f"/api/admin/accounts/{travel}/status", {"status": "FROZEN", "reason": "Asked for by the holder"})
    # Nobody answers there.
    shop = asha.post("/api/webhooks", {"url": "http://127.0.0.1:65001/fincore", "description": f"The shop{strain}"})
    return World(
        asha,
        bank.system,
        {
            "user": asha.id,
            "webhook": shop.body["webhook"]["id"],
            "everyday": everyday,
            "travel": travel,
            "spare": spare,
            "holidays": holidays,
            "transfer": rent,
            "declined": declined,
        },
    )


def _number(person: Person) -> str:
    number: str = person.get("/api/accounts").body["accounts"][0]["number"]
    return number


def _hold(payer: Person, account: str, payee: str, amount: int, description: str) -> None:
    answer = payer.post(
        "/api/transactions/hold",
        {
            "fromAccount": account,
            "toAccount": payee,
            "amount": amount,
            "idempotencyKey": new_key(),
            "description": description,
        },
    )
    assert answer.status == 201, answer.content


def visit(page: Page, view: View, world: World) -> None:
    """Go to a view and have it show what it has to show."""
    page.goto(view.path.format(**world.names))
    expect(page.locator("main h1").first).to_contain_text(view.heading)
    if view.act is not None:
        view.act(page)
    expect(page.locator("main .bone")).to_have_count(0)
