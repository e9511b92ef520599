"""Measures how soon the page can be used on a slow phone: `python -m tests.web.slow_phone`.

The processor is slowed down four times, and the network has 100 ms and 1.6 Mbit/s. A sample ends when somebody new can
type their e-mail address, or when somebody who is signed in sees their accounts. On a busy machine the figures mean
nothing.
"""

import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from app import mongo
from app.auth.service import ensure_system_user
from app.settings.policies import MongoPolicy
from local.replica_set import ReplicaSet, provision
from tests.clients import OverHttp
from tests.conftest import AUTH
from tests.people import PASSWORD, SYSTEM_EMAIL, Bank, Person
from tests.server import running_server
from tests.web.browser import launch, open_page
from tests.web.conftest import sign_in

CPU_SLOWER = 4
LATENCY_MS = 100
BYTES_PER_S = 200_000
NETWORK = {"offline": False, "latency": LATENCY_MS, "downloadThroughput": BYTES_PER_S, "uploadThroughput": 80_000}
SIZE = (390, 844)
SAMPLES = 7


def main() -> None:
    """Start a bank of its own and print the times of all samples."""
    with TemporaryDirectory(prefix="fincore-slow-phone-") as directory:
        replica_set = ReplicaSet(Path(directory))
        replica_set.start()
        try:
            uri = provision(replica_set.admin_uri, "application-password")
            mongo.connect(MongoPolicy(uri))
            ensure_system_user(email=SYSTEM_EMAIL, password=PASSWORD, policy=AUTH)
            mongo.close()
            with running_server(uri) as port, sync_playwright() as playwright:
                browser = launch(playwright)
                _measure(browser, f"http://127.0.0.1:{port}", _new_customer(port))
                browser.close()
        finally:
            replica_set.stop()


def _new_customer(port: int) -> Person:
    bank = Bank(OverHttp(port))
    person = bank.register("Asha Rao")
    for name in ("Everyday", "Savings"):
        bank.fund(person.open_account(name=name), 100_000)
    return person


def _measure(browser: Browser, address: str, person: Person) -> None:
    _tell("Somebody new, nothing in the cache", [_arrive(browser, address) for _ in range(SAMPLES)])
    for words, keeps_files in (("nothing in the cache", False), ("the files in the cache", True)):
        times = [_come_back(browser, address, person, keeps_files=keeps_files) for _ in range(SAMPLES)]
        _tell(f"Somebody signed in, {words}", times)


def _tell(who: str, times: list[float]) -> None:
    shown = ", ".join(f"{seconds * 1_000:.0f}" for seconds in times)
    sys.stdout.write(f"{who}: usable after {statistics.median(times) * 1_000:.0f} ms (median of {shown}).\n")
    sys.stdout.flush()


def _arrive(browser: Browser, address: str) -> float:
    with open_page(browser, address, size=SIZE) as (page, _):
        _slow_down(page)
        began = time.monotonic()
        page.goto("/sign-in", wait_until="commit")
        page.get_by_label("E-mail").fill("asha@fincore.example")
        return time.monotonic() - began


def _come_back(browser: Browser, address: str, person: Person, *, keeps_files: bool) -> float:
    with open_page(browser, address, size=SIZE) as (page, _):
        sign_in(page, person)
        page.wait_for_load_state("networkidle")
        page.goto("about:blank")
        phone = _slow_down(page)
        if not keeps_files:
            phone.send("Network.clearBrowserCache")
        began = time.monotonic()
        page.goto("/", wait_until="commit")
        page.locator("main a.card").nth(1).wait_for()
        seconds = time.monotonic() - began
        page.wait_for_load_state("networkidle")
        return seconds


def _slow_down(page: Page) -> CDPSession:
    phone = page.context.new_cdp_session(page)
    phone.send("Network.enable")
    phone.send("Network.emulateNetworkConditions", NETWORK)
    phone.send("Emulation.setCPUThrottlingRate", {"rate": CPU_SLOWER})
    return phone


if __name__ == "__main__":
    main()
