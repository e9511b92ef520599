"""Takes a picture of every view, in both themes, wide and on a phone: `python -m tests.web.screenshots`.

`--size`, `--theme` and `--only VIEW...` take some of them.
"""

import argparse
import itertools
import random
import sys
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, Route, expect, sync_playwright

from app import mongo
from app.auth.service import ensure_system_user
from app.settings.policies import MongoPolicy
from config import ROOT
from local.replica_set import ReplicaSet, provision
from tests.clients import OverHttp
from tests.conftest import AUTH
from tests.people import PASSWORD, SYSTEM_EMAIL, Bank
from tests.server import running_server
from tests.web.browser import launch, open_page
from tests.web.conftest import sign_in
from tests.web.views import View, new_world, views_of, visit

FOLDER = ROOT / "build" / "screenshots"
SIZES = {"wide": (1280, 900), "phone": (400, 860)}
THEMES = ("light", "dark")
DAYS = 30


def main() -> None:
    """Start a bank of its own and take the pictures."""
    parser = argparse.ArgumentParser(prog="python -m tests.web.screenshots")
    parser.add_argument("--size", choices=SIZES, action="append")
    parser.add_argument("--theme", choices=THEMES, action="append")
    parser.add_argument("--only", nargs="+", metavar="VIEW", default=[])
    wanted = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="fincore-screenshots-") as directory:
        replica_set = ReplicaSet(Path(directory))
        replica_set.start()
        try:
            uri = provision(replica_set.admin_uri, "application-password")
            _take(uri, wanted.size or list(SIZES), wanted.theme or list(THEMES), set(wanted.only))
        finally:
            replica_set.stop()


def _take(uri: str, sizes: Collection[str], themes: Collection[str], only: Collection[str]) -> None:
    mongo.connect(MongoPolicy(uri))
    ensure_system_user(email=SYSTEM_EMAIL, password=PASSWORD, policy=AUTH)
    mongo.close()
    with running_server(uri, WEB_CONCURRENCY="1") as port, sync_playwright() as playwright:
        browser = launch(playwright)
        for size, theme in itertools.product(sizes, themes):
            world = new_world(Bank(OverHttp(port)))
            for who in (None, world.asha, world.operator):
                views = [view for view in views_of(world, who) if not only or view.name in only]
                with open_page(browser, f"http://127.0.0.1:{port}", size=SIZES[size], theme=theme) as (page, faults):
                    faults.expect("404")
                    page.route("**/balance/history?**", _with_a_past)
                    if who and views:
                        sign_in(page, who, "/sign-in")
                    for view in views:
                        visit(page, view, world)
                        _picture(page, view, f"{theme}-{size}")
        browser.close()
    sys.stderr.write(f"The pictures are in {FOLDER.relative_to(ROOT)}.\n")


def _picture(page: Page, view: View, kind: str) -> None:
    # The small charts and the names of owners come last.
    expect(page.locator("span.spark-box:empty")).to_have_count(0)
    expect(page.get_by_text("…", exact=True)).to_have_count(0)
    page.evaluate("document.activeElement?.matches('h1') && document.activeElement.blur()")
    # The whole page in one window, because what is fixed to the window would lie across a picture of several.
    usual = page.viewport_size
    assert usual is not None
    height = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": usual["width"], "height": max(height, usual["height"])})
    page.screenshot(path=FOLDER / f"{view.name}-{kind}.png")
    page.set_viewport_size(usual)


def _with_a_past(route: Route) -> None:
    """Give an account that was opened just now a month behind it, because the ledger takes no dates from anybody."""
    answer = route.fetch().json()
    balance = answer["points"][-1]["balance"]
    chance = random.Random(balance)
    now = datetime.now(UTC)
    values = [balance]
    while len(values) < DAYS + 1:
        is_still = chance.random() < 0.55
        values.append(values[-1] if is_still else max(0, values[-1] + chance.randint(-balance // 4, balance // 6)))
    answer["points"] = [
        {"at": (now - timedelta(days=age)).isoformat(timespec="milliseconds"), "balance": value, "final": True}
        for age, value in sorted(enumerate(values), reverse=True)
    ]
    route.fulfill(json=answer)


if __name__ == "__main__":
    main()
