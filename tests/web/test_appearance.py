"""How the page looks on a phone and a wide screen, in both themes, to a screen reader, and with hostile texts."""

import json
import re
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from config import ROOT
from tests.people import Bank
from tests.web.browser import PHONE, WIDE, Faults, open_page
from tests.web.conftest import sign_in
from tests.web.views import new_world, views_of, visit

Theme = Literal["light", "dark"]
AXE = ROOT / ".venv" / "npm" / "node_modules" / "axe-core" / "axe.min.js"
CONTRAST = ["color-contrast"]
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# A figure may be cut by nothing, at no width.
OVERFLOW = """() => {
  const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  const cut = [...document.querySelectorAll('.money, .button, h1')].filter((one) => {
    const box = one.getBoundingClientRect();
    return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1);
  });
  return wide ? 'the page scrolls sideways' : cut.map((one) => one.textContent).join(', ');
}"""


# What a window of 1280 pixels has at a zoom of 200 %.
ZOOMED = (640, 450)
# What the page is looked at with, and by which rules: all, or those by which themes and sizes differ. No script of it
# asks for either, so a view need not be loaded anew to be seen anew.
# The last member is what is looked at, if that is not all: what a phone alone shows, or shows on another ground.
LOOKS: list[tuple[Theme, tuple[int, int], list[str], str | None]] = [
    ("light", WIDE, RULES, None),
    ("dark", WIDE, CONTRAST, None),
    ("dark", PHONE, RULES, None),
    ("light", PHONE, CONTRAST, ".tabs, .narrow-only, .side"),
    ("light", ZOOMED, [], None),
]
AXE_RUN = """([only, where]) => where && !document.querySelector(where)
  ? { violations: [] }
  : axe.run(where ?? document, { runOnly: only, resultTypes: ['violations'], preload: false })"""
# A name from right to left, and a word without a place to break it.
STRAIN = " שלום עולם مرحبا Rechtsschutzversicherungsgesellschaften"


def findings(page: Page, rules: list[str], where: str | None) -> list[str]:
    """Return what axe finds wrong by these rules, and what does not fit."""
    seen = []
    if rules:
        found = page.evaluate(AXE_RUN, [rules, where])
        seen = [
            f"{violation['id']}: {node['target']} {node['failureSummary']}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]
    overflow: str = page.evaluate(OVERFLOW)
    return [*seen, overflow] if overflow else seen


@pytest.mark.parametrize("who", ["nobody", "asha", "operator"])
def test_every_view_is_sound_for_everybody(browser: Browser, web: Bank, address: str, who: str) -> None:
    world = new_world(web, strain=STRAIN)
    person = {"nobody": None, "asha": world.asha, "operator": world.operator}[who]
    wrong: dict[str, list[str]] = {}
    with open_page(browser, address) as (page, faults):
        faults.expect("404")
        page.add_init_script(path=AXE)
        if person:
            sign_in(page, person, "/sign-in")
        for view in views_of(world, person):
            visit(page, view, world)
            for theme, (width, height), rules, where in LOOKS:
                page.emulate_media(color_scheme=theme)
                page.set_viewport_size({"width": width, "height": height})
                if seen := findings(page, rules, where):
                    wrong[f"{view.name}, {theme}, {width} wide"] = seen
    assert wrong == {}, json.dumps(wrong, indent=2, ensure_ascii=False)


def test_no_script_of_the_page_asks_for_its_size_or_theme() -> None:
    asks = re.compile(r"innerWidth|innerHeight|matchMedia|clientWidth|offsetWidth|ResizeObserver")
    scripts = list((ROOT / "app" / "web" / "static").rglob("*.js"))
    assert len(scripts) > 50
    assert [script.name for script in scripts if asks.search(script.read_text())] == []


@pytest.mark.parametrize("hostile", ["<img src=x onerror=alert(1)>", '"><script>alert(1)</script>', "שלום עולם مرحبا"])
def test_a_hostile_name_and_description_are_text(page: Page, faults: Faults, web: Bank, hostile: str) -> None:
    person = web.register(hostile)
    account, other = person.open_account(name=hostile), person.open_account(name="Other")
    web.fund(account, 10_000)
    answer = person.transfer(account, other, 500, description=hostile)
    assert answer.status == 201
    sign_in(page, person)
    expect(page.get_by_text(hostile).first).to_be_visible()
    page.goto(f"/accounts/{account}")
    expect(page.locator("main h1 bdi")).to_have_text(hostile)
    page.goto(f"/movements/{answer.body['transaction']['id']}")
    expect(page.locator("dd", has_text=hostile).first).to_be_visible()
    assert page.locator("main img, main script").count() == 0


def test_the_keyboard_alone_is_enough_to_pay(page: Page, web: Bank) -> None:
    person = web.register()
    account, savings = person.open_account(name="Main"), person.open_account(name="Savings")
    web.fund(account, 10_000)
    sign_in(page, person, "/pay")
    expect(page.get_by_label("To", exact=True)).to_be_focused()
    page.keyboard.type("Savings")
    page.keyboard.press("Enter")
    page.get_by_label("Amount").focus()
    page.keyboard.type("5")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Paid")).to_be_focused()
    assert person.balance(savings) == 500


def test_the_page_weighs_little_and_nothing_jumps(browser: Browser, web: Bank, address: str) -> None:
    world = new_world(web)
    with open_page(browser, address, size=(390, 844)) as (page, _):
        sign_in(page, world.asha)
        page.add_init_script(
            "globalThis.jumps = 0; new PerformanceObserver((list) => { for (const one of list.getEntries())"
            " if (!one.hadRecentInput) globalThis.jumps += one.value })"
            ".observe({ type: 'layout-shift', buffered: true })"
        )
        page.goto("/")
        expect(page.locator(".spark-box svg").first).to_be_attached()
        page.wait_for_load_state("networkidle")
        weight = page.evaluate(
            "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))"
            ".reduce((sum, one) => sum + one.encodedBodySize, 0)"
        )
        assert 10_000 < weight < 100_000
        assert page.evaluate("globalThis.jumps") < 0.1
