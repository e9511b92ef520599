"""Measures how soon the page can be used on a slow phone: `python -m tests.web.slow_phone`.

The network has 100 ms and 1.6 Mbit/s. The processor is slowed down to PHONE_INDEX by the benchmark with which
Lighthouse compares processors, so that the figures say the same on every machine. A sample is the time in the page
until what is waited for is painted: the field for the e-mail address for somebody new, the accounts for somebody who
is signed in. A page of nothing but one field is measured in turns with it: that is what the browser takes by itself.
On a busy machine the figures mean nothing.
"""

import statistics
import sys
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

# What Lighthouse calls a mid-tier phone has 125 to 800 (its docs/throttling.md).
PHONE_INDEX = 400
LATENCY_MS = 100
BYTES_PER_S = 200_000
NETWORK = {"offline": False, "latency": LATENCY_MS, "downloadThroughput": BYTES_PER_S, "uploadThroughput": 80_000}
SIZE = (390, 844)
SAMPLES = 7
# Half of Lighthouse's BenchmarkIndex each: strings that are grown and thrown away, and numbers that are copied.
INDEX = """() => {
  const rounds = (work) => {
    const began = performance.now();
    let count = 0;
    while (performance.now() - began < 500) work(count++);
    return count / 10 / ((performance.now() - began) / 1_000);
  };
  const [one, other] = [0, 1].map(() => Array.from({ length: 100_000 }, (_, number) => number));
  const grow = () => {
    let text = "";
    for (let length = 0; length < 10_000; length++) text += "a";
    if (text.length === 1) throw new Error("It must not be left out.");
  };
  const copy = (count) => {
    const [from, to] = count % 2 ? [one, other] : [other, one];
    for (let place = 0; place < from.length; place++) to[place] = from[place];
  };
  return (rounds(grow) + rounds(copy)) / 2;
}"""
# Keeps when the browser has painted what is waited for.
WATCH = """(selector, count) => new MutationObserver((_, observer) => {
  if (document.querySelectorAll(selector).length < count) return;
  observer.disconnect();
  requestAnimationFrame(() => setTimeout(() => { globalThis.paintedAt = performance.now(); }));
}).observe(document, { subtree: true, childList: true })"""
FIELD = "<!doctype html><meta name=viewport content='width=device-width'><label>E-mail <input type=email></label>"


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
    slower = _slower_by(browser)
    new, bare = [], []
    for _ in range(SAMPLES):
        new.append(_arrive(browser, address, slower))
        bare.append(_arrive(browser, "data:", slower))
    _tell("Somebody new, nothing in the cache", new)
    _tell("A page of nothing but the field, without a network", bare)
    for words, keeps_files in (("nothing in the cache", False), ("the files in the cache", True)):
        times = [_come_back(browser, address, person, slower, keeps_files=keeps_files) for _ in range(SAMPLES)]
        _tell(f"Somebody signed in, {words}", times)


def _slower_by(browser: Browser) -> float:
    """Return by how much the processor has to be slowed down."""
    page = browser.new_page()
    index = statistics.median(page.evaluate(INDEX) for _ in range(SAMPLES))
    page.close()
    sys.stdout.write(f"This processor has an index of {index:,.0f}. It is slowed down to {PHONE_INDEX}.\n")
    return float(max(1.0, index / PHONE_INDEX))


def _tell(who: str, times: list[float]) -> None:
    shown = ", ".join(f"{milliseconds:.0f}" for milliseconds in times)
    sys.stdout.write(f"{who}: {statistics.median(times):.0f} ms (median of {shown}).\n")
    sys.stdout.flush()


def _arrive(browser: Browser, address: str, slower: float) -> float:
    with open_page(browser, address, size=SIZE) as (page, _):
        _watch(page, "input[type=email]", 1)
        _slow_down(page, slower)
        page.goto(f"data:text/html,{FIELD}" if address == "data:" else "/sign-in", wait_until="commit")
        page.get_by_label("E-mail").fill("asha@fincore.example")
        return _painted_at(page)


def _come_back(browser: Browser, address: str, person: Person, slower: float, *, keeps_files: bool) -> float:
    with open_page(browser, address, size=SIZE) as (page, _):
        sign_in(page, person)
        page.wait_for_load_state("networkidle")
        page.goto("about:blank")
        _watch(page, "main a.card", 2)
        phone = _slow_down(page, slower)
        if not keeps_files:
            phone.send("Network.clearBrowserCache")
        page.goto("/", wait_until="commit")
        page.locator("main a.card").nth(1).wait_for()
        page.wait_for_load_state("networkidle")
        return _painted_at(page)


def _watch(page: Page, selector: str, count: int) -> None:
    page.add_init_script(f"({WATCH})({selector!r}, {count})")


def _painted_at(page: Page) -> float:
    page.wait_for_function("globalThis.paintedAt")
    return float(page.evaluate("globalThis.paintedAt"))


def _slow_down(page: Page, slower: float) -> CDPSession:
    phone = page.context.new_cdp_session(page)
    phone.send("Network.enable")
    phone.send("Network.emulateNetworkConditions", NETWORK)
    phone.send("Emulation.setCPUThrottlingRate", {"rate": slower})
    return phone


if __name__ == "__main__":
    main()
