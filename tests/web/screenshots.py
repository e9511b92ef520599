"""Takes a picture of every view, in both themes, wide and on a phone: `python -m tests.web.screenshots`."""

import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, Route, sync_playwright

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
DAYS = 30


def main() -> None:
    """Start a bank of its own and take all pictures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="fincore-screenshots-") as directory:
        replica_set = ReplicaSet(Path(directory))
        replica_set.start()
        try:
            _take(provision(replica_set.admin_uri, "application-password"))
        finally:
            replica_set.stop()


def _take(uri: str) -> None:
    mongo.connect(MongoPolicy(uri))
    ensure_system_user(email=SYSTEM_EMAIL, password=PASSWORD, policy=AUTH)
    mongo.close()
    with running_server(uri, WEB_CONCURRENCY="1") as port, sync_playwright() as playwright:
        browser = launch(playwright)
        for size_name, size in SIZES.items():
            for theme in ("light", "dark"):
                world = new_world(Bank(OverHttp(port)))
                for who in (None, world.asha, world.operator):
                    with open_page(browser, f"http://127.0.0.1:{port}", size=size, theme=theme) as (page, faults):
                        faults.expect("404")
                        page.route("**/balance/history?**", _with_a_past)
                        if who:
                            sign_in(page, who, "/sign-in")
                        for view in views_of(world, who):
                            visit(page, view, world)
                            _picture(page, view, f"{theme}-{size_name}")
        browser.close()
    sys.stderr.write(f"The pictures are in {FOLDER.relative_to(ROOT)}.\n")


def _picture(page: Page, view: View, kind: str) -> None:
    # The small charts come last.
    page.wait_for_load_state("networkidle")
    page.evaluate("document.activeElement?.matches('h1') && document.activeElement.blur()")
    page.screenshot(path=FOLDER / f"{view.name}-{kind}.png")


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
