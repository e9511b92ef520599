"""Measures how soon the page can be used on a slow phone: `python -m tests.web.slow_phone`.

The network has 100 ms and 1.6 Mbit/s. The processor is slowed down to PHONE_INDEX by the benchmark with which
Lighthouse compares processors, so that the figures say the same on every machine. A sample has two times in the page:

- painted: when somebody new sees the field for the e-mail address, or somebody who is signed in the frame and the
  shape of the view. Who is new types at once, and what they typed has to be there at the end.
- interactive: when the form's button works, or the accounts are painted, and besides no task of more than 50 ms is
  left: when the last such task ended before the page was quiet for QUIET_MS.

A page of nothing but one field is measured in turns with it: that is what the browser takes by itself. On a busy
machine the figures mean nothing.
"""

import statistics
import sys
from collections.abc import Callable
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
Sample = tuple[float, float]
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
QUIET_MS = 1_000
# Keeps when the browser has painted what is waited for first and last, and tells it. The driver asks the page for
# nothing meanwhile, because its own scripts would be measured too.
WATCH = """(first, last) => {
  const seen = (globalThis.seen = { ends: [] });
  const painted = (kept) => requestAnimationFrame(() => setTimeout(() => {
    seen[kept] = performance.now();
    if (kept === 'first') document.querySelector('input')?.focus();
    console.debug(kept);
  }));
  const awaited = { first, last };
  const note = (entries) => entries.forEach((one) => seen.ends.push(one.startTime + one.duration));
  new PerformanceObserver((list) => note(list.getEntries())).observe({ type: 'longtask', buffered: true });
  new MutationObserver(() => {
    for (const [kept, isThere] of Object.entries(awaited)) {
      if (!isThere()) continue;
      delete awaited[kept];
      painted(kept);
    }
  }).observe(document, { subtree: true, childList: true, characterData: true });
}"""
HAS_FIELD = "() => document.querySelector('input[type=email]')"
# The view says its name when its form works.
HAS_VIEW = "() => document.title.startsWith('Sign in')"
HAS_SHAPE = "() => document.querySelector('.frame main .bone')"
HAS_ACCOUNTS = "() => document.querySelectorAll('main a.card').length >= 2"
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
    kinds: dict[str, Callable[[], Sample]] = {
        "Somebody new, nothing in the cache": lambda: _arrive(browser, address, slower),
        "A page of nothing but the field, without a network": lambda: _arrive(browser, "data:", slower),
        "Somebody signed in, nothing in the cache": lambda: _come_back(browser, address, person, slower),
        "Somebody signed in, the files in the cache": lambda: _come_back(
            browser, address, person, slower, keeps_files=True
        ),
    }
    samples: dict[str, list[Sample]] = {who: [] for who in kinds}
    for _ in range(SAMPLES):
        for who, measure in kinds.items():
            samples[who].append(measure())
    for who, times in samples.items():
        sys.stdout.write(
            f"{who}: {_told('painted', [a for a, _ in times])}, {_told('interactive', [b for _, b in times])}.\n"
        )


def _told(what: str, times: list[float]) -> str:
    return f"{what} after {statistics.median(times):.0f} ms ({', '.join(f'{one:.0f}' for one in times)})"


def _slower_by(browser: Browser) -> float:
    """Return by how much the processor has to be slowed down."""
    page = browser.new_page()
    index = statistics.median(page.evaluate(INDEX) for _ in range(SAMPLES))
    page.close()
    sys.stdout.write(f"This processor has an index of {index:,.0f}. It is slowed down to {PHONE_INDEX}.\n")
    return float(max(1.0, index / PHONE_INDEX))


def _arrive(browser: Browser, address: str, slower: float) -> Sample:
    is_bare = address == "data:"
    with open_page(browser, address, size=SIZE) as (page, _):
        _watch(page, HAS_FIELD, HAS_FIELD if is_bare else HAS_VIEW)
        _slow_down(page, slower)
        with page.expect_console_message(lambda message: message.text == "last"):
            with page.expect_console_message(lambda message: message.text == "first"):
                page.goto(f"data:text/html,{FIELD}" if is_bare else "/sign-in", wait_until="commit")
            page.keyboard.type("asha")
        sample = _sample(page)
        assert page.locator("input").first.input_value() == "asha", "What was typed is lost."
        return sample


def _come_back(browser: Browser, address: str, person: Person, slower: float, *, keeps_files: bool = False) -> Sample:
    with open_page(browser, address, size=SIZE) as (page, _):
        sign_in(page, person)
        page.wait_for_load_state("networkidle")
        page.goto("about:blank")
        _watch(page, HAS_SHAPE, HAS_ACCOUNTS)
        phone = _slow_down(page, slower)
        if not keeps_files:
            phone.send("Network.clearBrowserCache")
        with page.expect_console_message(lambda message: message.text == "last"):
            page.goto("/", wait_until="commit")
        return _sample(page)


def _watch(page: Page, first: str, last: str) -> None:
    page.add_init_script(f"({WATCH})({first}, {last})")


def _sample(page: Page) -> Sample:
    """Wait until the page is quiet; return when it was painted and when it was interactive, in ms."""
    page.wait_for_timeout(QUIET_MS)
    seen = page.evaluate("globalThis.seen")
    return seen["first"], max(seen["last"], *seen["ends"], 0.0)


def _slow_down(page: Page, slower: float) -> CDPSession:
    phone = page.context.new_cdp_session(page)
    phone.send("Network.enable")
    phone.send("Network.emulateNetworkConditions", NETWORK)
    phone.send("Emulation.setCPUThrottlingRate", {"rate": slower})
    return phone


if __name__ == "__main__":
    main()
