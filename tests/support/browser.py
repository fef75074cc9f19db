"""A headless Chromium, and a page in it that is watched for faults."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

# Debian's; the browsers that Playwright would download are not wanted.
CHROMIUM = Path(os.environ.get("FRESHET_TEST_CHROMIUM", "/usr/bin/chromium"))
PATIENCE_MS = 20_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser for the length of the block; tests are left out where there is none."""
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium, or name one with FRESHET_TEST_CHROMIUM")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


class Watched:
    """A page at `url` that notes calls to other hosts, errors, and dialogs that scripts open."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.faults: list[str] = []
        self.expected: list[str] = []  # patterns of faults that a test provokes
        self._pending: set[Request] = set()  # sent and not answered yet
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", self._on_request)
        page.on("requestfinished", lambda request: self._pending.discard(request))
        page.on("requestfailed", lambda request: self._pending.discard(request))
        page.on("console", lambda message: self._note(f"console: {message.text}", message.type in ("error", "warning")))
        page.on("pageerror", lambda error: self._note(f"error: {error}"))
        page.on("dialog", lambda dialog: (self._note(f"dialog: {dialog.message}"), dialog.dismiss()))

    def open(self, address: str = "#/") -> Page:
        """Load the page anew at this address."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.url}/{address}")
        expect(self.page.locator("h1")).to_be_visible()
        return self.page

    def settle(self) -> None:
        """Wait until no request is pending and nothing moves."""
        expect(self.page.locator(".waiting")).to_have_count(0)
        still = False
        while not still:
            still = not self._pending
            # The page draws an answer, and sends its next requests, before the second frame; it has no timers for that.
            self.page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
            still = still and not self._pending
        expect(self.page.locator(".waiting")).to_have_count(0)
        self.page.evaluate("Promise.allSettled(document.getAnimations().map((one) => one.finished))")

    def module(self, script: str, argument: object) -> object:
        """The result of a function that imports modules of the page, run in the page's lightest view."""
        self.page.goto(f"{self.url}/docs")
        return self.page.evaluate(script, argument)

    def barriers(self, *rules: str) -> list[str]:
        """The accessibility violations that axe finds, by these rules or all: rule, help and element of each."""
        options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
        violations = Axe().run(self.page, options=options).response["violations"]
        return [f"{rule['id']}: {rule['help']}: {node['html']}" for rule in violations for node in rule["nodes"]]

    def unexpected(self) -> list[str]:
        """The faults that the test does not expect."""
        return [fault for fault in self.faults if not any(re.search(pattern, fault) for pattern in self.expected)]

    def _on_request(self, request: Request) -> None:
        self._pending.add(request)
        self._note(f"asked another host: {request.url}", urlsplit(request.url).netloc != urlsplit(self.url).netloc)

    def _note(self, fault: str, is_one: bool = True) -> None:
        if is_one:
            self.faults.append(fault)
