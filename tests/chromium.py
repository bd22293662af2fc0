"""Debian's Chromium without a window, and a page in it that is watched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Request, sync_playwright

from tests.demanded import lacking

SCREENSHOTS = Path(__file__).parents[1] / ".screenshots"
SLOWEST_MS = 15_000
"""What a page may take on a busy machine before a test gives it up."""

COMPLAINTS = ("error", "warning")
AT_REST = "() => document.getAnimations().every(each => each.playState === 'finished')"
"""What fades in has too little contrast for as long as it does."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser that finds no host but this machine."""
    program = shutil.which("chromium")
    if program is None:
        lacking("Chromium", "chromium")
    arguments = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    if os.geteuid() == 0:
        # Chromium's sandbox refuses root.
        arguments.append("--no-sandbox")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page of a browser of its own, without a past.

    Args:
        page: what is driven.
        address: of the server.
        asked: every request, as sent.
        complaints: what the page wrote to the console as a warning or an error, and exceptions.
    """

    page: Page
    address: str
    asked: list[Request] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def go(self, path: str = "/", ready: str = ".card .title") -> None:
        """Open an address of the server, and wait for something to be seen."""
        self.page.goto(self.address + path)
        self.page.locator(ready).first.wait_for()

    def shot(self, name: str) -> None:
        """Keep a picture of the page as it is."""
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", animations="disabled")

    def posted(self, path: str) -> list[dict[str, Any]]:
        """Bodies of what was posted to a route so far."""
        return [each.post_data_json for each in self.asked if each.method == "POST" and urlsplit(each.url).path == path]

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Events of a type that were told so far."""
        return [event for body in self.posted("/events") for event in body["events"] if event["type"] == kind]

    def inaccessible(self, *rules: str) -> list[str]:
        """What axe-core finds wrong with the page once it moves no more, by some of its rules or by all."""
        self.page.wait_for_function(AT_REST)
        chosen = {"runOnly": list(rules)} if rules else {}
        found = Axe().run(self.page, options={"resultTypes": ["violations"], **chosen}).response["violations"]
        return [f"{each['id']}: {node['html'][:120]}" for each in found for node in each["nodes"]]

    def left_loopback(self) -> list[str]:
        """Requests to anybody but the server."""
        return [each.url for each in self.asked if not each.url.startswith(f"{self.address}/")]


@contextmanager
def visit(browser: Browser, address: str, width: int = 1280, height: int = 800, **options: Any) -> Iterator[Visit]:
    """A new visit."""
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    context.set_default_timeout(SLOWEST_MS)
    made = Visit(context.new_page(), address)
    made.page.on("request", lambda request: made.asked.append(request))
    made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
    made.page.on("console", lambda said: made.complaints.append(said.text) if said.type in COMPLAINTS else None)
    try:
        yield made
    finally:
        context.close()
