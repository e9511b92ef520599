"""Debian's chromium without a window of its own, and a page in it that complains of everything that goes wrong."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, Request, Response

# The first draws pages and nothing else. The others also draw a browser around them, which nobody sees, and take four
# times as much of the processor to open a page.
PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, PROGRAMS)), None)
# It alone keeps pages that were left.
WHOLE = next(filter(None, map(shutil.which, PROGRAMS[1:])), None)
ADVICE = "There is no chromium. On Debian or Ubuntu: sudo apt-get install chromium"
IS_CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
# A busy machine is slow. What a test waits for comes in the end, or never.
PATIENCE_MS = 30_000
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WIDE = (1440, 900)
PHONE = (320, 720)


def launch(playwright: Playwright) -> Browser:
    return playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)


@contextmanager
def keeping(browser: Browser) -> Iterator[Browser]:
    """Launch another browser, a whole one, which keeps pages that were left, to show them again as they were."""
    assert WHOLE is not None, ADVICE
    keeper = browser.browser_type.launch(
        executable_path=WHOLE, args=ARGUMENTS, ignore_default_args=["--disable-back-forward-cache"]
    )
    try:
        yield keeper
    finally:
        keeper.close()


@dataclass
class Faults:
    """What went wrong in a page: errors on its console, exceptions, requests that failed, violations of its policy."""

    seen: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def expect(self, pattern: str) -> None:
        """Say that this will happen, because the test makes it happen."""
        self.expected.append(pattern)

    def watch(self, page: Page) -> None:
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.seen.append(f"exception: {error}"))
        page.on("requestfailed", self._on_failure)
        page.on("response", self._on_response)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.seen.append(f"console: {message.text} {message.location['url']}")

    def _on_failure(self, request: Request) -> None:
        # Requests of a view that it no longer needs, because the reader left it.
        if request.failure != "net::ERR_ABORTED":
            self.seen.append(f"failed: {request.method} {request.url} {request.failure}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400:
            self.seen.append(f"status: {response.status} {response.request.method} {response.url}")

    @property
    def unexpected(self) -> list[str]:
        return [fault for fault in self.seen if not any(re.search(pattern, fault) for pattern in self.expected)]


@contextmanager
def open_page(
    browser: Browser, address: str, *, size: tuple[int, int] = WIDE, theme: str = "light"
) -> Iterator[tuple[Page, Faults]]:
    """Open a page of a browser without a past, and insist at the end that nothing went wrong."""
    width, height = size
    context = browser.new_context(
        base_url=address,
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="Asia/Kolkata",
    )
    try:
        with watched(context) as (page, faults):
            yield page, faults
    finally:
        context.close()


@contextmanager
def watched(context: BrowserContext) -> Iterator[tuple[Page, Faults]]:
    """Open another page in a context: a second tab."""
    context.set_default_timeout(PATIENCE_MS)
    page, faults = context.new_page(), Faults()
    faults.watch(page)
    yield page, faults
    assert not faults.unexpected, faults.unexpected
