"""Measures how soon the page can be used on a slow phone: `python -m tests.web.slow_phone`.

The processor is slowed down four times, and the network has 100 ms and 1.6 Mbit/s. A sample begins with nothing in the
cache, and ends when the e-mail address can be typed. On a busy machine the figures mean nothing.
"""

import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, sync_playwright

from local.replica_set import ReplicaSet, provision
from tests.server import running_server
from tests.web.browser import launch, open_page

CPU_SLOWER = 4
NETWORK = {"offline": False, "latency": 100, "downloadThroughput": 200_000, "uploadThroughput": 80_000}
SIZE = (390, 844)
SAMPLES = 7


def main() -> None:
    """Start a bank of its own and print the times of all samples."""
    with TemporaryDirectory(prefix="fincore-slow-phone-") as directory:
        replica_set = ReplicaSet(Path(directory))
        replica_set.start()
        try:
            uri = provision(replica_set.admin_uri, "application-password")
            with running_server(uri) as port, sync_playwright() as playwright:
                browser = launch(playwright)
                times = [_sample(browser, f"http://127.0.0.1:{port}") for _ in range(SAMPLES)]
                browser.close()
        finally:
            replica_set.stop()
    shown = ", ".join(f"{seconds * 1_000:.0f}" for seconds in times)
    sys.stdout.write(f"Usable after {statistics.median(times) * 1_000:.0f} ms (median of {shown}).\n")


def _sample(browser: Browser, address: str) -> float:
    with open_page(browser, address, size=SIZE) as (page, _):
        phone = page.context.new_cdp_session(page)
        phone.send("Network.enable")
        phone.send("Network.emulateNetworkConditions", NETWORK)
        phone.send("Emulation.setCPUThrottlingRate", {"rate": CPU_SLOWER})
        began = time.monotonic()
        page.goto("/sign-in", wait_until="commit")
        page.get_by_label("E-mail").fill("asha@fincore.example")
        return time.monotonic() - began


if __name__ == "__main__":
    main()
