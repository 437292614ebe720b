"""Debian's chromium, driven by Playwright: tabs as wide as a telephone or a desk that note what goes wrong in them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, ViewportSize, sync_playwright

from streams.errors import EvenstreamError

Size = Literal["phone", "desktop"]
Scheme = Literal["light", "dark"]

SIZES: dict[Size, ViewportSize] = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1280, "height": 800}}
MISSING = "Chromium is not here: `apt-get install chromium` brings it"

# live.js does nothing where a browser has no EventSource: the page stays as it was when it was loaded.
_STILL = "delete window.EventSource;"
_POLICY = "addEventListener('securitypolicyviolation', e => console.error('policy: ' + e.violatedDirective));"


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window, as long as the block.

    Raises:
        EvenstreamError: it is not installed.
    """
    program = shutil.which("chromium")
    if program is None:
        raise EvenstreamError(MISSING)
    with sync_playwright() as playwright:
        # Root has no sandbox of Chromium's; what is looked at here is our own.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Tab:
    """A tab of its own, and what went wrong in it: errors on its console, and requests that it should not make.

    Attributes:
        page: Playwright's.
        address: of the site; nothing may be asked for elsewhere.
    """

    page: Page
    address: str
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("request", self._asked)
        self.page.on("response", self._answered)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.address + "/", "data:,")):
            self.problems.append(f"elsewhere: {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.problems.append(f"{response.status}: {response.url}")

    def go(self, path: str) -> None:
        """Load a page, with its pictures."""
        self.page.goto(self.address + path, wait_until="load")

    def until(self, expression: str, seconds: float = 20.0) -> None:
        """Wait until something is true in the page.

        Playwright's own way to wait evaluates a string in the page, which the page's policy forbids.
        """
        deadline = time.monotonic() + seconds
        while not self.page.evaluate(expression):
            if time.monotonic() > deadline:
                raise EvenstreamError(f"not within {seconds:.0f} s: {expression}")
            self.page.wait_for_timeout(50)

    def show_pictures(self) -> None:
        """Have every picture loaded: they are once they come into view."""
        for picture in self.page.locator("figure img").all():
            picture.scroll_into_view_if_needed()
        self.until("[...document.images].every(one => one.complete && one.naturalWidth)", 60.0)
        self.page.evaluate("scrollTo(0, 0)")


@contextmanager
def tab(
    browser: Browser,
    address: str,
    *,
    size: Size = "desktop",
    scheme: Scheme = "light",
    still: bool = False,
    scripts: bool = True,
    scale: float = 1.0,
) -> Iterator[Tab]:
    """A tab, as long as the block.

    Args:
        still: it hears of no update. scripts: it runs them. scale: its pixels for one of the page's.
    """
    context = browser.new_context(
        viewport=SIZES[size],
        is_mobile=size == "phone",
        has_touch=size == "phone",
        color_scheme=scheme,
        java_script_enabled=scripts,
        device_scale_factor=scale,
        reduced_motion="reduce",
    )
    try:
        context.set_default_timeout(20_000)
        context.add_init_script(_POLICY + (_STILL if still else ""))
        yield Tab(context.new_page(), address)
    finally:
        context.close()
